"""An instance: everything its metadata says, as one frozen value, checked once when it is made.

instance = parse({"uuid": "8f0a...", "hostname": "web-1"}, source="web-1.yaml")
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from instance_metadata.errors import Fault, InvalidInstance
from instance_metadata.fields import Fields, Json, Notes, as_json, is_json
from instance_metadata.network import NetworkConfig, parse_network
from instance_metadata.reading import load
from instance_metadata.secret import Secret
from instance_metadata.values import (
    Addresses,
    Device,
    File,
    Identity,
    Imds,
    PublicKey,
    parse_addresses,
    parse_bytes,
    parse_devices,
    parse_files,
    parse_identity,
    parse_imds,
    parse_keys,
    parse_macs,
)

# 65,535 characters of base64, Nova's limit, hold this many bytes.
MAX_USER_DATA = 49_149
# The least that EC2 takes; above it an image's user data does not port there.
EC2_USER_DATA = 16_384
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TAG_KEY = re.compile(r"[A-Za-z0-9+\-=.,_:@]{1,255}")


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance document. Texts that are not known are None; `user_data` b"" differs from None."""

    uuid: str
    name: str = ""
    hostname: str = ""
    dhcp_domain: str = ""
    project_id: str = ""
    availability_zone: str | None = None
    launch_index: int = 0
    reservation_id: str | None = None
    instance_type: str | None = None
    image_id: str | None = None
    ami_id: str | None = None
    kernel_id: str | None = None
    ramdisk_id: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    keys: tuple[PublicKey, ...] = ()
    admin_pass: Secret | None = None
    user_data: bytes | None = None
    vendor_data: Json = None
    vendor_data2: Mapping[str, Json] = field(default_factory=dict)
    files: tuple[File, ...] = ()
    network: NetworkConfig | None = None
    devices: tuple[Device, ...] = ()
    dedicated_cpus: tuple[int, ...] = ()
    security_groups: tuple[str, ...] = ()
    block_devices: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    addresses: Addresses = field(default_factory=Addresses)
    macs: tuple[str, ...] = ()
    identity: Identity = field(default_factory=Identity)
    imds: Imds = field(default_factory=Imds)
    ready: bool = True
    extra: Mapping[str, Json] = field(default_factory=dict)
    warnings: tuple[Fault, ...] = field(default=(), compare=False)

    @property
    def full_hostname(self) -> str:
        """`hostname`, with the DHCP domain appended when it has no dot of its own."""
        if self.dhcp_domain and "." not in self.hostname:
            return f"{self.hostname}.{self.dhcp_domain}"
        return self.hostname


def read(text: bytes, source: str, *, max_user_data: int = MAX_USER_DATA) -> Instance:
    """The instance in a YAML or JSON document. Raises InvalidInstance with every fault and its line."""
    loaded = load(text, source)
    return parse(loaded.value, source, loaded.lines, max_user_data=max_user_data)


def parse(
    document: object,
    source: str,
    lines: Mapping[str, int] | None = None,
    *,
    max_user_data: int = MAX_USER_DATA,
) -> Instance:
    """The instance in plain values (what YAML or JSON gives); `lines` maps a field's path to its line.

    Raises InvalidInstance with every fault of the document.
    """
    notes = Notes(source, lines or {})
    fields = Fields(document, "", notes)
    if notes.faults:
        raise InvalidInstance(notes.faults)
    instance = _build(fields, max_user_data)
    if notes.faults:
        raise InvalidInstance(sorted(notes.faults, key=lambda fault: fault.line or 0))
    return instance


def _build(fields: Fields, max_user_data: int) -> Instance:
    uuid = _uuid(fields)
    name = fields.text("name")
    hostname = _hostname(fields, name, uuid)
    network = _network(fields)
    addresses = parse_addresses(fields) or _fixed_addresses(network)
    macs = parse_macs(fields) or _card_macs(network)
    identity = parse_identity(fields) or Identity((*addresses.fixed_ipv4, *addresses.fixed_ipv6), macs)
    instance = Instance(
        uuid=uuid,
        name=name or hostname,
        hostname=hostname,
        dhcp_domain=_domain(fields),
        project_id=fields.text("project_id"),
        availability_zone=_nullable_text(fields, "availability_zone"),
        launch_index=fields.integer("launch_index", 0, 1 << 31, 0),
        reservation_id=fields.optional_text("reservation_id"),
        instance_type=fields.optional_text("instance_type"),
        image_id=fields.optional_text("image_id"),
        ami_id=fields.optional_text("ami_id"),
        kernel_id=fields.optional_text("kernel_id"),
        ramdisk_id=fields.optional_text("ramdisk_id"),
        meta=_meta(fields),
        keys=parse_keys(fields),
        admin_pass=_secret(fields, "admin_pass"),
        user_data=_user_data(fields, max_user_data),
        vendor_data=_vendor_data(fields),
        vendor_data2=_vendor_data2(fields),
        files=parse_files(fields),
        network=network,
        devices=parse_devices(fields),
        dedicated_cpus=tuple(sorted(set(fields.integers("dedicated_cpus", 0, 1 << 16)))),
        security_groups=fields.texts("security_groups"),
        block_devices=_text_map(fields, "block_devices"),
        tags=_tags(fields),
        addresses=addresses,
        macs=macs,
        identity=identity,
        imds=parse_imds(fields),
        ready=fields.choice("state", ("ready", "pending"), "ready") == "ready",
        extra=_extra(fields),
        warnings=tuple(fields.notes.warnings),
    )
    fields.finish(FIELD_NAMES)
    return instance


# The names a document may use, besides `x_...`; docs/reference/metadata.md is checked against them.
FIELD_NAMES = (
    "uuid", "name", "hostname", "dhcp_domain", "project_id", "availability_zone", "launch_index",
    "reservation_id", "instance_type", "image_id", "ami_id", "kernel_id", "ramdisk_id", "meta", "keys",
    "admin_pass", "user_data", "user_data_base64", "vendor_data", "vendor_data2", "files", "network",
    "network_data", "devices", "dedicated_cpus", "security_groups", "block_devices", "tags", "addresses",
    "macs", "identity", "imds", "state",
)  # fmt: skip


def _uuid(fields: Fields) -> str:
    if not fields.required("uuid"):
        return ""
    text = fields.optional_text("uuid")
    if text is not None and not _UUID.fullmatch(text):
        fields.fault("uuid", "not a UUID", "Write 32 hex digits as 8-4-4-4-12")
        return ""
    return str(UUID(text)) if text else ""


def _hostname(fields: Fields, name: str, uuid: str) -> str:
    """The given hostname; without one, what the name (or the uuid) makes of it."""
    if fields.has("hostname"):
        text = fields.optional_text("hostname")
        if text is None:
            return ""
        if not is_hostname(text):
            fields.fault(
                "hostname", "not a host name", "Use labels of a-z, 0-9 and '-', 1 to 63 characters each"
            )
        return text
    made = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:63].strip("-")
    return made or f"server-{uuid[:8]}"


def is_hostname(text: str) -> bool:
    """RFC 1123: labels of 1 to 63 letters, digits and inner hyphens, 253 in all."""
    return 0 < len(text) <= 253 and all(_LABEL.fullmatch(label) for label in text.split("."))


def _domain(fields: Fields) -> str:
    domain = fields.text("dhcp_domain")
    if domain and not is_hostname(domain):
        fields.fault("dhcp_domain", "not a domain", "Use labels of a-z, 0-9 and '-' joined by dots")
    return domain


def _nullable_text(fields: Fields, name: str) -> str | None:
    fields.drop_null(name)
    return fields.optional_text(name)


def _network(fields: Fields) -> NetworkConfig | None:
    if fields.has("network") and fields.has("network_data"):
        fields.fault("network_data", "network is given as well", "Keep one of them")
    found = None
    for name in ("network", "network_data"):
        entry = fields.fields(name)
        found = parse_network(entry) if entry is not None else found
    return found


def _fixed_addresses(network: NetworkConfig | None) -> Addresses:
    if network is None:
        return Addresses()
    return Addresses(network.addresses(ipv4=True), network.addresses(ipv4=False))


def _card_macs(network: NetworkConfig | None) -> tuple[str, ...]:
    if network is None:
        return ()
    return tuple(link.mac for link in network.links if link.type == "phy")


def _text_map(fields: Fields, name: str) -> dict[str, str]:
    entry = fields.fields(name)
    if entry is None:
        return {}
    return {key: entry.text(key) for key in entry.names()}


def _meta(fields: Fields) -> dict[str, str]:
    """`meta`: text to text; a value may have several lines, unlike everything that becomes an EC2 leaf."""
    meta: dict[str, str] = {}
    pairs = fields.items("meta")
    if len(pairs) > 128:
        fields.fault("meta", "more than 128 items", "Remove some")
    for key, value in pairs:
        if not isinstance(value, str):
            fields.fault(f"meta.{key}", "a text is expected", "Put the value in quotes")
        elif not 0 < len(key) <= 255 or len(value) > 255:
            fields.fault(f"meta.{key}", "longer than 255 characters, or without a name", "Shorten it")
        else:
            meta[key] = value
    return meta


def _tags(fields: Fields) -> dict[str, str]:
    tags = _text_map(fields, "tags")
    for key in tags:
        if not _TAG_KEY.fullmatch(key) or key in (".", "..", "_index"):
            fields.fault(f"tags.{key}", "not a tag key", "Use up to 255 letters, digits and + - = . , _ : @")
    return tags


def _secret(fields: Fields, name: str) -> Secret | None:
    text = fields.optional_text(name)
    return None if text is None else Secret(text)


def _user_data(fields: Fields, limit: int) -> bytes | None:
    name = "user_data" if fields.has("user_data") else "user_data_base64"
    data = parse_bytes(fields, "user_data")
    if data is not None and len(data) > limit:
        fields.fault(name, f"larger than {limit} bytes", "Compress it with gzip, or raise max_user_data")
    elif data is not None and len(data) > EC2_USER_DATA:
        fields.warn(
            name, f"larger than {EC2_USER_DATA} bytes", "It will not fit on EC2; compress it with gzip"
        )
    return data


def _vendor_data(fields: Fields) -> Json:
    data = fields.json("vendor_data")
    if isinstance(data, dict) and isinstance(data.get("cloud-init"), dict):
        fields.warn("vendor_data.cloud-init", "a map, which cloud-init ignores", "Give a text or a list")
    return data


def _vendor_data2(fields: Fields) -> dict[str, Json]:
    data: dict[str, Json] = {}
    for name, value in fields.items("vendor_data2"):
        if is_json(value):
            data[name] = as_json(value)
        else:
            fields.fault(
                f"vendor_data2.{name}", "holds what JSON cannot", "Use maps, lists, texts and numbers"
            )
    return data


def _extra(fields: Fields) -> dict[str, Json]:
    extra: dict[str, Json] = {}
    for name, value in fields.starting("x_").items():
        if is_json(value):
            extra[name] = as_json(value)
        else:
            fields.fault(name, "holds what JSON cannot", "Use maps, lists, texts and numbers")
    return extra
