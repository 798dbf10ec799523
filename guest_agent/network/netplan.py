"""/etc/netplan/50-cloud-init.yaml.

A version 2 document goes there untouched, so that keys only netplan knows survive; a version 1 document is
put into version 2's words. Source of the rules: guest agent contract, 4.6.
"""

from __future__ import annotations

from guest_agent.network import v2
from guest_agent.network.addresses import is_inside
from guest_agent.network.global_routes import given_to_interfaces
from guest_agent.network.model import (
    BOND,
    BRIDGE,
    DHCP4,
    IPV6_DYNAMIC,
    PHYSICAL,
    STATIC,
    VLAN,
    Note,
)
from guest_agent.network.rendered import File, Rendered, lost, unwritten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from guest_agent.network.distros import Profile
    from guest_agent.network.model import Bond, Bridge, Dns, Interface, Network, PortValue, Route, Subnet

SECTION_OF_KIND = {PHYSICAL: "ethernets", BOND: "bonds", BRIDGE: "bridges", VLAN: "vlans"}
# v1 name: v2 name; of two v2 names for one, the one that cloud-init writes.
_NAMES_OF_OTHERS = {"gratuitious-arp", "arp-ip-targets", "all-members-active", "packets-per-member"}
BOND_KEYS = {old: new for new, old in v2.BOND_PARAMETERS.items() if new not in _NAMES_OF_OTHERS}
BRIDGE_KEYS = {old: new for new, old in v2.BRIDGE_PARAMETERS.items()}
BRIDGE_SILENT = {"bridge_gcint", "bridge_maxwait", "bridge_waitport"}  # ifupdown's own, about waiting

# The file snapd puts into images; with it, netplan would ask DHCP on every NIC.
SNAPD_DEFAULT_PATH = "/etc/netplan/00-snapd-config.yaml"
SNAPD_DEFAULT = b"""\
# This is the initial network config.
# It can be overwritten by cloud-init or console-conf.
network:
    version: 2
    ethernets:
        all-en:
            match:
                name: "en*"
            dhcp4: true
        all-eth:
            match:
                name: "eth*"
            dhcp4: true
"""
Entry = dict[str, object]


def render(
    network: Network, document: Mapping[str, object], profile: Profile, features: frozenset[str]
) -> Rendered:
    """The one file. `features` are those of `netplan info` (`ipv6-mtu` changes a key)."""
    notes: list[Note] = []
    body: Mapping[str, object] = document if network.version == 2 else from_model(network, features, notes)
    content = profile.header + _yaml({"network": _without_zero_mtu(body)})
    return Rendered(
        {profile.netplan_path: File(content.encode(), 0o600)},
        tuple(notes),
        after_write=(("netplan", "generate"),),
        remove=((SNAPD_DEFAULT_PATH, SNAPD_DEFAULT),),
    )


def _yaml(document: Mapping[str, object]) -> str:
    """YAML with 4 spaces and no anchors: people edit this file."""
    from guest_agent import plain_yaml

    plain = plain_yaml.write(document, is_sorted=False)
    return dumped(document) if plain is None else plain


def dumped(document: object) -> str:
    """The same by PyYAML, whatever the value holds."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            del data
            return True

    text: str = yaml.dump(document, Dumper=Dumper, indent=4, default_flow_style=False, sort_keys=False)
    return text


def _without_zero_mtu(value: object) -> object:
    """`mtu: 0` is how clouds say "not set"; netplan refuses it."""
    if isinstance(value, dict):
        kept = {key: inside for key, inside in value.items() if not (key == "mtu" and inside == 0)}
        return {key: _without_zero_mtu(kept[key]) for key in sorted(kept, key=_sort_key)}
    return [_without_zero_mtu(one) for one in value] if isinstance(value, list) else value


SECTION_ORDER = ("version", "renderer", "ethernets", "wifis", "bonds", "bridges", "vlans")


def _sort_key(key: object) -> tuple[int, str]:
    rank = SECTION_ORDER.index(str(key)) if key in SECTION_ORDER else len(SECTION_ORDER)
    return rank, str(key)


def from_model(network: Network, features: frozenset[str], notes: list[Note]) -> Entry:
    """The version 2 document that says what the model says."""
    network = given_to_interfaces(network, "netplan", notes)
    sections: dict[str, dict[str, Entry]] = {}
    for one in network.interfaces:
        section = SECTION_OF_KIND.get(one.kind)
        if section:
            sections.setdefault(section, {})[one.name] = _entry(one, network, features, notes)
        elif one.kind != "loopback" or one.subnets[1:]:
            notes.append(Note("WARNING", lost("netplan", one, [f"an interface of type {one.kind}"])))
    _add_global_dns(network.dns, sections)
    return {"version": 2, **sections}


def _add_global_dns(dns: Dns, sections: Mapping[str, Mapping[str, Entry]]) -> None:
    """Each interface that has addresses and no name servers of its own gets the global ones."""
    for entry in (entry for entries in sections.values() for entry in entries.values()):
        if dns and "addresses" in entry and "nameservers" not in entry:
            entry["nameservers"] = {"addresses": list(dns.nameservers), "search": list(dns.search)}


def _entry(one: Interface, network: Network, features: frozenset[str], notes: list[Note]) -> Entry:
    entry: Entry = {}
    if one.kind == PHYSICAL:
        entry.update(_physical(one))
    elif one.mac:
        entry["macaddress"] = one.mac
    if one.bond:
        entry.update(_bond(one, one.bond, network, notes))
    if one.bridge:
        entry.update(_bridge(one, one.bridge, notes))
    if one.kind == VLAN:
        entry.update({"id": one.vlan.id if one.vlan else None, "link": one.vlan.link if one.vlan else None})
    _add_subnets(one, entry, features)
    _add_device_mtu(one, entry, notes)
    _add_plain(one, entry)
    return entry


def _physical(one: Interface) -> Entry:
    entry: Entry = {"match": {"macaddress": one.mac}, "set-name": one.name} if one.mac else {}
    if one.keep_configuration is not None:
        entry["critical"] = one.keep_configuration
    return entry


def _add_plain(one: Interface, entry: Entry) -> None:
    if one.accept_ra is not None:
        entry["accept-ra"] = one.accept_ra
    if one.dns and one.dns.nameservers and "nameservers" not in entry:
        entry["nameservers"] = _nameservers(one.dns.nameservers, one.dns.search)


def _bond(one: Interface, bond: Bond, network: Network, notes: list[Note]) -> Entry:
    members = sorted(member.key for member in network.interfaces if member.bond_master == one.name)
    options = {BOND_KEYS[this.key]: _listed(this.value) for this in bond.parameters if this.key in BOND_KEYS}
    _note(one, unwritten((this for this in bond.parameters if this.key not in BOND_KEYS), ()), notes)
    return {**({"interfaces": members} if members else {}), **({"parameters": options} if options else {})}


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _bridge(one: Interface, bridge: Bridge, notes: list[Note]) -> Entry:
    options: Entry = {
        BRIDGE_KEYS[this.written]: this.value for this in bridge.parameters if this.written in BRIDGE_KEYS
    }
    if bridge.stp is not None:
        options["stp"] = bridge.stp
    for key, values in (("path-cost", bridge.path_cost), ("port-priority", bridge.port_priority)):
        if values:
            options[key] = _by_port(values)
    _note(one, unwritten(bridge.parameters, {*BRIDGE_KEYS, *BRIDGE_SILENT}), notes)
    return {"interfaces": sorted(bridge.ports), **({"parameters": options} if options else {})}


def _by_port(values: tuple[PortValue, ...]) -> dict[str, int]:
    return {value.port: value.value for value in values}


def _note(one: Interface, what: tuple[str, ...], notes: list[Note]) -> None:
    if what:
        notes.append(Note("WARNING", lost("netplan", one, what)))


def _add_subnets(one: Interface, entry: Entry, features: frozenset[str]) -> None:
    addresses: list[str] = []
    routes: list[Entry] = []
    for subnet in one.subnets:
        if subnet.kind == DHCP4 or subnet.kind in IPV6_DYNAMIC:
            _add_dhcp("dhcp4" if subnet.kind == DHCP4 else "dhcp6", subnet.metric, entry)
        elif subnet.kind == STATIC:
            addresses.append(subnet.cidr)
        routes.extend(_routes(subnet))
        if subnet.mtu:
            entry["ipv6-mtu" if subnet.is_ipv6 and "ipv6-mtu" in features else "mtu"] = subnet.mtu
    if addresses:
        entry["addresses"] = addresses
    if routes:
        entry["routes"] = routes
    servers = tuple(server for subnet in one.subnets for server in subnet.dns.nameservers)
    search = tuple(domain for subnet in one.subnets for domain in subnet.dns.search)
    if servers or search:
        entry["nameservers"] = _nameservers(servers, search)


def _nameservers(servers: tuple[str, ...], search: tuple[str, ...]) -> Entry:
    return {
        **({"addresses": list(servers)} if servers else {}),
        **({"search": list(search)} if search else {}),
    }


def _add_dhcp(key: str, metric: int | None, entry: Entry) -> None:
    entry[key] = True
    if metric is not None:
        entry[f"{key}-overrides"] = {"route-metric": metric}


def _routes(subnet: Subnet) -> list[Entry]:
    gateway = []
    if subnet.gateway:
        outside = not is_inside(subnet.gateway, subnet.cidr)
        on_link = {"on-link": True} if outside else {}
        gateway.append(_with_metric({"to": "default", "via": subnet.gateway, **on_link}, subnet.metric))
    return gateway + [_route(route, subnet.metric) for route in subnet.routes]


def _route(route: Route, metric_of_subnet: int | None) -> Entry:
    entry: Entry = {"to": route.destination}
    if route.gateway:
        entry["via"] = route.gateway
    else:
        entry["scope"] = "link"
    for key, value in (("mtu", route.mtu), ("table", route.table), ("on-link", route.on_link or None)):
        if value is not None:
            entry[key] = value
    return _with_metric(entry, metric_of_subnet if route.metric is None else route.metric)


def _with_metric(entry: Entry, metric: int | None) -> Entry:
    return {**entry, **({} if metric is None else {"metric": metric})}


def _add_device_mtu(one: Interface, entry: Entry, notes: list[Note]) -> None:
    of_subnet = entry.get("mtu")
    if of_subnet and one.mtu not in {None, 0, of_subnet}:
        text = f"netplan: {one.name}: the device's mtu {one.mtu} is ignored, its IPv4 subnet says {of_subnet}"
        notes.append(Note("WARNING", text))
    elif one.mtu:
        entry["mtu"] = one.mtu
