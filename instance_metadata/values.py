"""The parts of an instance document that are values of their own: keys, files, devices, identity, tokens."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from instance_metadata.fields import Fields
from instance_metadata.network import parse_mac

KEY_TYPES = ("ssh", "x509")
BUSES = ("pci", "usb", "scsi", "ide", "xen", "none")
DEVICE_TYPES = ("nic", "disk", "share")
TOKEN_MODES = ("off", "optional", "required")
MAX_FILES_BYTES = 64 << 20
_PATH_KEY = re.compile(r"[A-Za-z0-9_-]{16,128}")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key pair's public half. `type` is `ssh` or `x509`."""

    name: str
    type: str
    data: str


@dataclass(frozen=True, slots=True)
class File:
    """A file to be put into the guest."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Device:
    """A tagged device. `type` is `nic`, `disk` or `share`; fields of other types are None."""

    type: str
    bus: str
    address: str
    tags: tuple[str, ...] = ()
    mac: str | None = None
    vlan: int | None = None
    vf_trusted: bool = False
    serial: str | None = None
    path: str | None = None
    share_id: str | None = None
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """What proves that a request comes from this instance; one field is looked at, by the listener's mode."""

    source_ips: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    socket: str | None = None
    network: str = ""
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Imds:
    """EC2 options: session tokens, the tree itself, hops a token may travel, tags shown or not."""

    tokens: str = "off"
    endpoint: bool = True
    hop_limit: int = 1
    tags: bool = False


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses for the EC2 tree."""

    fixed_ipv4: tuple[str, ...] = ()
    fixed_ipv6: tuple[str, ...] = ()
    floating: tuple[str, ...] = ()


def parse_keys(fields: Fields) -> tuple[PublicKey, ...]:
    keys: list[PublicKey] = []
    for entry in fields.entries("keys"):
        given = [entry.required(name) for name in ("name", "type", "data")]
        key = PublicKey(entry.text("name"), entry.choice("type", KEY_TYPES, "ssh"), _key_data(entry))
        entry.finish(("name", "type", "data"))
        if not all(given):
            continue
        if not key.name or key.name.endswith("/") or len(key.name) > 255:
            entry.fault("name", "not a key name", "Use 1 to 255 characters, not ending in '/'")
        elif any(key.name == other.name for other in keys):
            entry.fault("name", "used by another key", "Give each key its own name")
        else:
            keys.append(key)
    return tuple(keys)


def _key_data(entry: Fields) -> str:
    """The key's text; a certificate may have several lines."""
    value = entry.raw("data")
    if isinstance(value, str) and value.strip():
        return value
    if value is not None:
        entry.fault("data", "a text is expected", "Give the public key as text")
    return ""


def parse_bytes(fields: Fields, name: str) -> bytes | None:
    """`NAME` as text or bytes, or `NAME_base64`; a map `{base64: ...}` or `{text: ...}` is read too."""
    encoded_name = f"{name}_base64"
    if fields.has(name) and fields.has(encoded_name):
        fields.fault(encoded_name, "text and base64 are both given", "Keep one of them")
    value, encoded = fields.raw(name), fields.raw(encoded_name)
    if isinstance(value, Mapping) and set(value) in ({"base64"}, {"text"}):
        encoded = value.get("base64")
        value = value.get("text")
    if encoded is not None:
        return _from_base64(fields, encoded_name, encoded)
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            fields.fault(name, "not Unicode text", "Give it as base64")
            return None
    if value is None or isinstance(value, bytes):
        return value
    fields.fault(name, "a text is expected", f"Use a text, or {encoded_name} for binary data")
    return None


def _from_base64(fields: Fields, name: str, encoded: object) -> bytes | None:
    try:
        if not isinstance(encoded, str):
            raise TypeError
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (TypeError, ValueError, binascii.Error):
        fields.fault(name, "not base64", "Encode the bytes with `base64 -w0`")
        return None


def parse_files(fields: Fields) -> tuple[File, ...]:
    files = []
    for entry in fields.entries("files"):
        given = entry.required("path")
        path = entry.text("path")
        if not (entry.has("content") or entry.has("content_base64")):
            entry.required("content")
        content = parse_bytes(entry, "content")
        entry.finish(("path", "content", "content_base64"))
        if path and (not path.startswith("/") or ".." in path.split("/")):
            entry.fault("path", "not an absolute path", "Start it with '/' and leave '..' out")
        elif given and path and content is not None:
            files.append(File(path, content))
    if sum(len(file.content) for file in files) > MAX_FILES_BYTES:
        fields.fault("files", "more than 64 MiB in all", "Let the guest download large files")
    return tuple(files)


def parse_devices(fields: Fields) -> tuple[Device, ...]:
    """Known devices; an unknown type or bus is dropped, never an error."""
    devices = []
    for entry in fields.entries("devices"):
        kind, bus = entry.text("type"), entry.text("bus", "none")
        mac = entry.optional_text("mac")
        device = Device(
            type=kind,
            bus=bus,
            address=entry.text("address", "none"),
            tags=entry.texts("tags"),
            mac=mac and mac.lower(),
            vlan=entry.optional_integer("vlan", 0, 4094),
            vf_trusted=entry.flag("vf_trusted", default=False),
            serial=entry.optional_text("serial"),
            path=entry.optional_text("path"),
            share_id=entry.optional_text("share_id"),
            tag=entry.optional_text("tag"),
        )
        if kind in DEVICE_TYPES and bus in BUSES:
            entry.finish(("type", "bus", "address", "tags", "mac", "vlan", "vf_trusted", "serial", "path"))
            devices.append(device)
    return tuple(devices)


def normal_address(text: str) -> str | None:
    """The one spelling of an address: IPv4-mapped is unmapped, IPv6 short and lower case (MS-A11)."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def parse_identity(fields: Fields) -> Identity | None:
    """The `identity` field, None when it is not given."""
    entry = fields.fields("identity")
    if entry is None:
        return None
    proxy = entry.fields("proxy")
    network = proxy.text("network") if proxy is not None else ""
    identity = Identity(
        source_ips=_normal_addresses(entry, "source_ips"),
        macs=parse_macs(entry),
        ports=entry.integers("ports", 1, 65535),
        socket=entry.optional_text("socket"),
        network=network,
        path=entry.optional_text("path"),
    )
    if proxy is not None:
        proxy.finish(("network",))
    if identity == Identity():
        entry.fault("", "says nothing", "Name source_ips, macs, ports, socket, proxy or path")
    if identity.path is not None and not _PATH_KEY.fullmatch(identity.path):
        entry.fault(
            "path", "not a path key", "Use 16 to 128 letters, digits, '-' or '_' that nobody can guess"
        )
    entry.finish(("source_ips", "macs", "ports", "socket", "proxy", "path"))
    return identity


def _normal_addresses(entry: Fields, name: str) -> tuple[str, ...]:
    return _each(entry, name, normal_address, "not an IP address", "Write an IPv4 or IPv6 address")


def parse_macs(entry: Fields) -> tuple[str, ...]:
    remedy = "Write six pairs of hex digits with colons"
    return _each(entry, "macs", parse_mac, "not a MAC address", remedy)


def _each(
    entry: Fields, name: str, parse: Callable[[str], str | None], problem: str, remedy: str
) -> tuple[str, ...]:
    """The items of a list that can be read; each that cannot is a fault of its own."""
    found = []
    for i, text in enumerate(entry.texts(name)):
        item = parse(text)
        if item is None:
            entry.fault(f"{name}[{i}]", problem, remedy)
        else:
            found.append(item)
    return tuple(found)


def parse_imds(fields: Fields) -> Imds:
    entry = fields.fields("imds")
    if entry is None:
        return Imds()
    imds = Imds(
        tokens=entry.choice("tokens", TOKEN_MODES, "off"),
        endpoint=entry.flag("endpoint", default=True),
        hop_limit=entry.integer("hop_limit", 1, 64, 1),
        tags=entry.flag("tags", default=False),
    )
    entry.finish(("tokens", "endpoint", "hop_limit", "tags"))
    return imds


def parse_addresses(fields: Fields) -> Addresses | None:
    entry = fields.fields("addresses")
    if entry is None:
        return None
    addresses = Addresses(
        _normal_addresses(entry, "fixed_ipv4"),
        _normal_addresses(entry, "fixed_ipv6"),
        _normal_addresses(entry, "floating"),
    )
    entry.finish(("fixed_ipv4", "fixed_ipv6", "floating"))
    return addresses
