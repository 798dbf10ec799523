"""The `ci-info:` tables of the console: which interface has which address, and the routes of IPv4.

Read from /proc and /sys, without a program. Source: guest-agent.md 1.6, 5.8.
"""

from __future__ import annotations

import os

from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from guest_agent.machine import Machine

SYS = "/sys/class/net"
PREFIX = "ci-info: "
DEVICE_HEAD = ("Device", "Up", "Address", "Mask", "Scope", "Hw-Address")
ROUTE_HEAD = ("Route", "Destination", "Gateway", "Genmask", "Interface", "Flags")
SCOPES = {"00": "global", "10": "host", "20": "link", "40": "site"}
IFF_UP = 1
SIOCGIFADDR, SIOCGIFNETMASK = 0x8915, 0x891B
ROUTE_FLAGS = ((0x1, "U"), (0x2, "G"), (0x4, "H"))


class Address(Value):
    """An address of an interface as the table shows it; `.` stands for what there is not."""

    address: str = "."
    mask: str = "."
    scope: str = "."


def tables(machine: Machine) -> list[str]:
    """The lines of both tables; the second only when there is a route."""
    lines = _table("Net device info", DEVICE_HEAD, _devices(machine))
    routes = _routes(machine)
    if routes:
        lines += _table("Route IPv4 info", ROUTE_HEAD, routes)
    return [PREFIX + line for line in lines]


def _devices(machine: Machine) -> list[tuple[str, ...]]:
    try:
        names = sorted(os.listdir(machine.path(SYS)))
    except OSError:
        return []
    rows: list[tuple[str, ...]] = []
    for name in names:
        flags = (machine.read_text(f"{SYS}/{name}/flags") or "0").strip()
        mac = (machine.read_text(f"{SYS}/{name}/address") or "").strip() if name != "lo" else ""
        is_up = str(bool(int(flags, 16) & IFF_UP))
        found = [*_ipv4(machine, name), *_ipv6(machine, name)] or [Address()]
        rows += [(name, is_up, each.address, each.mask, each.scope, mac or ".") for each in found]
    return rows


def _ipv4(machine: Machine, name: str) -> list[Address]:
    """The first IPv4 address, which is what the kernel's old call tells; none of a tree that is looked at."""
    if not machine.is_live:
        return []
    import _socket  # socket would bring selectors, enum and more for a call that needs a descriptor
    import fcntl

    request = name.encode()[:15].ljust(256, b"\0")
    channel = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        address, mask = (
            _socket.inet_ntoa(fcntl.ioctl(channel.fileno(), number, request)[20:24])
            for number in (SIOCGIFADDR, SIOCGIFNETMASK)
        )
    except OSError:
        return []
    finally:
        channel.close()
    return [Address(address, mask, "host" if name == "lo" else "global")]


def _ipv6(machine: Machine, name: str) -> list[Address]:
    """Lines of /proc/net/if_inet6: address, number, prefix, scope, flags, name."""
    import _socket

    found = []
    for line in (machine.read_text("/proc/net/if_inet6") or "").splitlines():
        words = line.split()
        if len(words) == 6 and words[5] == name:
            address = _socket.inet_ntop(_socket.AF_INET6, bytes.fromhex(words[0]))
            found.append(Address(f"{address}/{int(words[2], 16)}", ".", SCOPES.get(words[3], ".")))
    return found


def _routes(machine: Machine) -> list[tuple[str, ...]]:
    """Lines of /proc/net/route: interface, destination, gateway, flags and later the mask, little-endian."""
    rows: list[tuple[str, ...]] = []
    for line in (machine.read_text("/proc/net/route") or "").splitlines()[1:]:
        words = line.split()
        if len(words) > 7:
            number = int(words[3], 16)
            flags = "".join(letter for bit, letter in ROUTE_FLAGS if number & bit)
            target, via, mask = (_dotted(words[index]) for index in (1, 2, 7))
            rows.append((str(len(rows)), target, via, mask, words[0], flags))
    return rows


def _dotted(little_endian: str) -> str:
    return ".".join(str(byte) for byte in reversed(bytes.fromhex(little_endian)))


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in cloud-init's form: title between plus signs, columns centred."""
    widths = [max(len(row[index]) for row in (head, *rows)) + 2 for index in range(len(head))]
    rule = "+" + "+".join("-" * width for width in widths) + "+"
    lines = [title.center(len(rule), "+"), rule, _row(head, widths), rule]
    return [*lines, *(_row(row, widths) for row in rows), rule]


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "|" + "|".join(cell.center(width) for cell, width in zip(cells, widths)) + "|"
