"""Links, addresses and routes of this machine, set by netlink: no `ip` program is needed or waited for.

Only what an ephemeral lease takes. Source: rtnetlink(7).
"""

from __future__ import annotations

import os
import socket
import struct

RTM_NEWLINK, RTM_NEWADDR, RTM_DELADDR, RTM_NEWROUTE = 16, 20, 21, 24
REQUEST, ACK, CREATE, REPLACE = 0x1, 0x4, 0x400, 0x100
ERROR = 2
UP = 1
MAIN_TABLE, BY_BOOT, UNIVERSE, LINK, UNICAST = 254, 3, 0, 253, 1
HEADER = struct.Struct("=IHHII")
LINK_MESSAGE = struct.Struct("=BxHiII")
ADDRESS_MESSAGE = struct.Struct("=BBBBi")
ROUTE_MESSAGE = struct.Struct("=BBBBBBBBI")
ATTRIBUTE = struct.Struct("=HH")
# Attribute numbers.
IFLA_MTU = 4
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_DST, RTA_OIF, RTA_GATEWAY = 1, 4, 5


def set_link(name: str, *, up: bool, mtu: int = 0) -> None:
    """Bring a link up or down. Raises OSError."""
    attributes = _attribute(IFLA_MTU, struct.pack("=I", mtu)) if mtu else b""
    body = LINK_MESSAGE.pack(socket.AF_UNSPEC, 0, socket.if_nametoindex(name), UP if up else 0, UP)
    _send(RTM_NEWLINK, 0, body + attributes)


def add_address(name: str, address: str, prefix: int) -> None:
    """Give a link an IPv4 address. Raises OSError."""
    _send(RTM_NEWADDR, CREATE | REPLACE, _address(name, address, prefix))


def remove_address(name: str, address: str, prefix: int) -> None:
    """Take an IPv4 address, and the routes that lean on it, off a link. Raises OSError."""
    _send(RTM_DELADDR, 0, _address(name, address, prefix))


def _address(name: str, address: str, prefix: int) -> bytes:
    packed = socket.inet_aton(address)
    body = ADDRESS_MESSAGE.pack(socket.AF_INET, prefix, 0, UNIVERSE, socket.if_nametoindex(name))
    return body + _attribute(IFA_LOCAL, packed) + _attribute(IFA_ADDRESS, packed)


def add_route(name: str, network: str, prefix: int, via: str) -> None:
    """A route through a gateway, or, with `via` "", to a network on the link itself. Raises OSError."""
    scope = UNIVERSE if via else LINK
    body = ROUTE_MESSAGE.pack(socket.AF_INET, prefix, 0, 0, MAIN_TABLE, BY_BOOT, scope, UNICAST, 0)
    if prefix:
        body += _attribute(RTA_DST, socket.inet_aton(network))
    if via:
        body += _attribute(RTA_GATEWAY, socket.inet_aton(via))
    body += _attribute(RTA_OIF, struct.pack("=i", socket.if_nametoindex(name)))
    _send(RTM_NEWROUTE, CREATE | REPLACE, body)


def _attribute(kind: int, value: bytes) -> bytes:
    size = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(size, kind) + value + b"\0" * (-size % 4)


def _send(kind: int, flags: int, body: bytes) -> None:
    """One request, and its acknowledgement. Raises OSError with the kernel's reason."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as channel:
        channel.settimeout(5.0)
        channel.bind((0, 0))
        head = HEADER.pack(HEADER.size + len(body), kind, REQUEST | ACK | flags, 1, 0)
        channel.send(head + body)
        reply = channel.recv(65536)
    _size, answer, _flags, _sequence, _port = HEADER.unpack_from(reply)
    if answer != ERROR:
        return
    (number,) = struct.unpack_from("=i", reply, HEADER.size)
    if number:
        raise OSError(-number, os.strerror(-number))
