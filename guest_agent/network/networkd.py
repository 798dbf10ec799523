"""Files for systemd-networkd: a .network for each interface, a .netdev for each bond, bridge and VLAN.

Source of the rules: guest agent contract, 4.6.
"""

from __future__ import annotations

from guest_agent.network import networkd_netdev
from guest_agent.network.addresses import is_inside
from guest_agent.network.ini import Sections
from guest_agent.network.model import BOND, BRIDGE, DHCP4, DHCP6, PHYSICAL, VLAN, Dns, Note
from guest_agent.network.rendered import File, Rendered, lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.network.model import Interface, Network, Override, Route, Subnet

DIRECTORY = "/etc/systemd/network"
OWNER = "systemd-network"

# networkd key: key of dhcpN-overrides
DHCP_OVERRIDES = {
    "UseDNS": "use-dns",
    "UseDomains": "use-domains",
    "UseHostname": "use-hostname",
    "UseNTP": "use-ntp",
}
DHCP4_OVERRIDES = {
    **DHCP_OVERRIDES,
    "SendHostname": "send-hostname",
    "Hostname": "hostname",
    "RouteMetric": "route-metric",
    "UseMTU": "use-mtu",
    "UseRoutes": "use-routes",
}
# key of a v2 routing-policy rule: networkd key
RULE_KEYS = {
    "from": "From",
    "to": "To",
    "table": "Table",
    "priority": "Priority",
    "mark": "FirewallMark",
    "type-of-service": "TypeOfService",
}


def render(network: Network) -> Rendered:
    """All files of the network. Raises InvalidNetwork where dhcpNdomain and use-domains contradict each
    other.
    """
    files: dict[str, File] = {}
    notes: list[Note] = []
    for one in network.interfaces:
        files[f"{DIRECTORY}/10-cloud-init-{one.name}.network"] = _file(_network(one, network, notes))
        if one.kind in {BOND, BRIDGE, VLAN}:
            netdev = networkd_netdev.netdev(one, network, notes)
            if netdev:
                files[f"{DIRECTORY}/10-cloud-init-{one.name}.netdev"] = _file(netdev)
    return Rendered(files, tuple(notes))


def _file(sections: Sections) -> File:
    return File(sections.text().encode(), 0o644, OWNER)


def _network(one: Interface, network: Network, notes: list[Note]) -> Sections:
    sections = Sections()
    _match_and_link(one, sections)
    _place(one, network, sections)
    dhcp = _dhcp(one)
    sections.add("Network", "DHCP", dhcp)
    if one.accept_ra is not None:
        sections.add("Network", "IPv6AcceptRA", one.accept_ra)
    for subnet in one.subnets:
        if subnet.address:
            sections.add_group("Address", (("Address", subnet.cidr),))
    _routes(one, network, sections)
    _names(one, network, sections)
    _overrides(one, dhcp, sections)
    _rules(one, sections, notes)
    _note_lost(one, notes)
    return sections


def _match_and_link(one: Interface, sections: Sections) -> None:
    sections.add("Match", "Name", one.name)
    sections.add("Match", "Driver", one.driver or None)
    is_physical = one.kind == PHYSICAL
    sections.add("Match" if is_physical else "Link", "MACAddress", one.mac or None)
    sections.add("Link", "MTUBytes", _mtu(one))
    if one.optional:
        sections.add("Link", "RequiredForOnline", value=False)


def _mtu(one: Interface) -> int | None:
    """The device's, else that of its first IPv4 subnet that has one."""
    of_subnets = [subnet.mtu for subnet in one.subnets if subnet.mtu and not subnet.is_ipv6]
    return one.mtu or (of_subnets[0] if of_subnets else None)


def _place(one: Interface, network: Network, sections: Sections) -> None:
    """What stands above the interface: its bond, its bridge, its VLANs."""
    for vlan in network.of_kind(VLAN):
        if vlan.vlan and network.name_of(vlan.vlan.link) == one.name:
            sections.add("Network", "VLAN", vlan.name)
    sections.add("Network", "Bond", one.bond_master or None)
    for owner in network.of_kind(BRIDGE):
        if owner.bridge and one.name in owner.bridge.ports:
            sections.add("Network", "Bridge", owner.name)
            for key, values in (("Cost", owner.bridge.path_cost), ("Priority", owner.bridge.port_priority)):
                for value in values:
                    sections.add("Bridge", key, value.value if value.port == one.name else None)


def _dhcp(one: Interface) -> str:
    """networkd asks by itself where router advertisements say so; only what was asked for by name is
    named.
    """
    kinds = {subnet.kind for subnet in one.subnets}
    if DHCP4 in kinds:
        return "yes" if DHCP6 in kinds else "ipv4"
    return "ipv6" if DHCP6 in kinds else "no"


def _routes(one: Interface, network: Network, sections: Sections) -> None:
    """Explicit routes, then the gateways of addresses, then the global routes, which are in every file."""
    for subnet in one.subnets:
        for route in subnet.routes:
            sections.add_group("Route", _route(route))
    for subnet in one.subnets:
        if subnet.gateway:
            sections.add_group("Route", _gateway(subnet))
    for route in network.routes:
        sections.add_group("Route", _route(route))


def _route(route: Route) -> tuple[tuple[str, object], ...]:
    return (
        ("Destination", route.destination),
        ("Gateway", route.gateway or None),
        ("GatewayOnLink", True if route.on_link else None),
        ("Metric", route.metric),
        ("Table", route.table),
    )


def _gateway(subnet: Subnet) -> tuple[tuple[str, object], ...]:
    outside = bool(subnet.address) and not is_inside(subnet.gateway, subnet.cidr)
    return (
        ("Gateway", subnet.gateway),
        ("GatewayOnLink", True if outside else None),
        ("Metric", subnet.metric),
    )


def _names(one: Interface, network: Network, sections: Sections) -> None:
    """Name servers: those of the subnets, and those of the interface, else (v1) the global ones."""
    own = one.dns if one.dns or network.version == 2 else network.dns
    for dns in (*(subnet.dns for subnet in one.subnets), own or Dns()):
        sections.add("Network", "DNS", " ".join(dns.nameservers) or None)
        sections.add("Network", "Domains", " ".join(dns.search) or None)


def _overrides(one: Interface, dhcp: str, sections: Sections) -> None:
    for version, domain, overrides, keys in (
        ("4", one.dhcp4_domain, one.dhcp4_overrides, DHCP4_OVERRIDES),
        ("6", one.dhcp6_domain, one.dhcp6_overrides, DHCP_OVERRIDES),
    ):
        if domain:
            _refuse_both(one, version, overrides)
            sections.add(f"DHCPv{version}", "UseDomains", _use_domains(domain))
        if dhcp in {"yes", f"ipv{version}"}:
            given = {override.key: override.value for override in overrides}
            given = given or _metric(one, f"dhcp{version}")
            for key, name in keys.items():
                value = given.get(name)
                # systemd reads booleans in any case, and cloud-init writes Python's.
                sections.add(f"DHCPv{version}", key, str(value) if isinstance(value, bool) else value)


def _metric(one: Interface, kind: str) -> dict[str, str | int | bool]:
    """v1 says the metric of what DHCP brings in the subnet."""
    metrics = [subnet.metric for subnet in one.subnets if subnet.kind == kind and subnet.metric]
    return {"route-metric": metrics[0]} if metrics else {}


def _refuse_both(one: Interface, version: str, overrides: tuple[Override, ...]) -> None:
    if any(override.key == "use-domains" for override in overrides):
        from guest_agent.network.errors import Fault, InvalidNetwork

        what = f"dhcp{version}domain and dhcp{version}-overrides.use-domains say the same thing twice"
        raise InvalidNetwork((Fault(one.key, what, "Use one of them"),))


def _use_domains(word: str) -> str:
    if word == "route":
        return word
    return "yes" if word in {"true", "1", "on", "yes"} else "no"


def _rules(one: Interface, sections: Sections, notes: list[Note]) -> None:
    for rule in one.rules:
        sections.add_group(
            "RoutingPolicyRule",
            tuple((RULE_KEYS[key], value) for key, value in rule.pairs if key in RULE_KEYS),
        )
        unknown = [key for key, _ in rule.pairs if key not in RULE_KEYS]
        if unknown:
            notes.append(Note("WARNING", lost("networkd", one, [f"routing-policy {key}" for key in unknown])))


def _note_lost(one: Interface, notes: list[Note]) -> None:
    told = [
        ("wakeonlan (a .link file can say it)", one.wakeonlan),
        ("keep_configuration", one.keep_configuration),
        ("mtu of an IPv6 subnet", any(subnet.is_ipv6 and subnet.mtu for subnet in one.subnets)),
        ("mtu of a route", any(route.mtu for subnet in one.subnets for route in subnet.routes)),
    ]
    what = [text for text, is_lost in told if is_lost]
    if what:
        notes.append(Note("WARNING", lost("networkd", one, what)))
