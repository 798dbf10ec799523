"""/etc/network/interfaces for ifupdown.

The loopback stanza comes first and carries the global name servers, then the interfaces by kind and name. A
subnet is a stanza; attributes of the device stand in its first one. Source of the rules: guest agent
contract, 4.6.
"""

from __future__ import annotations

from guest_agent.network import rules
from guest_agent.network.addresses import same_family
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
from guest_agent.network.rendered import File, Rendered, lost, said, udev_rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from guest_agent.network.distros import Profile
    from guest_agent.network.model import Bridge, Network, Parameter, Route

ORDER = (LOOPBACK, PHYSICAL, INFINIBAND, BOND, BRIDGE, VLAN)
METHOD_OF = {DHCP4: "dhcp", DHCP6: "dhcp", STATEFUL: "dhcp", STATELESS: "auto", SLAAC: "auto"}
# With `auto`, does the guest ask DHCPv6 for name servers and the like?
ASKS_DHCP = {STATELESS: "1", SLAAC: "0"}
PLAIN_LO = Interface("lo", "lo", LOOPBACK, subnets=(Subnet(LOOPBACK, control="auto"),))
Stanza = list[str]


def render(network: Network, profile: Profile, have_ip: bool) -> Rendered:
    """The interfaces file and the udev rules. `have_ip`: does the guest have the `ip` tool, or only
    `route`?
    """
    notes: list[Note] = []
    lo = network.interface("lo") or PLAIN_LO
    ordered = sorted(network.interfaces, key=lambda one: (ORDER.index(one.kind), one.name))
    stanzas = _interface(_with_global_dns(lo, network.dns, notes), network, have_ip, notes)
    for one in ordered:
        if one.name != "lo":
            stanzas.extend(_interface(one, network, have_ip, notes))
    stanzas.extend(list(_route(route, "", have_ip)) for route in network.routes)
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
    six = same_family(dns.nameservers, is_ipv6=True)
    if six:
        notes.append(Note("WARNING", f"eni: lo: not written: the global IPv6 name servers {', '.join(six)}"))
    first, *others = lo.subnets or PLAIN_LO.subnets
    merged = Dns(dns.nameservers or first.dns.nameservers, dns.search or first.dns.search)
    return lo.replace(subnets=(first.replace(dns=merged), *others))


def _interface(one: Interface, network: Network, have_ip: bool, notes: list[Note]) -> list[Stanza]:
    if not one.subnets:
        start = [f"auto {one.name}"] if one.bond_master or one.kind == BOND else []
        return [[*start, f"iface {one.name} inet manual", *sorted(_attributes(one, network))]]
    stanzas: list[Stanza] = []
    dns = next((subnet.dns for subnet in one.subnets if subnet.dns), Dns())
    has_dns = False
    waiting: list[Route] = []
    accept_ra_at = _accept_ra_at(one)
    verb = ""
    for index, subnet in enumerate(one.subnets):
        has_dns = has_dns or bool(subnet.dns)
        verb = _verb(one, subnet, stanzas)
        stanza = [
            verb,
            f"iface {one.name} {_family(subnet.is_ipv6)} {METHOD_OF.get(subnet.kind, subnet.kind)}",
        ]
        stanza += sorted(_subnet_lines(subnet.replace(dns=subnet.dns or dns) if has_dns else subnet))
        extra = _stanza_options(one, subnet, index == accept_ra_at)
        if index == 0:
            extra += _attributes(one, network, _ipv4_mtu(one, subnet, notes))
        stanza += sorted(extra)
        waiting += [route for route in subnet.routes if route.is_ipv6 and not subnet.is_ipv6]
        routes = [route for route in subnet.routes if subnet.is_ipv6 or not route.is_ipv6]
        if subnet.is_ipv6:
            routes, waiting = routes + waiting, []
        stanza += [line for route in routes for line in _route(route, "    ", have_ip, one.name)]
        if index == 0:
            stanza += _rules(one, have_ip, notes)
        stanzas.append(stanza)
    if waiting:
        notes.append(
            Note("WARNING", lost("eni", one, ["IPv6 routes, which ifupdown refuses without an address"]))
        )
        lines = _dns_lines(dns, is_ipv6=True) if has_dns else []
        routed = [line for route in waiting for line in _route(route, "    ", have_ip, one.name)]
        stanzas.append([verb, f"iface {one.name} inet6 static", *sorted(lines), *routed])
    return stanzas


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


def _subnet_lines(subnet: Subnet) -> list[str]:
    said_ = {
        "address": subnet.cidr if subnet.kind == STATIC else "",
        "broadcast": subnet.broadcast,
        "metric": subnet.metric,
        "gateway": subnet.gateway,
        "pointopoint": subnet.pointopoint,
        "mtu": subnet.mtu,
        "scope": subnet.scope,
    }
    lines = [f"    {key} {value}" for key, value in said_.items() if value]
    return lines + _dns_lines(subnet.dns, subnet.is_ipv6)


def _dns_lines(dns: Dns, is_ipv6: bool) -> list[str]:
    """The name servers of the family; search domains only where a server of the family can be asked for
    them.
    """
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


def _attributes(one: Interface, network: Network, ipv4_mtu: int | None = None) -> list[str]:
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


def _route(route: Route, indent: str, have_ip: bool, device: str = "") -> Iterator[str]:
    """The line that adds the route and the line that takes it away; `|| true`, so that a repeated ifup
    is no error.
    """
    words = _ip_words(route, device) if have_ip else _route_words(route, device)
    for when, verb in (("post-up", "add"), ("pre-down", "del")):
        yield f"{indent}{when} {words.format(verb=verb)} || true"


def _rules(one: Interface, have_ip: bool, notes: list[Note]) -> list[str]:
    if one.rules and not have_ip:
        notes.append(Note("WARNING", lost("eni", one, ["routing-policy (there is no ip tool)"])))
        return []
    lines = []
    for rule in one.rules:
        command = f"ip{' -family inet6' if rules.is_ipv6(rule) else ''} rule {{}} {rules.words(rule)} || true"
        lines += [f"    post-up {command.format('add')}", f"    pre-down {command.format('del')}"]
    return lines


def _ip_words(route: Route, device: str) -> str:
    target = "default" if route.is_default else route.destination
    tail = f" via {route.gateway}" if route.gateway else f" dev {device}" if device else ""
    tail += f" dev {device} onlink" if route.on_link and route.gateway and device else ""
    tail += "" if route.metric is None else f" metric {route.metric}"
    tail += f" table {route.table}" if route.table else ""
    return f"ip{' -family inet6' if route.is_ipv6 else ''} route {{verb}} {target}{tail}"


def _route_words(route: Route, device: str) -> str:
    kind = "-A inet6 " if route.is_ipv6 else ""
    if not route.is_ipv6 and not route.is_default:
        kind = "-host " if route.prefix == 32 else "-net "
    target = "default" if route.is_default else route.destination
    tail = f" gw {route.gateway}" if route.gateway else f" dev {device}" if device else ""
    tail += "" if route.metric is None else f" metric {route.metric}"
    return f"route {{verb}} {kind}{target}{tail}"
