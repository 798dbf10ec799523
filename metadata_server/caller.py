"""Which instance is asking: evidence of one connection and request to a claim (metadata-service.md 2).

Pure: the connection's addresses and the neighbour table's answer are arguments. A claim is a key of
`catalogue.Catalogue`; nobody else compares addresses.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TypeAlias

from instance_metadata.secret import Secret
from instance_metadata.values import normal_address
from metadata_server.http import NOT_FOUND, Request, Response, error
from metadata_server.listener import Listener, Mode

# ("id", uuid), ("ip", network, address), ("mac", network, mac), ("socket", path), ("port", n), ("path", key)
Claim: TypeAlias = tuple[str, ...]

MAX_FORWARDED = 10
IDENTITY_HEADERS = (
    "x-instance-id",
    "x-tenant-id",
    "x-instance-id-signature",
    "x-metadata-provider",
    "x-metadata-provider-signature",
    "x-forwarded-for",
)
_HEADERS_OF = {
    Mode.PROXY: frozenset(IDENTITY_HEADERS) - {"x-metadata-provider", "x-metadata-provider-signature"},
    Mode.LB: frozenset({"x-metadata-provider", "x-metadata-provider-signature", "x-forwarded-for"}),
}
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class Caller:
    """A claim, the tenant it must belong to, and the path that is left when the claim took part of it."""

    claim: Claim
    tenant: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """What is known of a connection: `peer` is None on a unix socket, `mac` the neighbour table's."""

    peer: str | None = None
    local_port: int | None = None
    mac: str | None = None


def identify(listener: Listener, connection: Connection, request: Request, path: str) -> Caller | Response:
    """The caller, or the answer that says what is wrong with the evidence (ID-5)."""
    if listener.mode is Mode.PROXY:
        return _by_proxy(listener, request)
    if listener.mode is Mode.LB:
        return _by_provider(listener, request)
    if listener.mode is Mode.PATH:
        return _by_path(path)
    if listener.mode is Mode.SOCKET:
        return Caller(_by_socket(listener, connection))
    peer = source_address(listener, connection.peer, request)
    if isinstance(peer, Response):
        return peer
    if listener.mode is Mode.MAC:
        mac = mac_of(peer) or connection.mac
        return Caller(("mac", listener.network, mac)) if mac else NOT_FOUND
    return Caller(("ip", listener.network, peer or ""))


def foreign_headers(listener: Listener, request: Request) -> tuple[str, ...]:
    """Identity headers that this listener's mode ignores; worth a warning (ID-1)."""
    own: frozenset[str] = _HEADERS_OF.get(listener.mode, frozenset())
    if listener.trusted_proxies:
        own |= {"x-forwarded-for"}
    names = {name for name, _ in request.headers}
    return tuple(name for name in IDENTITY_HEADERS if name in names and name not in own)


def _by_socket(listener: Listener, connection: Connection) -> Claim:
    if listener.instance_id is not None:
        return ("id", listener.instance_id.lower())
    if listener.unix_path is not None:
        return ("socket", listener.unix_path)
    return ("port", str(connection.local_port))


def _by_path(path: str) -> Caller:
    key, _, rest = path[1:].partition("/")
    return Caller(("path", key), path=f"/{rest}")


def _single(request: Request, name: str) -> str | Response:
    """The header's value; 400 when it is missing, empty, too long or there twice (ID-5, MS-A02)."""
    values = request.values(name)
    if not values:
        return error(400, detail=f"{_shown(name)} is missing")
    if len(values) > 1 or "," in values[0]:
        return error(400, detail=f"{_shown(name)} was sent twice")
    if not 0 < len(values[0]) <= 255:
        return error(400, detail=f"{_shown(name)} is empty or too long")
    return values[0]


def _shown(name: str) -> str:
    return "-".join("ID" if part == "id" else part.capitalize() for part in name.split("-"))


def _by_proxy(listener: Listener, request: Request) -> Caller | Response:
    found = []
    for name in ("x-instance-id", "x-instance-id-signature", "x-tenant-id"):
        value = _single(request, name)
        if isinstance(value, Response):
            return value
        found.append(value)
    instance_id, signature, tenant = found
    if not _UUID.fullmatch(instance_id):
        return error(400, detail="X-Instance-ID is not a UUID")
    if not is_signed(listener.secrets, instance_id, signature):
        return error(403)
    return Caller(("id", instance_id.lower()), tenant=tenant)


def _by_provider(listener: Listener, request: Request) -> Caller | Response:
    """A load balancer vouches for a network; the guest is the address it appended (MS-A07)."""
    provider = _single(request, "x-metadata-provider")
    if isinstance(provider, Response):
        return provider
    signature = _single(request, "x-metadata-provider-signature")
    if isinstance(signature, Response):
        return signature
    if not is_signed(listener.secrets, provider, signature):
        return error(403)
    if not request.values("x-forwarded-for"):
        return error(400, detail="X-Forwarded-For is missing")
    address = _last_untrusted(listener, request)
    return address if isinstance(address, Response) else Caller(("ip", provider, address))


def is_signed(secrets: tuple[Secret, ...], message: str, signature: str) -> bool:
    """HMAC-SHA256 as lower-case hex, compared in constant time on bytes; every secret is tried (ID-2)."""
    offered = signature.encode("utf-8", "surrogateescape")
    text = message.encode("utf-8", "surrogateescape")
    signed = False
    for secret in secrets:
        expected = hmac.new(secret.reveal().encode(), text, "sha256").hexdigest().encode()
        signed |= hmac.compare_digest(expected, offered)
    return signed


def source_address(listener: Listener, peer: str | None, request: Request) -> str | Response | None:
    """The peer, or behind a trusted proxy the last address that is not one of ours (ID-7)."""
    address = None if peer is None else normal_address(peer)
    if address is None or not _is_trusted(listener, address) or not request.values("x-forwarded-for"):
        return address
    return _last_untrusted(listener, request)


def _last_untrusted(listener: Listener, request: Request) -> str | Response:
    texts = [text.strip() for value in request.values("x-forwarded-for") for text in value.split(",")]
    addresses = [normal_address(text) for text in texts]
    if len(addresses) > MAX_FORWARDED or None in addresses:
        return error(400, detail="X-Forwarded-For is not a list of up to 10 addresses")
    good = [address for address in addresses if address is not None]
    outside = [address for address in good if not _is_trusted(listener, address)]
    return outside[-1] if outside else good[0]


def _is_trusted(listener: Listener, address: str) -> bool:
    return any(
        ip_address(address.partition("%")[0]) in ip_network(network, strict=False)
        for network in listener.trusted_proxies
    )


def mac_of(address: str | None) -> str | None:
    """The MAC in an EUI-64 link-local address (`fe80::f816:3eff:fe12:3456%eth0`), None for any other."""
    if address is None or ":" not in address:
        return None
    parsed = IPv6Address(address.partition("%")[0])
    raw = parsed.packed[8:]
    if not parsed.is_link_local or raw[3:5] != b"\xff\xfe":
        return None
    return ":".join(f"{byte:02x}" for byte in (raw[0] ^ 2, raw[1], raw[2], raw[5], raw[6], raw[7]))
