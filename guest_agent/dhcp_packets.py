"""DHCPv4 packets: what a client sends, and what a server's answer says. Pure: bytes in, values out.

Source: RFC 2131, 2132, 3442 (classless routes). A packet that is not for us, or is not whole, is None: on a
broadcast link that is everyday traffic, not an error.
"""

from __future__ import annotations

import struct

from boot_stages.value import Value

SERVER_PORT, CLIENT_PORT = 67, 68
UDP, TTL = 17, 64
REQUEST, REPLY, ETHERNET = 1, 2, 1
COOKIE = b"\x63\x82\x53\x63"
BROADCAST_FLAG = 0x8000
DISCOVER, OFFER, ASK, ACK, NAK = 1, 2, 3, 5, 6
# Options. The two classless ones have one format; 249 is Microsoft's number for 121.
MASK, ROUTER, MTU, ADDRESS, TYPE, SERVER, WANTED = 1, 3, 26, 50, 53, 54, 55
ROUTES, MS_ROUTES = 121, 249
PAD, END = 0, 255
ASKED_FOR = bytes((MASK, ROUTES, MS_ROUTES, ROUTER, MTU))
FIXED = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
IP_HEADER = struct.Struct("!BBHHHBBH4s4s")
UDP_HEADER = struct.Struct("!HHHH")
MAX_ROUTES = 64
ANY = "0.0.0.0"  # noqa: S104 - an address in a packet, nothing is bound to it


class Route(Value):
    """A route of a lease; `via` is "" where the network is on the link itself."""

    network: str
    prefix: int
    via: str


class Offer(Value):
    """What a server offers or confirms: OFFER, ACK or NAK, and the lease."""

    kind: int
    address: str
    prefix: int
    server: str
    routes: tuple[Route, ...] = ()
    mtu: int = 0


def packet(kind: int, transaction: int, mac: bytes, offer: Offer | None = None) -> bytes:
    """An IP packet from 0.0.0.0 to everybody: DISCOVER, or the request for what was offered."""
    options = bytes((TYPE, 1, kind)) + bytes((WANTED, len(ASKED_FOR))) + ASKED_FOR
    if offer is not None:
        options += (
            bytes((ADDRESS, 4)) + _to_bytes(offer.address) + bytes((SERVER, 4)) + _to_bytes(offer.server)
        )
    none = b"\0" * 4
    head = FIXED.pack(
        REQUEST, ETHERNET, 6, 0, transaction, 0, BROADCAST_FLAG, none, none, none, none, mac, b"", b"", COOKIE
    )
    body = (head + options + bytes((END,))).ljust(300, b"\0")
    return _in_ip(_in_udp(body))


def _in_udp(body: bytes) -> bytes:
    # A checksum of 0 means: none. RFC 768.
    return UDP_HEADER.pack(CLIENT_PORT, SERVER_PORT, UDP_HEADER.size + len(body), 0) + body


def _in_ip(body: bytes) -> bytes:
    size = IP_HEADER.size + len(body)
    source, target = b"\0" * 4, b"\xff" * 4
    blank = IP_HEADER.pack(0x45, 0, size, 0, 0, TTL, UDP, 0, source, target)
    return IP_HEADER.pack(0x45, 0, size, 0, 0, TTL, UDP, _checksum(blank), source, target) + body


def _checksum(header: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def parse(data: bytes, transaction: int, mac: bytes) -> Offer | None:
    """The answer to our transaction in an IP packet, or None."""
    body = _payload(data)
    if body is None or len(body) < FIXED.size:
        return None
    fields = FIXED.unpack_from(body)
    operation, number, yours, hardware, cookie = fields[0], fields[4], fields[8], fields[11], fields[14]
    if operation != REPLY or number != transaction or hardware[:6] != mac or cookie != COOKIE:
        return None
    options = _options(body[FIXED.size :])
    kind = options.get(TYPE, b"\0")[0:1]
    if not kind or kind[0] not in {OFFER, ACK, NAK}:
        return None
    mtu = options.get(MTU, b"")
    return Offer(
        kind[0],
        _text(yours),
        _prefix(options.get(MASK, b"")),
        _text(options.get(SERVER, b"\0\0\0\0")[:4].ljust(4, b"\0")),
        _routes(options),
        int.from_bytes(mtu, "big") if len(mtu) == 2 else 0,
    )


def _payload(data: bytes) -> bytes | None:
    """What a UDP packet for a DHCP client carries."""
    if len(data) < IP_HEADER.size or data[0] >> 4 != 4 or data[9] != UDP:
        return None
    start = (data[0] & 0x0F) * 4
    if start < IP_HEADER.size or len(data) < start + UDP_HEADER.size:
        return None
    _source, target, size, _sum = UDP_HEADER.unpack_from(data, start)
    if target != CLIENT_PORT or size < UDP_HEADER.size or start + size > len(data):
        return None
    return data[start + UDP_HEADER.size : start + size]


def _options(data: bytes) -> dict[int, bytes]:
    """The options; one that is given in several pieces is joined (RFC 3396), one cut short is left out."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data) and data[at] != END:
        code = data[at]
        at += 1
        if code == PAD:
            continue
        if at >= len(data) or at + 1 + data[at] > len(data):
            break
        found[code] = found.get(code, b"") + data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]
    return found


def _prefix(mask: bytes) -> int:
    """Bits of a netmask; 24 where there is none, or one with holes."""
    number = int.from_bytes(mask, "big") if len(mask) == 4 else 0
    bits = bin(number).count("1")
    whole = (0xFFFFFFFF << (32 - bits)) & 0xFFFFFFFF if bits else 0
    return bits if bits and number == whole else 24


def _routes(options: dict[int, bytes]) -> tuple[Route, ...]:
    """Classless routes; where a server gives any, the router option does not count (RFC 3442)."""
    routes = _classless(options.get(ROUTES) or options.get(MS_ROUTES) or b"")
    router = options.get(ROUTER, b"")[:4]
    if not routes and len(router) == 4:
        return (Route(ANY, 0, _text(router)),)
    return routes


def _classless(data: bytes) -> tuple[Route, ...]:
    routes: list[Route] = []
    at = 0
    while at < len(data) and len(routes) < MAX_ROUTES:
        prefix = data[at]
        size = (prefix + 7) // 8
        end = at + 1 + size + 4
        if prefix > 32 or end > len(data):
            break
        via = _text(data[end - 4 : end])
        network = data[at + 1 : at + 1 + size].ljust(4, b"\0")
        routes.append(Route(_text(network), prefix, "" if via == ANY else via))
        at = end
    return tuple(routes)


def _text(address: bytes) -> str:
    return ".".join(str(byte) for byte in address)


def _to_bytes(address: str) -> bytes:
    return bytes(int(part) for part in address.split("."))
