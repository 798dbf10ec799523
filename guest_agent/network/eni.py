"""/etc/network/interfaces for ifupdown.

The loopback stanza comes first and carries the global name servers, then the interfaces by kind and name. A
subnet is a stanza; attributes of the device stand in its first one. Source of the rules: guest agent
contract, 4.6.
"""

from __future__ import annotations

from guest_agent.network import eni_device
from guest_agent.network.model import (
    BOND,
    BRIDGE,
    DHCP4,
    DHCP6,
    INFINIBAND,
    LOOPBACK,
    PHYSICAL,
    SLAAC,
    STATEFUL,
    STATELESS,
    STATIC,
    VLAN,
    Dns,
    Interface,
    Note,
    Subnet,
)
from guest_agent.network.rendered import File, Rendered, Tools, lost, udev_rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from guest_agent.network.distros import Profile
    from guest_agent.network.model import Network, Route

ORDER = (LOOPBACK, PHYSICAL, INFINIBAND, BOND, BRIDGE, VLAN)
METHOD_OF = {DHCP4: "dhcp", DHCP6: "dhcp", STATEFUL: "dhcp", STATELESS: "auto", SLAAC: "auto"}
# With `auto`, does the guest ask DHCPv6 for name servers and the like?
ASKS_DHCP = {STATELESS: "1", SLAAC: "0"}
PLAIN_LO = Interface("lo", "lo", LOOPBACK, subnets=(Subnet(LOOPBACK, control="auto"),))
Stanza = list[str]


def render(network: Network, profile: Profile, tools: Tools) -> Rendered:
    """The interfaces file and the udev rules."""
    notes: list[Note] = []
    lo = network.interface("lo") or PLAIN_LO
    ordered = sorted(network.interfaces, key=lambda one: (ORDER.index(one.kind), one.name))
    stanzas = _interface(_with_global_dns(lo, network.dns, notes), network, tools, notes)
    for one in ordered:
        if one.name != "lo":
            stanzas.extend(_interface(one, network, tools, notes))
    stanzas.extend(_route_lines((route,), "", tools) for route in network.routes)
    text = "\n\n".join("\n".join(stanza) for stanza in stanzas)
    files = {
        profile.eni_path: File(f"{profile.header}{text}\n".encode()),
        profile.udev_rules_path: File(udev_rules(network).encode()),
    }
    return Rendered(files, tuple(notes))


def _with_global_dns(lo: Interface, dns: Dns, notes: list[Note]) -> Interface:
    """lo is the one interface that is always up, so the global name servers are there; those of IPv4 only."""
    if not dns:
        return lo
    from guest_agent.network.addresses import same_family

    six = same_family(dns.nameservers, is_ipv6=True)
    if six:
        notes.append(Note("WARNING", f"eni: lo: not written: the global IPv6 name servers {', '.join(six)}"))
    first, *others = lo.subnets or PLAIN_LO.subnets
    merged = Dns(dns.nameservers or first.dns.nameservers, dns.search or first.dns.search)
    return lo.replace(subnets=(first.replace(dns=merged), *others))


def _interface(one: Interface, network: Network, tools: Tools, notes: list[Note]) -> list[Stanza]:
    if not one.subnets:
        start = [f"auto {one.name}"] if one.bond_master or one.kind == BOND else []
        return [[*start, f"iface {one.name} inet manual", *sorted(eni_device.attributes(one, network))]]
    merged = one
    if tools.is_busybox:
        from guest_agent.network import eni_busybox

        merged = eni_busybox.merged(one, notes)
    subnets = _with_shared_dns(merged.subnets)
    routes, homeless = _routes_of_stanzas(subnets)
    accept_ra_at = _accept_ra_at(one)
    stanzas: list[Stanza] = []
    for index, subnet in enumerate(subnets):
        options = _stanza_options(one, subnet, index == accept_ra_at)
        if any("accept-ra" in line for line in options) and not tools.is_busybox:
            # Written all the same: images with another ifupdown read it, and cloud-init writes it.
            text = f"eni: {one.name}: accept-ra has no effect with Debian's ifupdown, which reads accept_ra"
            notes.append(Note("INFO", text))
        if index == 0:
            options += eni_device.attributes(one, network, _ipv4_mtu(one, subnet, notes))
        method = METHOD_OF.get(subnet.kind, subnet.kind)
        head = [_verb(one, subnet, stanzas), f"iface {one.name} {_family(subnet.is_ipv6)} {method}"]
        routed = eni_busybox.further_addresses(one, subnet.is_ipv6) if tools.is_busybox else []
        routed += _route_lines(routes[index], "    ", tools, one.name)
        rules_ = _rule_lines(one, tools, notes) if index == 0 else []
        stanzas.append([*head, *sorted(_subnet_lines(subnet, tools)), *sorted(options), *routed, *rules_])
    if homeless:
        what = ["IPv6 routes, which ifupdown refuses without an address"]
        notes.append(Note("WARNING", lost("eni", one, what)))
        shared = next((subnet.dns for subnet in subnets if subnet.dns), Dns())
        lines = sorted(_dns_lines(shared, is_ipv6=True))
        head = [stanzas[-1][0], f"iface {one.name} inet6 {'manual' if tools.is_busybox else 'static'}"]
        stanzas.append([*head, *lines, *_route_lines(homeless, "    ", tools, one.name)])
    return stanzas


def _with_shared_dns(subnets: tuple[Subnet, ...]) -> list[Subnet]:
    """The first name servers of an interface also stand in the stanzas after theirs that have none."""
    found, dns = [], Dns()
    for subnet in subnets:
        dns = dns or subnet.dns
        found.append(subnet.replace(dns=subnet.dns or dns))
    return found


def _routes_of_stanzas(subnets: list[Subnet]) -> tuple[list[list[Route]], list[Route]]:
    """The routes of each stanza, IPv6 ones in the next stanza of that family; and those that find none."""
    found: list[list[Route]] = []
    waiting: list[Route] = []
    for subnet in subnets:
        waiting += [route for route in subnet.routes if route.is_ipv6 and not subnet.is_ipv6]
        routes = [route for route in subnet.routes if subnet.is_ipv6 or not route.is_ipv6]
        if subnet.is_ipv6:
            routes, waiting = routes + waiting, []
        found.append(routes)
    return found, waiting


def _route_lines(routes: Sequence[Route], indent: str, tools: Tools, device: str = "") -> list[str]:
    """Most networks have neither routes nor rules of their own, and need no import of how they are worded."""
    if not routes:
        return []
    from guest_agent.network import eni_routes

    return [line for route in routes for line in eni_routes.route_lines(route, indent, tools.have_ip, device)]


def _rule_lines(one: Interface, tools: Tools, notes: list[Note]) -> list[str]:
    if not one.rules:
        return []
    from guest_agent.network import eni_routes

    return eni_routes.rule_lines(one, tools.have_ip, notes)


def _family(is_ipv6: bool) -> str:
    return "inet6" if is_ipv6 else "inet"


def _verb(one: Interface, subnet: Subnet, before: list[Stanza]) -> str:
    """`auto X` once for a device (old ifupdown complains about a second), otherwise a comment that says
    what it is.
    """
    if any(f"auto {one.name}" in stanza for stanza in before):
        return f"# control-alias {one.name}"
    control = subnet.control or "auto"
    return {"auto": "auto", "hotplug": "allow-hotplug"}.get(control, f"# control-{control}") + f" {one.name}"


def _subnet_lines(subnet: Subnet, tools: Tools) -> list[str]:
    address = [f"    address {subnet.cidr}"]
    if tools.is_busybox:
        from guest_agent.network import eni_busybox

        address = eni_busybox.address_lines(subnet)
    said_ = {
        "broadcast": subnet.broadcast,
        "metric": subnet.metric,
        "gateway": subnet.gateway,
        "pointopoint": subnet.pointopoint,
        "mtu": subnet.mtu,
        "scope": subnet.scope,
    }
    lines = [f"    {key} {value}" for key, value in said_.items() if value]
    lines += address if subnet.kind == STATIC else []
    return lines + _dns_lines(subnet.dns, subnet.is_ipv6)


def _dns_lines(dns: Dns, is_ipv6: bool) -> list[str]:
    """The name servers of the family; search domains only where a server of the family can be asked for
    them.
    """
    if not dns:
        return []
    from guest_agent.network.addresses import same_family

    servers = same_family(dns.nameservers, is_ipv6)
    lines = [f"    dns-nameservers {' '.join(servers)}"] if servers else []
    if dns.search and (servers or not dns.nameservers):
        lines.append(f"    dns-search {' '.join(dns.search)}")
    return lines


def _accept_ra_at(one: Interface) -> int:
    """The stanza that says whether router advertisements count: the first if it is by DHCP, else the
    first of IPv6.
    """
    if one.accept_ra is None:
        return -1
    if one.subnets[0].kind == DHCP4:
        return 0
    takes = [index for index, subnet in enumerate(one.subnets) if subnet.is_ipv6]
    return takes[0] if takes else -1


def _stanza_options(one: Interface, subnet: Subnet, says_accept_ra: bool) -> list[str]:
    lines = [f"    dhcp {ASKS_DHCP[subnet.kind]}"] if subnet.kind in ASKS_DHCP else []
    if says_accept_ra and subnet.kind not in ASKS_DHCP:
        lines.append(f"    accept-ra {1 if one.accept_ra else 0}")
    return lines


def _ipv4_mtu(one: Interface, first: Subnet, notes: list[Note]) -> int | None:
    mtu = None if first.is_ipv6 else first.mtu
    if mtu and one.mtu and mtu != one.mtu:
        text = f"eni: {one.name}: the device's mtu {one.mtu} is ignored, its IPv4 subnet says {mtu}"
        notes.append(Note("WARNING", text))
    return mtu
