"""What no renderer may see: a name that is no name, one MAC on two NICs, a VLAN on nothing, routes by the
thousand.

A wrong file here means a guest that nobody can log in to, so the whole document is refused and the network
that is there stays. Source of the rules: faults and threats, GA-P15.
"""

from __future__ import annotations

from guest_agent.network.model import BOND, BRIDGE, LOOPBACK, PHYSICAL, VLAN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from guest_agent.network.model import Interface, Network
    from guest_agent.network.reading import Findings

NAME_BYTES = 15  # IFNAMSIZ - 1
KEY_BYTES = 128  # keys name files, next to a prefix and a suffix
MAX_ROUTES = 4096


def check(network: Network, findings: Findings) -> None:
    """Adds a fault for each thing that must not reach a renderer."""
    for one in network.interfaces:
        _check_name(one.key, one.name, findings)
        if one.mac and not _is_mac(one.mac):
            findings.fault(
                one.key, f"{one.mac!r} is not a MAC address", "Write six pairs such as 52:54:00:12:34:56"
            )
        if one.kind == VLAN and one.vlan and one.vlan.link in {one.key, one.name}:
            findings.fault(one.key, "this vlan is its own link", "Name the interface below it")
    _check_twice(network, findings)
    _check_loops(network, findings)
    routes = len(network.routes) + sum(len(sub.routes) for one in network.interfaces for sub in one.subnets)
    if routes > MAX_ROUTES:
        findings.fault(
            "routes", f"{routes} routes are too many", f"Use at most {MAX_ROUTES}; summarise networks"
        )


def _check_name(key: str, name: str, findings: Findings) -> None:
    if not _is_file_safe(key) or len(key.encode()) > KEY_BYTES:
        findings.fault(
            _short(key), "this is no name for an interface", "Use letters, digits, '.', '-' and '_'"
        )
    elif not _is_file_safe(name) or len(name.encode()) > NAME_BYTES:
        findings.fault(
            _short(key), f"{_short(name)} is no device name", f"Use 1 to {NAME_BYTES} letters and digits"
        )


def _is_file_safe(name: str) -> bool:
    """May `name` be part of a path, a line of a file and a systemd match?"""
    return (
        name not in {"", ".", ".."} and name.isprintable() and not set(name) & set("/ %:\\\"'*?[]$`;|&<>=#")
    )


def _short(name: str) -> str:
    text = name.encode("unicode_escape").decode()
    return text if len(text) <= 40 else f"{text[:37]}..."


def _is_mac(mac: str) -> bool:
    """Six bytes, or the twenty of InfiniBand."""
    parts = mac.replace("-", ":").split(":")
    return len(parts) in {6, 20} and all(
        len(part) == 2 and not set(part) - set("0123456789abcdef") for part in parts
    )


def _check_twice(network: Network, findings: Findings) -> None:
    """A MAC may be shared by a NIC and the bond, bridge or VLAN above it, and by NICs of different
    drivers (Azure).
    """
    names: dict[str, str] = {}
    macs: dict[tuple[str, str], str] = {}
    for one in network.interfaces:
        first = names.setdefault(one.name, one.key)
        if first != one.key:
            findings.fault(
                one.key, f"{one.name} is also the name of {first}", "Give each interface its own set-name"
            )
        if one.kind == PHYSICAL and one.mac:
            first = macs.setdefault((one.mac, one.driver), one.key)
            if first != one.key:
                findings.fault(
                    one.key, f"{first} has the same MAC {one.mac}", "Give each interface its own MAC"
                )


def _check_loops(network: Network, findings: Findings) -> None:
    below = {one.key: _below(one) for one in network.interfaces}
    for key, direct in below.items():
        seen: set[str] = set()
        waiting = list(direct)
        while waiting:
            step = waiting.pop()
            if step == key:
                findings.fault(
                    key, "it stands, over others, on itself", "Take one of the links out of the circle"
                )
                break
            if step not in seen:
                seen.add(step)
                waiting.extend(below.get(step, ()))


def _below(one: Interface) -> tuple[str, ...]:
    if one.kind == BOND and one.bond:
        return one.bond.members
    if one.kind == BRIDGE and one.bridge:
        return one.bridge.ports
    return (one.vlan.link,) if one.vlan else ()


def missing_macs(network: Network, nics: Mapping[str, str]) -> tuple[str, ...]:
    """MACs of plain NICs in the document that no NIC of this machine has, in document order (GA, 1.8:
    wait for them).
    """
    wanted = [
        one.mac for one in network.interfaces if one.kind not in {BOND, BRIDGE, VLAN, LOOPBACK} and one.mac
    ]
    return tuple(dict.fromkeys(mac for mac in wanted if mac not in nics))
