"""Ec2: the metadata tree of Amazon and of clouds that imitate it, with session tokens where they exist."""

from __future__ import annotations

import re
import time

from guest_agent import json_guard
from guest_agent.datasources.openstack_documents import device_names
from guest_agent.datasources.source_data import LOCAL, SourceData, dsmode_of, public_keys
from guest_agent.errors import FetchFailed, LimitExceeded, SourceUnusable, UnreadableJson
from guest_agent.fetch import METADATA_V4, Policy
from guest_agent.limits import DEFAULT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.datasources.source_data import Search

ADDRESSES = (f"http://{METADATA_V4}", "http://[fd00:ec2::254]")
VERSIONS = ("2021-03-23", "2018-09-24", "2016-09-02")
OLDEST = "2009-04-04"
TOKEN_TTL_S = "21600"  # noqa: S105  # a number of seconds
TOKEN_HEADERS = {"X-aws-ec2-metadata-token-ttl-seconds": TOKEN_TTL_S}
TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105  # the name of a header
SKIPPED = ("security-credentials",)
ITEM = re.compile(r"[A-Za-z0-9._:@+~=-]+/?\Z")
MAX_DEPTH, MAX_ITEMS = 10, 1000
# ec2... as it is, or with the bytes of the first group in the other order.
AWS_UUID = re.compile(r"ec2|[0-9a-f]{4}2[0-9a-f]ec-")
AWS, OUTSCALE, UNKNOWN = "aws", "outscale", "unknown"
# Platforms that the local stage asks over its own DHCP.
IN_LOCAL = (AWS, OUTSCALE)


def platform(search: Search) -> str:
    """Which EC2-like cloud this is, by DMI and by Xen. Source: spec 1.4."""
    uuid, serial = search.dmi("product_uuid").lower(), search.dmi("product_serial").lower()
    hypervisor = (search.machine.read_text("/sys/hypervisor/uuid") or "").strip().lower()
    vendor = search.dmi("sys_vendor")
    if hypervisor.startswith("ec2") or AWS_UUID.match(uuid):
        return AWS
    if serial.endswith(".brightbox.com"):
        return "brightbox"
    if search.dmi("chassis_asset_tag").lower().endswith(".zstack.io"):
        return "zstack"
    if vendor.lower() in ("e24cloud", "tilaa"):
        return vendor.lower()
    if vendor == "3DS Outscale" and search.dmi("product_name") == "3DS Outscale VM":
        return OUTSCALE
    return UNKNOWN


def detect(search: Search) -> bool:
    """A platform that is known; with `strict_id: false` any platform, in the network stage."""
    found = platform(search)
    if search.stage == LOCAL:
        return found in IN_LOCAL
    strict = str(search.settings("Ec2").get("strict_id", "true")).strip().lower()
    return found != UNKNOWN or not strict.startswith("true")


def is_same_instance(_search: Search, _instance_id: str) -> bool:
    """There is no cheap check: read again."""
    return False


def read(search: Search) -> SourceData | None:
    """What the metadata service says; the local stage, on clouds that want it, gets itself a lease for it.

    Raises SourceUnusable, FetchFailed.
    """
    found = platform(search)
    if search.stage != LOCAL:
        return _read(search, found)
    if found not in IN_LOCAL:
        return None
    from guest_agent.dhcp import Ephemeral

    with Ephemeral(search.machine, search.config):
        return _read(search, found)


def _read(search: Search, found: str) -> SourceData | None:
    service = _Service(search, wants_token=found == AWS)
    service.connect()
    metadata = service.tree("meta-data/")
    if not isinstance(metadata, dict) or not metadata.get("instance-id"):
        raise SourceUnusable(f"{service.base}: meta-data has no instance-id")
    again = service.text("meta-data/instance-id")
    if again != metadata["instance-id"]:
        raise SourceUnusable(f"{service.base}: the instance id changes while the metadata is read")
    user_data = service.bytes("user-data")
    class_name = "DataSourceEc2Local" if search.stage == LOCAL else "DataSourceEc2"
    dsmode = dsmode_of((metadata.get("dsmode"), search.settings("Ec2").get("dsmode")))
    crawled: dict[str, object] = {}
    identity = service.dynamic()
    if identity is not None:
        crawled["dynamic"] = {"instance-identity": {"document": identity}}
    placement = metadata.get("placement")
    zone = placement.get("availability-zone") if isinstance(placement, dict) else None
    region = identity.get("region") if isinstance(identity, dict) else None
    return SourceData(
        name="Ec2",
        class_name=class_name,
        text=class_name,
        instance_id=str(metadata["instance-id"]),
        metadata=metadata,
        dsmode=dsmode,
        user_data=_without_base64(user_data or b""),
        local_hostname=str(metadata.get("local-hostname") or ""),
        public_keys=public_keys(metadata.get("public-keys")),
        availability_zone=str(zone or ""),
        region=str(region or (str(zone)[:-1] if zone and found == AWS else "")),
        platform="ec2",
        cloud_name=found,
        subplatform=f"metadata ({service.base})",
        seed=service.base,
        launch_index=_number(metadata.get("ami-launch-index")),
        device_names=device_names(metadata),
        crawled=crawled,
        update_events=("boot-new-instance", "hotplug"),
    )


class _Service:
    """The metadata service at one address and version, with the token it wants."""

    def __init__(self, search: Search, *, wants_token: bool) -> None:
        settings = search.settings("Ec2")
        named = settings.get("metadata_urls")
        self.search = search
        self.wants_token = wants_token
        self.addresses = [str(url).rstrip("/") for url in named] if isinstance(named, list) else ADDRESSES
        self.wait_s = _seconds(settings.get("max_wait"), 240.0)
        self.policy = Policy(timeout_s=_seconds(settings.get("timeout"), 50.0), deadline_s=self.wait_s)
        self.base = ""
        self.version = OLDEST
        self.token = ""
        self.items = 0

    def connect(self) -> None:
        """The first address that answers, and the newest version there. Raises SourceUnusable."""
        ends = time.monotonic() + self.wait_s
        quick = self.policy.replace(tries=1, timeout_s=min(self.policy.timeout_s, 5.0))
        reasons: list[str] = []
        while True:
            reasons.clear()
            for base in self.addresses:
                self.base = base
                try:
                    if self.wants_token:
                        self.renew(quick)
                    reply = self.ask(f"{base}/{OLDEST}/meta-data/instance-id", quick)
                except FetchFailed as error:
                    reasons.append(error.text)
                    continue
                if reply is not None:
                    self.version = self.newest(quick)
                    return
                reasons.append(f"{base}: there is no instance-id")
            if time.monotonic() >= ends or not self.search.machine.is_live:
                raise SourceUnusable(f"no EC2 metadata service answers: {'; '.join(reasons)}")
            self.search.web.pause_s(1.0)

    def newest(self, quick: Policy) -> str:
        for version in VERSIONS:
            if self.ask(f"{self.base}/{version}/meta-data/instance-id", quick) is not None:
                return version
        return OLDEST

    def renew(self, policy: Policy) -> None:
        """A new session token. A refusal ends the source: without a token AWS gives nothing."""
        url = f"{self.base}/latest/api/token"
        reply = self.search.web.request(url, policy, method="PUT", headers=TOKEN_HEADERS)
        if 400 <= reply.status < 500:
            raise SourceUnusable(f"{url}: HTTP {reply.status}; the metadata service is switched off")
        if reply.status != 200:
            raise FetchFailed(url, f"HTTP {reply.status}", reply.status)
        self.token = reply.body.decode("ascii", "replace").strip()

    def ask(self, url: str, policy: Policy | None = None) -> bytes | None:
        """A body; None for 404. A 401 gets one new token. Raises FetchFailed."""
        for renewed in (False, True):
            headers = {TOKEN_HEADER: self.token} if self.token else {}
            reply = self.search.web.request(url, policy or self.policy, headers=headers)
            if reply.status == 401 and self.wants_token and not renewed:
                self.renew(policy or self.policy)
                continue
            break
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise FetchFailed(url, f"HTTP {reply.status}", reply.status)
        return reply.body

    def bytes(self, path: str) -> bytes | None:
        return self.ask(f"{self.base}/{self.version}/{path}")

    def text(self, path: str) -> str:
        return (self.bytes(path) or b"").decode("utf-8", "replace")

    def dynamic(self) -> object:
        """The instance identity document, where the cloud has one."""
        try:
            data = self.bytes("dynamic/instance-identity/document")
            return None if data is None else json_guard.load(data, "instance-identity document")
        except (FetchFailed, UnreadableJson, LimitExceeded):
            return None

    def tree(self, path: str, depth: int = 0) -> object:
        """A directory as a mapping. Raises SourceUnusable for a tree without end."""
        if depth > MAX_DEPTH:
            raise SourceUnusable(f"{self.base}/{path}: directories more than {MAX_DEPTH} deep")
        listing = self.text(path)
        found: dict[str, object] = {}
        lines = listing.splitlines()
        if len(lines) > DEFAULT.list_lines:
            raise SourceUnusable(f"{self.base}/{path}: more than {DEFAULT.list_lines} items (list_lines)")
        for line in lines:
            name = line.strip()
            self.items += 1
            if self.items > MAX_ITEMS:
                raise SourceUnusable(f"{self.base}: more than {MAX_ITEMS} items of metadata")
            if not ITEM.match(name) or name.rstrip("/") in ("", ".", ".."):
                if name:
                    self.search.warn(f"{self.base}/{path}: an item with a name that is none; left out")
                continue
            self.item(path, name, found, depth)
        return found

    def item(self, path: str, name: str, found: dict[str, object], depth: int) -> None:
        if name.rstrip("/") in SKIPPED:
            return
        if name.endswith("/"):
            found[name[:-1]] = self.tree(f"{path}{name}", depth + 1)
        elif "=" in name:  # a list of keys: `0=name` stands for `0/openssh-key`
            number, _, key = name.partition("=")
            found[key] = _leaf(self.text(f"{path}{number}/openssh-key"), key)
        else:
            found[name] = _leaf(self.text(f"{path}{name}"), name)


def _leaf(text: str, name: str) -> object:
    """JSON where it looks like it, a list where it has several lines, else the text."""
    if text[:1] in ("{", "["):
        try:
            return json_guard.load(text, name)
        except (UnreadableJson, LimitExceeded):
            return text
    return text.splitlines() if "\n" in text else text


def _without_base64(data: bytes) -> bytes:
    """EC2 users send their data encoded twice; only here is the outer base64 looked for (spec 1.5)."""
    import binascii

    packed = b"".join(data.split())
    if not packed or len(packed) % 4 or not re.fullmatch(rb"[A-Za-z0-9+/]+={0,2}", packed):
        return data
    try:
        return binascii.a2b_base64(packed)
    except binascii.Error:
        return data


def _seconds(value: object, default: float) -> float:
    try:
        return float(str(value))
    except ValueError:
        return default


def _number(value: object) -> int | None:
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
