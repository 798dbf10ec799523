"""The host's neighbour table: which MAC answers for an address, asked of the kernel by netlink."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address

_RTM_GETNEIGH, _RTM_NEWNEIGH, _NLMSG_DONE, _NLMSG_ERROR = 30, 28, 3, 2
_NLM_F_REQUEST, _NLM_F_DUMP = 1, 0x300
_NDA_DST, _NDA_LLADDR = 1, 2
_HEADER = struct.Struct("=IHHII")
_NEIGHBOUR = struct.Struct("=BBHiHBB")
_ATTRIBUTE = struct.Struct("=HH")
_USABLE = 0x02 | 0x04 | 0x08 | 0x10 | 0x80  # reachable, stale, delay, probe, permanent


def mac_of_neighbour(address: str) -> str | None:
    """The MAC in lower case with colons, None when the kernel knows none."""
    wanted = ip_address(address.partition("%")[0]).packed
    family = socket.AF_INET if len(wanted) == 4 else socket.AF_INET6
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as link:
            link.settimeout(1.0)
            body = _NEIGHBOUR.pack(family, 0, 0, 0, 0, 0, 0)
            link.send(
                _HEADER.pack(_HEADER.size + len(body), _RTM_GETNEIGH, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0)
                + body
            )
            while True:
                answer = link.recv(1 << 16)
                found, done = _find(answer, wanted)
                if found or done:
                    return found
    except OSError:
        return None


def _find(answer: bytes, wanted: bytes) -> tuple[str | None, bool]:
    """The MAC in one datagram of the dump, and whether the dump has ended."""
    at = 0
    while at + _HEADER.size <= len(answer):
        length, kind, _, _, _ = _HEADER.unpack_from(answer, at)
        if kind in (_NLMSG_DONE, _NLMSG_ERROR) or length < _HEADER.size:
            return None, True
        if kind == _RTM_NEWNEIGH:
            mac = _mac(answer[at + _HEADER.size : at + length], wanted)
            if mac is not None:
                return mac, True
        at += (length + 3) & ~3
    return None, False


def _mac(message: bytes, wanted: bytes) -> str | None:
    state = _NEIGHBOUR.unpack_from(message)[4]
    found: dict[int, bytes] = {}
    at = _NEIGHBOUR.size
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = message[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    mac = found.get(_NDA_LLADDR, b"")
    if found.get(_NDA_DST) != wanted or len(mac) != 6 or not state & _USABLE:
        return None
    return ":".join(f"{byte:02x}" for byte in mac)
