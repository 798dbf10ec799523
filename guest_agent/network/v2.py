"""Network config version 2: netplan's format, as far as the other renderers understand it.

Each interface is brought into the words of v1 (subnets, bond and bridge options by their v1 names). What
only netplan understands is noted apart in `Findings`. Source of the rules: guest agent contract, 4.3.
"""

from __future__ import annotations

from guest_agent.network.model import (
    BOND,
    BRIDGE,
    PHYSICAL,
    VLAN,
    Dns,
    Interface,
    Network,
    Override,
    Rule,
    Subnet,
    Vlan,
)
from guest_agent.network.reading import Findings, Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from guest_agent.network.model import Bond, Bridge, Route

KIND_OF_SECTION = {"ethernets": PHYSICAL, "bonds": BOND, "bridges": BRIDGE, "vlans": VLAN}

# v2 name: v1 name. The misspelling is netplan's own, and so are the two plural forms.
BOND_PARAMETERS = {
    "mode": "bond-mode",
    "mii-monitor-interval": "bond-miimon",
    "up-delay": "bond-updelay",
    "down-delay": "bond-downdelay",
    "lacp-rate": "bond-lacp-rate",
    "min-links": "bond-min-links",
    "transmit-hash-policy": "bond-xmit-hash-policy",
    "ad-select": "bond-ad-select",
    "gratuitous-arp": "bond-num-grat-arp",
    "gratuitious-arp": "bond-num-grat-arp",
    "arp-interval": "bond-arp-interval",
    "arp-ip-target": "bond-arp-ip-target",
    "arp-ip-targets": "bond-arp-ip-target",
    "arp-validate": "bond-arp-validate",
    "arp-all-targets": "bond-arp-all-targets",
    "fail-over-mac-policy": "bond-fail-over-mac",
    "primary": "bond-primary",
    "primary-reselect-policy": "bond-primary-reselect",
    "all-slaves-active": "bond-all-slaves-active",
    "all-members-active": "bond-all-slaves-active",
    "packets-per-slave": "bond-packets-per-slave",
    "packets-per-member": "bond-packets-per-slave",
    "learn-packet-interval": "bond-learn-packet-interval",
    "resend-igmp": "bond-resend-igmp",
}
BRIDGE_PARAMETERS = {
    "ageing-time": "bridge_ageing",
    "priority": "bridge_bridgeprio",
    "forward-delay": "bridge_fd",
    "hello-time": "bridge_hello",
    "max-age": "bridge_maxage",
    "path-cost": "bridge_pathcost",
    "port-priority": "bridge_portprio",
    "stp": "bridge_stp",
}

UNDERSTOOD = frozenset({
    "accept-ra", "addresses", "dhcp4", "dhcp4-overrides", "dhcp4domain", "dhcp6", "dhcp6-overrides",
    "dhcp6domain", "gateway4", "gateway6", "id", "interfaces", "link", "macaddress", "match", "mtu",
    "nameservers", "optional", "parameters", "renderer", "routes", "routing-policy", "set-name", "wakeonlan",
})  # fmt: skip
UNDERSTOOD_OF_ROUTE = frozenset({"metric", "mtu", "on-link", "table", "to", "via"})


def parse(document: object, nics: Mapping[str, str], findings: Findings) -> Network:
    """The network that a v2 document means on a machine whose NICs are `nics` (MAC in lower case -> name)."""
    found: dict[str, Interface] = {}
    for section, body in Reader(document, "", findings).value.items():
        kind = KIND_OF_SECTION.get(str(section))
        if kind:
            for key, reader in Reader(body, str(section), findings).named():
                if key in found:
                    findings.fault(
                        reader.path, f"{key!r} is there twice", "Give each interface a name of its own"
                    )
                found[key] = interface(key, kind, reader, nics)
        elif section == "wifis":
            findings.lose_outside_netplan("network-config: wifis: only netplan takes them; they are left out")
        elif section not in {"version", "renderer"}:
            findings.refuse_outside_netplan(
                str(section), "this section is for netplan only", "Take it out, or use netplan"
            )
    interfaces = tuple(found.values())
    if any(one.bond or one.bridge for one in interfaces):
        from guest_agent.network.members import link_members

        interfaces = link_members(interfaces, findings)
    network = Network(2, interfaces)
    _note_ports(network, findings)
    return network


def _note_ports(network: Network, findings: Findings) -> None:
    """cloud-init's eni and networkd files name a port by its key; with another set-name the bridge
    stays without it.
    """
    for one in network.of_kind(BRIDGE):
        for key in one.bridge.ports if one.bridge else ():
            if network.name_of(key) != key:
                where = f"network-config: bridges.{one.key}.interfaces"
                what = (
                    f"{key} is named {network.name_of(key)} in the guest; make its key equal to its set-name"
                )
                findings.lose_outside_netplan(f"{where}: {what}")


def interface(key: str, kind: str, reader: Reader, nics: Mapping[str, str]) -> Interface:
    """One interface of a section."""
    _note_unknown(reader)
    match = reader.child("match")
    mac = (match.text("macaddress") if kind == PHYSICAL else reader.text("macaddress")).lower()
    dns = _dns(reader)
    return Interface(
        key,
        _name(key, mac, match, reader, nics) if kind == PHYSICAL else key,
        kind,
        has_config_id=kind == PHYSICAL,
        mac=mac,
        mtu=reader.mtu(),
        driver=_driver(match),
        accept_ra=reader.truth("accept-ra"),
        wakeonlan=reader.truth("wakeonlan"),
        optional=reader.truth("optional"),
        subnets=_subnets(reader, dns),
        dns=dns if reader.has("nameservers") else None,
        bond=_bond(reader) if kind == BOND else None,
        bridge=_bridge(reader) if kind == BRIDGE else None,
        vlan=_vlan(reader) if kind == VLAN else None,
        dhcp4_overrides=_overrides(reader.child("dhcp4-overrides")),
        dhcp6_overrides=_overrides(reader.child("dhcp6-overrides")),
        dhcp4_domain=_word(reader, "dhcp4domain"),
        dhcp6_domain=_word(reader, "dhcp6domain"),
        rules=tuple(_rule(one) for one in reader.items("routing-policy")),
    )


def _note_unknown(reader: Reader) -> None:
    for key in reader.names():
        if key not in UNDERSTOOD:
            reader.findings.lose_outside_netplan(
                f"network-config: {reader.place(key)}: only netplan takes this; left out"
            )
    for key in ("gateway4", "gateway6"):
        if reader.has(key):
            reader.findings.deprecate(
                f"network-config: {reader.place(key)}: deprecated since 22.4; use routes instead"
            )


def _name(key: str, mac: str, match: Reader, reader: Reader, nics: Mapping[str, str]) -> str:
    """set-name, else the NIC with that MAC, else the one NIC that match.name means, else the key."""
    if reader.has("set-name"):
        return reader.text("set-name")
    pattern = match.text("name")
    if mac in nics or not pattern:
        return nics.get(mac, key)
    from fnmatch import fnmatchcase

    fitting = [name for name in nics.values() if fnmatchcase(name, pattern)]
    if len(fitting) == 1:
        return fitting[0]
    what = f"{len(fitting)} NICs here fit {pattern!r}; {key} is taken as the name"
    reader.findings.lose_outside_netplan(f"network-config: {match.place('name')}: {what}")
    return key


def _driver(match: Reader) -> str:
    drivers = match.strings("driver")
    return " ".join(drivers)


def _word(reader: Reader, key: str) -> str:
    return reader.text(key).lower()


def _vlan(reader: Reader) -> Vlan | None:
    number, link = reader.whole("id", 0, 4094), reader.text("link")
    if number is None or not link:
        reader.findings.warn(
            f"network-config: {reader.path}: a vlan needs id and link; it is rendered without them"
        )
        return None
    return Vlan(number, link)


def _dns(reader: Reader) -> Dns:
    inside = reader.child("nameservers")
    return Dns(inside.strings("addresses", words=True), inside.strings("search", words=True))


def _overrides(inside: Reader) -> tuple[Override, ...]:
    pairs = [(key, inside.get(key)) for key in inside.names()]
    return tuple(
        Override(key, value if isinstance(value, (bool, int)) else str(value)) for key, value in pairs
    )


def _rule(reader: Reader) -> Rule:
    return Rule(tuple((key, reader.text(key)) for key in reader.names()))


def _bond(reader: Reader) -> Bond:
    from guest_agent.network import v1

    return v1.bond(_renamed(reader, BOND_PARAMETERS), reader.strings("interfaces"))


def _bridge(reader: Reader) -> Bridge:
    from guest_agent.network import v1

    return v1.bridge(_renamed(reader, BRIDGE_PARAMETERS), reader.strings("interfaces"))


def _renamed(reader: Reader, names: Mapping[str, str]) -> Reader:
    """`parameters` by their v1 names; an unknown one is left out with a WARNING."""
    inside = reader.child("parameters")
    for key in inside.names():
        if key not in names:
            reader.findings.lose_outside_netplan(
                f"network-config: {inside.place(key)}: no such parameter; left out"
            )
    known = {names[key]: inside.get(key) for key in names if key in inside.value}
    return Reader(known, inside.path, reader.findings)


def _subnets(reader: Reader, dns: Dns) -> tuple[Subnet, ...]:
    """DHCPv4, DHCPv6, then the addresses; name servers go with the first address, routes with the first
    of all.
    """
    found = [one for one in (_dhcp(reader, "4"), _dhcp(reader, "6")) if one]
    gateways = {version: reader.address(f"gateway{version}") for version in ("4", "6")}
    for index, address in enumerate(_addresses(reader)):
        version = "6" if ":" in address else "4"
        words: dict[str, object] = {
            "type": "static",
            "address": address,
            "gateway": gateways.pop(version, ""),
        }
        from guest_agent.network import subnets

        one = subnets.subnet(Reader(words, f"{reader.path}.addresses[{index}]", reader.findings))
        if one:
            found.append(one.replace(dns=dns) if index == 0 else one)
    routes = _routes(reader)
    if routes and not found:
        what = "an interface without addresses takes no routes; left out"
        reader.findings.lose_outside_netplan(f"network-config: {reader.place('routes')}: {what}")
    return (found[0].replace(routes=routes), *found[1:]) if found else ()


def _dhcp(reader: Reader, version: str) -> Subnet | None:
    if not reader.truth(f"dhcp{version}"):
        return None
    return Subnet(f"dhcp{version}", metric=reader.child(f"dhcp{version}-overrides").whole("route-metric"))


def _addresses(reader: Reader) -> tuple[str, ...]:
    """The addresses; netplan also takes `ADDRESS: {label: ...}`, of which the address is kept."""
    value = reader.get("addresses")
    if not isinstance(value, list):
        return reader.strings("addresses")
    found = []
    for one in value:
        if isinstance(one, dict) and len(one) == 1:
            reader.findings.lose_outside_netplan(
                f"network-config: {reader.place('addresses')}: options are left out"
            )
            one = next(iter(one))  # noqa: PLW2901 - the address inside
        found.append(str(one))
    return tuple(found)


def _routes(reader: Reader) -> tuple[Route, ...]:
    found = []
    for one in reader.items("routes"):
        unknown = [key for key in one.names() if key not in UNDERSTOOD_OF_ROUTE]
        if unknown:
            what = f"{one.path}: only netplan takes {', '.join(unknown)}; left out"
            reader.findings.lose_outside_netplan(f"network-config: {what}")
        target = one.text("to")
        if target == "default" and not one.has("via"):
            target = "0.0.0.0/0"
        from guest_agent.network import subnets

        words = {key: one.get(key) for key in ("metric", "mtu", "table", "on-link")}
        found.append(
            subnets.route(
                Reader({**words, "destination": target, "gateway": one.get("via")}, one.path, reader.findings)
            )
        )
    return tuple(one for one in found if one)
