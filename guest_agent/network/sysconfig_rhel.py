"""ifcfg-NAME as the RHEL family writes it."""

from __future__ import annotations

from guest_agent.network.addresses import netmask_of
from guest_agent.network.errors import Fault, InvalidNetwork
from guest_agent.network.model import (
    BOND,
    BRIDGE,
    DHCP4,
    INFINIBAND,
    IPV6_DYNAMIC,
    LOOPBACK,
    MANUAL,
    PHYSICAL,
    STATIC,
    VLAN,
    Note,
)
from guest_agent.network.rendered import lost
from guest_agent.network.sysconfig_bond import bonding_options, note_bond, note_bridge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.network.model import Interface, Network, Route, Subnet

Keys = dict[str, object]
TYPE_OF = {PHYSICAL: "Ethernet", BOND: "Bond", BRIDGE: "Bridge", INFINIBAND: "InfiniBand", VLAN: None}

# How an interface asks for IPv6, by the kind of its subnet.
IPV6_KEYS: dict[str, Keys] = {
    "dhcp6": {"IPV6INIT": True, "DHCPV6C": True},
    "ipv6_slaac": {"IPV6INIT": True, "IPV6_AUTOCONF": True},
    "ipv6_dhcpv6-stateless": {
        "IPV6INIT": True,
        "IPV6_AUTOCONF": True,
        "DHCPV6C": True,
        "DHCPV6C_OPTIONS": "-S",
    },
    "ipv6_dhcpv6-stateful": {
        "IPV6INIT": True,
        "IPV6_AUTOCONF": False,
        "DHCPV6C": True,
        "IPV6_FAILURE_FATAL": True,
    },
}
STATIC_IPV6: Keys = {"IPV6INIT": True, "IPV6_FORCE_ACCEPT_RA": False, "IPV6_AUTOCONF": False}
BRIDGE_KEYS = {"bridge_ageing": "AGEING", "bridge_bridgeprio": "PRIO"}
MAX_NAMESERVERS = 3  # MAXNS of resolv.conf(5)


def keys(one: Interface, network: Network, notes: list[Note]) -> Keys:
    """The keys of the file. Raises InvalidNetwork for two default routes of a family."""
    this: Keys = {"DEVICE": one.name, "TYPE": TYPE_OF[one.kind], "ONBOOT": True, "USERCTL": False}
    this["HWADDR" if one.kind in {PHYSICAL, INFINIBAND} else "MACADDR"] = one.mac or None
    this["MTU"] = one.mtu or None
    this["IPV6_FORCE_ACCEPT_RA"] = one.accept_ra
    this["ETHTOOL_OPTS"] = "wol g" if one.wakeonlan and one.kind == PHYSICAL else None
    this["BOOTPROTO"] = "dhcp" if any(subnet.kind == DHCP4 for subnet in one.subnets) else "none"
    for subnet in one.subnets:
        _add_kind(one, subnet, this, notes)
    _add_addresses(one, network, this)
    _add_default_routes(one, this)
    _add_place(one, network, this)
    _note_lost(one, notes)
    return this


def _add_kind(one: Interface, subnet: Subnet, this: Keys, notes: list[Note]) -> None:
    this.update(IPV6_KEYS.get(subnet.kind, {}))
    if subnet.kind == STATIC:
        key = "IPV6_MTU" if subnet.is_ipv6 else "MTU"
        if subnet.mtu and this.get(key) not in {None, subnet.mtu}:
            text = f"the device's mtu {this[key]} is ignored, its subnet says {subnet.mtu}"
            notes.append(Note("WARNING", f"sysconfig: {one.name}: {text}"))
        this[key] = subnet.mtu or this.get(key)
        this.update(STATIC_IPV6 if subnet.is_ipv6 else {})
    elif subnet.kind == MANUAL:
        this["ONBOOT"] = this["MTU"] is not None  # it must come up to get its MTU
    elif subnet.kind == LOOPBACK:
        raise InvalidNetwork((Fault(one.key, "sysconfig has no loopback subnets", "Take it out"),))
    if subnet.control == "manual":
        this["ONBOOT"] = False


def _add_addresses(one: Interface, network: Network, this: Keys) -> None:
    count = 0
    for subnet in one.subnets:
        if subnet.metric is not None:
            this["IPV6_ROUTE_METRIC" if subnet.is_ipv6 else "IPV4_ROUTE_METRIC"] = subnet.metric
        if subnet.kind == DHCP4 and network.has_default_route:
            this["DHCLIENT_SET_DEFAULT_ROUTE"] = False
        if subnet.kind == STATIC:
            if subnet.is_ipv6:
                _add_ipv6(subnet, this)
            else:
                this[f"IPADDR{count or ''}"] = subnet.address
                this[f"NETMASK{count or ''}"] = netmask_of(subnet.prefix)
                count += 1
            _add_gateway(subnet.gateway, this)
            _add_dns(subnet, this)


def _add_ipv6(subnet: Subnet, this: Keys) -> None:
    if "IPV6ADDR" not in this:
        this["IPV6ADDR"] = subnet.cidr
    else:
        before = this.get("IPV6ADDR_SECONDARIES")
        this["IPV6ADDR_SECONDARIES"] = f"{before} {subnet.cidr}" if before else subnet.cidr


def _add_gateway(gateway: str, this: Keys) -> None:
    if gateway:
        this["DEFROUTE"] = True
        this["IPV6_DEFAULTGW" if ":" in gateway else "GATEWAY"] = gateway


def _add_dns(subnet: Subnet, this: Keys) -> None:
    """The last subnet that has some wins; all of them are in /etc/resolv.conf."""
    this.update(
        {f"DNS{index}": server for index, server in enumerate(subnet.dns.nameservers[:MAX_NAMESERVERS], 1)}
    )
    if subnet.dns.search:
        this["DOMAIN"] = " ".join(subnet.dns.search)


def _is_of_ifcfg(subnet: Subnet, route: Route) -> bool:
    """A default route is a key of ifcfg, unless it has a table or its subnet is routed by router
    advertisements.
    """
    return route.is_default and not route.table and subnet.kind not in IPV6_DYNAMIC


def routes_of_files(one: Interface) -> tuple[Route, ...]:
    """The routes that are not in ifcfg."""
    pairs = [(subnet, route) for subnet in one.subnets for route in subnet.routes]
    return tuple(route for subnet, route in pairs if not _is_of_ifcfg(subnet, route))


def _add_default_routes(one: Interface, this: Keys) -> None:
    taken: dict[bool, str | None] = {}
    for subnet in one.subnets:
        for route in subnet.routes:
            if _is_of_ifcfg(subnet, route):
                if taken.setdefault(route.is_ipv6, route.gateway) != route.gateway:
                    what = f"it has two default routes, by {taken[route.is_ipv6]} and {route.gateway}"
                    raise InvalidNetwork((Fault(one.key, what, "Keep one of them"),))
                _add_default_route(route, this)


def _add_default_route(route: Route, this: Keys) -> None:
    this["DEFROUTE"] = True
    if this["BOOTPROTO"] == "dhcp":
        this["DHCLIENT_SET_DEFAULT_ROUTE"] = True
    _add_gateway(route.gateway, this)
    if route.metric is not None:
        this["IPV6_ROUTE_METRIC" if route.is_ipv6 else "IPV4_ROUTE_METRIC"] = route.metric


def _add_place(one: Interface, network: Network, this: Keys) -> None:
    """What the interface is made of and what it is part of."""
    if one.bond:
        this["BONDING_MASTER"] = True
        this["BONDING_OPTS"] = bonding_options(one.bond) or None
        members = sorted(member.name for member in network.interfaces if member.bond_master == one.name)
        this.update({f"BONDING_SLAVE{index}": name for index, name in enumerate(members)})
    if one.bond_master:
        this.update({"MASTER": one.bond_master, "SLAVE": True})
    if one.kind == VLAN:
        this["VLAN"] = True
        this["PHYSDEV"] = network.name_of(one.vlan.link) if one.vlan else None
    if one.bridge:
        this["STP"] = one.bridge.stp
        given = {parameter.written: parameter.value for parameter in one.bridge.parameters}
        this.update({key: given[name] for name, key in BRIDGE_KEYS.items() if name in given})
    for owner in network.of_kind(BRIDGE):
        if owner.bridge and one.key in owner.bridge.ports:
            this["BRIDGE"] = owner.name


def _note_lost(one: Interface, notes: list[Note]) -> None:
    if one.bond:
        note_bond(one, one.bond, notes)
    if one.bridge:
        note_bridge(one, one.bridge, (*BRIDGE_KEYS, "bridge_stp"), notes)
    routes = [route for subnet in one.subnets for route in subnet.routes]
    told = [
        ("optional", bool(one.optional)),
        ("mtu of a route", any(route.mtu for route in routes)),
    ]
    what = [text for text, is_lost in told if is_lost]
    if what:
        notes.append(Note("WARNING", lost("sysconfig", one, what)))
