"""OpenStack: the documents from the metadata service, over IPv4 or link-local IPv6."""

from __future__ import annotations

import time

from guest_agent.datasources import openstack_documents as documents
from guest_agent.datasources.source_data import LOCAL, dsmode_of
from guest_agent.errors import FetchFailed, SourceUnusable
from guest_agent.fetch import METADATA_V4, SILENCE, Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from guest_agent.datasources.source_data import Search, SourceData

IPV4 = f"http://{METADATA_V4}"
IPV6 = "http://[fe80::a9fe:a9fe%25{interface}]"
PRODUCTS = ("OpenStack Nova", "OpenStack Compute")
TAGS = (*PRODUCTS, "HUAWEICLOUD", "OpenTelekomCloud", "SAP CCloud VM", "Samsung Cloud Platform")
X86 = ("i386", "i486", "i586", "i686", "x86_64")
GLANCE_S = 2.0
CRAWLS = 3  # how often data that changes under our hands is read again (GA-N12)


def detect(search: Search) -> bool:
    """By DMI product or chassis tag, or what a container's PID 1 was told; elsewhere than on x86 always."""
    import os

    if os.uname().machine not in X86:
        return True
    if search.dmi("product_name") in PRODUCTS or search.dmi("chassis_asset_tag") in TAGS:
        return True
    environment = (search.machine.read_bytes("/proc/1/environ") or b"").split(b"\0")
    return b"product_name=OpenStack Nova" in environment


def is_same_instance(search: Search, instance_id: str) -> bool:
    """The cheap check at boot: the id is the machine's UUID (spec 1.6)."""
    return instance_id.lower() == search.dmi("product_uuid").lower() != ""


def read(search: Search) -> SourceData | None:
    """What the service says; the local stage gets itself a lease. Raises SourceUnusable, FetchFailed."""
    if search.stage != LOCAL:
        return _read(search)
    from guest_agent.dhcp import Ephemeral

    with Ephemeral(search.machine, search.config):
        return _read(search)


def _read(search: Search) -> SourceData | None:
    settings = search.settings("OpenStack")
    policy = Policy(
        timeout_s=_number(settings.get("timeout"), 10.0),
        tries=int(_number(settings.get("retries"), 5)) + 1,
    )
    base, listing = _answering(search, settings, policy)
    for _ in range(CRAWLS):
        found = _crawl(search, base, listing, policy)
        if found is not None:
            break
    else:
        raise SourceUnusable(f"{base}: the instance id changes while the metadata is read")
    _pinned(search, settings, found, base)
    dsmode = dsmode_of((found.dsmode,))
    if dsmode == "disabled":
        return None
    wants_network = str(settings.get("apply_network_config", True)).strip().lower() not in (
        "false", "0", "off", "no",
    )  # fmt: skip
    class_name = "DataSourceOpenStackLocal" if search.stage == LOCAL else "DataSourceOpenStack"
    return documents.source_data(
        found,
        name="OpenStack",
        class_name=class_name,
        text=f"{class_name} [{dsmode},ver=2]",
        dsmode=dsmode,
        subplatform=f"metadata ({base})",
        seed=base,
        wants_network=wants_network,
    )


def addresses(search: Search, settings: Mapping[str, object]) -> list[str]:
    """Where the service may answer: what the configuration names, else IPv4, then IPv6 on each interface."""
    named = settings.get("metadata_urls")
    if isinstance(named, list) and named:
        return [str(url).rstrip("/") for url in named]
    return [IPV4, *(IPV6.format(interface=name) for name in _interfaces(search))]


def _interfaces(search: Search) -> list[str]:
    """Interfaces with a link-local IPv6 address. Each line: address, number, prefix, scope, flags, name."""
    lines = (search.machine.read_text("/proc/net/if_inet6") or "").splitlines()
    words = (line.split() for line in lines)
    return sorted({word[5] for word in words if len(word) == 6 and word[3] == "20" and word[5] != "lo"})


def _answering(search: Search, settings: Mapping[str, object], policy: Policy) -> tuple[str, str]:
    """The first address that lists versions, and its list. Waits `max_wait` seconds in all, if told to."""
    wait_s = _number(settings.get("max_wait"), -1.0)
    ends = time.monotonic() + (wait_s if wait_s > 0 else policy.deadline_s)
    while True:
        # Anew each time: an interface may get its link-local address while we wait.
        candidates = addresses(search, settings)
        asked = _Listing(search, policy, ends)
        for look in (asked.glance, asked.insist):
            for base in candidates:
                listing = look(base)
                if listing is not None:
                    return base, listing
        if wait_s <= 0 or time.monotonic() >= ends:
            reasons = "; ".join(asked.reasons[base] for base in candidates)
            raise SourceUnusable(f"no OpenStack metadata service answers: {reasons}")
        search.web.pause_s(1.0)


class _Listing:
    """One round of asking for the list of versions: a glance at each address, then insisting.

    An address that was silent is asked once more, and no more: nobody may be there. One that answered at
    all, if only with a 503 or half a body, is asked as often as the policy says.
    """

    def __init__(self, search: Search, policy: Policy, ends: float) -> None:
        self._search = search
        self._policy = policy
        self._ends = ends
        self._silent: set[str] = set()
        self.reasons: dict[str, str] = {}

    def glance(self, base: str) -> str | None:
        return self._ask(base, self._policy.replace(tries=1, timeout_s=min(GLANCE_S, self._policy.timeout_s)))

    def insist(self, base: str) -> str | None:
        tries = 1 if base in self._silent else self._policy.tries
        return self._ask(base, self._policy.replace(tries=tries))

    def _ask(self, base: str, policy: Policy) -> str | None:
        try:
            reply = self._search.web.request(f"{base}/openstack", policy, deadline=self._ends)
        except FetchFailed as error:
            self.reasons[base] = error.text
            if error.status is None and error.problem.startswith(SILENCE):
                self._silent.add(base)
            return None
        if reply.status == 200:
            return reply.body.decode("utf-8", "replace")
        self.reasons[base] = f"{base}/openstack: HTTP {reply.status}"
        return None


def _crawl(search: Search, base: str, listing: str, policy: Policy) -> documents.Documents | None:
    """One pass over the documents; None when the instance changed between its first and last request."""

    def get(path: str) -> bytes | None:
        reply = search.web.request(f"{base}/{path}", policy)
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise FetchFailed(f"{base}/{path}", f"HTTP {reply.status}", reply.status)
        return reply.body

    version = documents.newest(listing.splitlines()[:100])
    found = documents.read(get, version, base, search.warn)
    again = documents.identity(get(f"openstack/{version}/meta_data.json") or b"", base)
    return found if again == found.instance_id else None


def _pinned(search: Search, settings: Mapping[str, object], found: documents.Documents, base: str) -> None:
    """With `pin: true` only the data of this machine counts (GA-N03): the SMBIOS UUID must be the uuid."""
    if settings.get("pin") is True and found.instance_id.lower() != search.dmi("product_uuid").lower():
        raise SourceUnusable(
            f"{base}: the metadata is that of another machine (its uuid is not our SMBIOS UUID). "
            "Look for a false metadata server on this network, or set datasource.OpenStack.pin to false"
        )


def _number(value: object, default: float) -> float:
    try:
        return float(str(value))
    except ValueError:
        return default
