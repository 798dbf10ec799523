"""OpenStack's `network_data.json`, brought into version 1.

Links become interfaces in their order, networks become subnets of their link, services name servers. `nics`
maps the MACs of this machine (lower case) to names. Source of the rules: guest agent contract, 4.4.
"""

from __future__ import annotations

from guest_agent.network.check import NAME_BYTES
from guest_agent.network.errors import UnknownNic
from guest_agent.network.reading import Findings, Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PHYSICAL_TYPES = frozenset({
    "", "phy", "tap", "vif", "ovs", "bridge", "hw_veb", "hyperv", "dvs", "vhostuser", "bgpovs", "cascading",
    "ethernet",
})  # fmt: skip

# network type: subnet type
SUBNET_TYPES = {
    "ipv4_dhcp": "dhcp4",
    "ipv6_dhcp": "dhcp6",
    "ipv6_slaac": "ipv6_slaac",
    "ipv6_dhcpv6-stateless": "ipv6_dhcpv6-stateless",
    "ipv6_dhcpv6-stateful": "ipv6_dhcpv6-stateful",
    "ipv4": "static",
    "static": "static",
    "ipv6": "static6",
    "static6": "static6",
}
# What a network says about router advertisements; the last network of a link that says something wins.
ACCEPT_RA = {"ipv6": False, "static6": False, "ipv6_dhcp": True, "ipv6_dhcpv6-stateful": True}
SUBNET_KEYS = ("netmask", "broadcast", "metric", "gateway", "pointopoint", "dns_search", "scope")
ROUTE_KEYS = ("network", "destination", "netmask", "gateway", "metric")
INFINIBAND_BYTES = 20


def to_v1(document: object, nics: Mapping[str, str], findings: Findings) -> dict[str, object]:
    """The version 1 document that says the same. Raises UnknownNic for a MAC of no NIC here."""
    reader = Reader(document, "", findings)
    nics = _with_short_infiniband(nics)
    links = list(reader.items("links"))
    networks = list(reader.items("networks"))
    names = _names(links, nics)
    known = {link.text("id") for link in links}
    for network in networks:
        if network.text("link") not in known:
            findings.fault(
                network.place("link"), f"there is no link {network.text('link')!r}", "Name the id of a link"
            )
    entries: list[dict[str, object]] = []
    for link in links:
        mine = [network for network in networks if network.text("link") == link.text("id")]
        entries.append(_entry(link, mine, names, nics))
    entries.extend({**service.value, "type": "nameserver"} for service in reader.items("services"))
    return {"version": 1, "config": entries}


def _names(links: list[Reader], nics: Mapping[str, str]) -> dict[str, str]:
    """link id -> name in the guest. A VLAN may be listed before its link, so VLANs come last."""
    names: dict[str, str] = {}
    bonds = 0
    for link in links:
        kind = link.text("type")
        if kind == "bond":
            names[link.text("id")] = link.text("name") or f"bond{bonds}"
            bonds += 1
        elif kind != "vlan":
            names[link.text("id")] = link.text("name") or _nic(link, nics)
    for link in links:
        if link.text("type") == "vlan":
            names[link.text("id")] = _vlan_name(link, names)
    return names


def _vlan_name(link: Reader, names: Mapping[str, str]) -> str:
    """`PARENT.ID`; `vlanID` where that is longer than the kernel takes."""
    number = link.text("vlan_id")
    name = f"{names.get(link.text('vlan_link'), link.text('vlan_link'))}.{number}"
    return name if len(name.encode()) <= NAME_BYTES else f"vlan{number}"


def _nic(link: Reader, nics: Mapping[str, str]) -> str:
    mac = _mac(link)
    if not mac:
        link.findings.fault(link.path, "it has neither a MAC nor a name", "Add ethernet_mac_address")
        return link.text("id")
    if mac not in nics:
        raise UnknownNic(mac, link.text("id"))
    return nics[mac]


def _mac(link: Reader) -> str:
    return link.text("ethernet_mac_address").lower()


def _entry(
    link: Reader, networks: list[Reader], names: Mapping[str, str], nics: Mapping[str, str]
) -> dict[str, object]:
    entry: dict[str, object] = {"name": names[link.text("id")], "type": link.text("type")}
    if link.has("mtu"):
        entry["mtu"] = link.get("mtu")
    entry["subnets"] = [_subnet(network) for network in networks]
    accepts = [ACCEPT_RA[network.text("type")] for network in networks if network.text("type") in ACCEPT_RA]
    if accepts:
        entry["accept-ra"] = accepts[-1]
    if entry["type"] == "bond":
        entry.update(_bond(link, names))
    elif entry["type"] == "vlan":
        entry.update(_vlan(link, names))
    else:
        entry.update(_physical(link, str(entry["name"]), nics))
    return entry


def _bond(link: Reader, names: Mapping[str, str]) -> dict[str, object]:
    options = [key for key in link.names() if key.startswith("bond") and key != "bond_links"]
    members = [_named(link, "bond_links", target, names) for target in link.strings("bond_links")]
    params = {f"bond-{key.split('bond_', 1)[-1]}": link.get(key) for key in options}
    mac = {"mac_address": _mac(link)} if _mac(link) else {}
    return {**mac, "params": params, "bond_interfaces": members}


def _vlan(link: Reader, names: Mapping[str, str]) -> dict[str, object]:
    mac = link.text("vlan_mac_address").lower()
    said: dict[str, object] = {"mac_address": mac} if mac else {}
    for key in ("vlan_id", "vlan_link"):
        if not link.has(key):
            link.findings.fault(link.path, f"a vlan needs {key}", "Add it")
    return {
        **said,
        "vlan_id": link.get("vlan_id"),
        "vlan_link": _named(link, "vlan_link", link.text("vlan_link"), names),
    }


def _named(link: Reader, key: str, target: str, names: Mapping[str, str]) -> str:
    if target not in names:
        link.findings.fault(link.place(key), f"there is no link {target!r}", "Name the id of a link")
    return names.get(target, target)


def _physical(link: Reader, name: str, nics: Mapping[str, str]) -> dict[str, object]:
    kind = link.text("type")
    if kind not in PHYSICAL_TYPES:
        link.findings.warn(
            f"network_data: {link.place('type')}: unknown link type {kind}; treated as physical"
        )
    full = _infiniband(name, nics)
    if full:
        return {"type": "infiniband", "mac_address": full}
    return {"type": "physical", **({"mac_address": _mac(link)} if _mac(link) else {})}


def _with_short_infiniband(nics: Mapping[str, str]) -> dict[str, str]:
    """The NICs, with each 20-byte InfiniBand address under the 6 bytes of it that clouds use as well."""
    long = [mac for mac in nics if len(mac.split(":")) == INFINIBAND_BYTES]
    return {**{f"{mac[36:-14]}{mac[51:]}": nics[mac] for mac in long}, **nics}


def _infiniband(name: str, nics: Mapping[str, str]) -> str | None:
    """The 20-byte address of the NIC, if it has one: the cloud knows it by the 6 bytes inside only."""
    found = [mac for mac, nic in nics.items() if nic == name and len(mac.split(":")) == INFINIBAND_BYTES]
    return found[0] if found else None


def _subnet(network: Reader) -> dict[str, object]:
    kind = network.text("type")
    if kind not in SUBNET_TYPES:
        network.findings.fault(
            network.place("type"), f"{kind!r} is no type of network", f"Use {', '.join(SUBNET_TYPES)}"
        )
    subnet: dict[str, object] = {key: network.get(key) for key in SUBNET_KEYS if network.has(key)}
    subnet["type"] = SUBNET_TYPES.get(kind, kind)
    if subnet["type"] in {"static", "static6"}:
        subnet["address"] = network.get("ip_address")
    routes = list(network.items("routes"))
    if routes:
        subnet["routes"] = [{key: route.get(key) for key in ROUTE_KEYS if route.has(key)} for route in routes]
    servers = [one for route in routes for one in _servers(route)] + _servers(network)
    if servers:
        subnet["dns_nameservers"] = list(dict.fromkeys(servers))
    if kind in {"ipv4", "ipv6"}:
        subnet[kind] = True
    return subnet


def _servers(holder: Reader) -> list[str]:
    return [one.text("address") for one in holder.items("services") if one.text("type") == "dns"]
