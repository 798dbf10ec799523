"""ifcfg-NAME as wicked on the SUSE family reads it."""

from __future__ import annotations

from guest_agent.network.addresses import netmask_of
from guest_agent.network.model import BRIDGE, DHCP4, IPV6_DYNAMIC, STATEFUL, STATIC, VLAN, Note, Route
from guest_agent.network.rendered import contradicts_accept_ra, lost
from guest_agent.network.sysconfig_bond import bonding_options, note_bond, note_bridge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.network.model import Interface, Network

Keys = dict[str, object]
BRIDGE_KEYS = {
    "bridge_ageing": "BRIDGE_AGEINGTIME",
    "bridge_bridgeprio": "BRIDGE_PRIORITY",
    "bridge_fd": "BRIDGE_FORWARDDELAY",
    "bridge_hello": "BRIDGE_HELLOTIME",
    "bridge_maxage": "BRIDGE_MAXAGE",
}


def keys(one: Interface, network: Network, notes: list[Note]) -> Keys:
    """The keys of the file."""
    starts = [subnet.control for subnet in one.subnets if subnet.control in {"manual", "hotplug"}]
    this: Keys = {
        "BOOTPROTO": _bootproto(one),
        "STARTMODE": starts[0] if starts else "auto",
        "LLADDR": one.mac or None,
        "MTU": one.mtu
        or next((subnet.mtu for subnet in one.subnets if subnet.mtu and not subnet.is_ipv6), None),
        "ETHTOOL_OPTIONS": "wol g" if one.wakeonlan else None,
    }
    _add_addresses(one, this)
    _add_place(one, network, this, notes)
    told = [
        ("accept-ra", contradicts_accept_ra(one)),
        ("optional", bool(one.optional)),
        ("routing-policy", bool(one.rules)),
    ]
    what = [text for text, is_lost in told if is_lost]
    if what:
        notes.append(Note("WARNING", lost("sysconfig", one, what)))
    return this


def _bootproto(one: Interface) -> str:
    four = any(subnet.kind == DHCP4 for subnet in one.subnets)
    six = any(subnet.kind in IPV6_DYNAMIC for subnet in one.subnets)
    return {(True, True): "dhcp", (True, False): "dhcp4", (False, True): "dhcp6"}.get((four, six), "static")


def _add_addresses(one: Interface, this: Keys) -> None:
    dynamic = [subnet.kind for subnet in one.subnets if subnet.kind in IPV6_DYNAMIC]
    if dynamic:
        this["DHCLIENT6_MODE"] = "managed" if dynamic[-1] in {"dhcp6", STATEFUL} else "info"
    static = [subnet for subnet in one.subnets if subnet.kind == STATIC]
    for index, subnet in enumerate(subnet for subnet in static if not subnet.is_ipv6):
        this[f"IPADDR{f'_{index}' if index else ''}"] = subnet.address
        this[f"NETMASK{f'_{index}' if index else ''}"] = netmask_of(subnet.prefix)
    for index, subnet in enumerate(subnet for subnet in static if subnet.is_ipv6):
        this[f"IPADDR6{f'_{index}' if index else ''}"] = subnet.cidr


def _add_place(one: Interface, network: Network, this: Keys, notes: list[Note]) -> None:
    if one.bond:
        this["BONDING_MASTER"] = True
        this["BONDING_MODULE_OPTS"] = bonding_options(one.bond) or None
        members = sorted(member.name for member in network.interfaces if member.bond_master == one.name)
        this.update({f"BONDING_SLAVE_{index}": name for index, name in enumerate(members)})
        note_bond(one, one.bond, notes)
    if one.bond_master:
        this.update({"BOOTPROTO": "none", "STARTMODE": "hotplug"})
    if one.kind == VLAN and one.vlan:
        this.update({"VLAN_ID": one.vlan.id, "ETHERDEVICE": network.name_of(one.vlan.link)})
    if one.bridge:
        given = {parameter.written: parameter.value for parameter in one.bridge.parameters}
        this.update({key: given[name] for name, key in BRIDGE_KEYS.items() if name in given})
        this["BRIDGE"] = True
        this["BRIDGE_PORTS"] = " ".join(network.name_of(port) for port in one.bridge.ports)
        this["BRIDGE_STP"] = None if one.bridge.stp is None else "on" if one.bridge.stp else "off"
        note_bridge(one, one.bridge, tuple(BRIDGE_KEYS), notes)
    if any(owner.bridge and one.key in owner.bridge.ports for owner in network.of_kind(BRIDGE)):
        this["BOOTPROTO"] = "none"


def routes(one: Interface) -> tuple[Route, ...]:
    """The routes of the interface; wicked has no key for a gateway, it is a route like the others."""
    pairs = [(*subnet.gateway_route, *subnet.routes) for subnet in one.subnets]
    return tuple(route for routes_ in pairs for route in routes_)
