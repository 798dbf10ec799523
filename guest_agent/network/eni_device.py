"""The attributes of a device in /etc/network/interfaces: what its first stanza says beside the addresses."""

from __future__ import annotations

from guest_agent.network.model import BOND, BRIDGE, INFINIBAND, VLAN
from guest_agent.network.rendered import said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from guest_agent.network.model import Bridge, Interface, Network, Parameter


def attributes(one: Interface, network: Network, ipv4_mtu: int | None = None) -> list[str]:
    """What is true of the device, not of one of its addresses."""
    pairs: list[tuple[str, object]] = [
        ("hwaddress", (one.mac or None) if one.kind in {BOND, BRIDGE, INFINIBAND, VLAN} else None),
        ("mtu", None if ipv4_mtu else one.mtu or None),
        ("optional", one.optional),
        ("keep-configuration", one.keep_configuration),
        ("ethernet-wol", "g" if one.wakeonlan else None),
        ("bond-master", one.bond_master or None),
        ("bond-slaves", "none" if one.bond else None),
        *_options(one.bond.parameters if one.bond else ()),
        *_options(_master_options(one, network)),
        *_options(one.extra),
        *(_bridge(one.bridge) if one.bridge else ()),
        ("vlan-id", one.vlan.id if one.vlan else None),
        ("vlan-raw-device", network.name_of(one.vlan.link) if one.vlan else None),
    ]
    return [f"    {key} {_worded(value)}" for key, value in pairs if value is not None]


def _worded(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return said(value)


def _options(parameters: tuple[Parameter, ...]) -> Iterator[tuple[str, object]]:
    for one in parameters:
        if one.value not in ("", ()):
            yield one.key, one.value


def _master_options(one: Interface, network: Network) -> tuple[Parameter, ...]:
    """ifenslave wants the options of the bond on its members, too."""
    master = next((bond for bond in network.of_kind(BOND) if bond.name == one.bond_master), None)
    return master.bond.parameters if master and master.bond else ()


def _bridge(bridge: Bridge) -> Iterator[tuple[str, object]]:
    yield "bridge-ports", bridge.ports or ("none",)
    yield "bridge-stp", bridge.stp
    for parameter in bridge.parameters:
        if parameter.written == "bridge_waitport" and isinstance(parameter.value, tuple):
            yield from (("bridge-waitport", wait) for wait in parameter.value)
        elif (parameter.written, parameter.value) != ("bridge_maxwait", 0):  # cloud-init leaves it out, too
            yield from _options((parameter,))
    for cost in bridge.path_cost:
        yield "bridge-pathcost", f"{cost.port} {cost.value}"
    for priority in bridge.port_priority:
        yield "bridge-portprio", f"{priority.port} {priority.value}"
