"""The network of an instance: links, networks on them, name servers. Checked once, when parsed.

Field names are those of OpenStack's `network_data.json` (metadata-service.md 4.4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)

from instance_metadata.fields import Fields, Json, as_json, is_json

BOND_MODES = (
    "802.3ad",
    "balance-rr",
    "active-backup",
    "balance-xor",
    "broadcast",
    "balance-tlb",
    "balance-alb",
)
# Every type that stands for one network card; we write `phy` for all of them, which every reader knows.
PHYSICAL_TYPES = (
    "phy", "bridge", "dvs", "hw_veb", "hyperv", "ovs", "tap", "vhostuser", "vif", "ethernet", "bgpovs",
    "cascading", "other", "macvtap", "hostdev_physical",
)  # fmt: skip
LINK_TYPES = (*PHYSICAL_TYPES, "bond", "vlan")
STATIC_TYPES = ("ipv4", "ipv6", "ipv6_slaac", "ipv6_dhcpv6-stateless", "ipv6_dhcpv6-stateful")
DHCP_TYPES = ("ipv4_dhcp", "ipv6_dhcp")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_NAME = re.compile(r"[^\s/\x00-\x1f]{1,64}")


@dataclass(frozen=True, slots=True)
class Route:
    """`network` and `netmask` as addresses; the default route is 0.0.0.0/0.0.0.0 or ::/::."""

    network: str
    netmask: str
    gateway: str


@dataclass(frozen=True, slots=True)
class Link:
    """A network card, a bond over some, or a VLAN on one. `type` is `phy`, `bond` or `vlan`."""

    id: str
    type: str
    mac: str
    mtu: int | None = None
    vif_id: str | None = None
    name: str | None = None
    bond_links: tuple[str, ...] = ()
    bond_options: Mapping[str, Json] = field(default_factory=dict)
    vlan_id: int | None = None
    vlan_link: str | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """One address, or one way of getting one, on a link."""

    id: str
    link: str
    type: str
    network_id: str | None = None
    address: str | None = None
    prefix: int | None = None
    routes: tuple[Route, ...] = ()
    dns: tuple[str, ...] = ()

    @property
    def is_ipv4(self) -> bool:
        return self.type.startswith("ipv4")

    @property
    def netmask(self) -> str | None:
        """Dotted for IPv4, an address (`ffff:ffff::`) for IPv6, never a prefix length."""
        return None if self.address is None else str(ip_interface(f"{self.address}/{self.prefix}").netmask)


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """All of an instance's network; `dns` are the name servers given for the whole instance."""

    links: tuple[Link, ...] = ()
    networks: tuple[Network, ...] = ()
    dns: tuple[str, ...] = ()

    def addresses(self, *, ipv4: bool) -> tuple[str, ...]:
        """The addresses of one family in document order."""
        return tuple(n.address for n in self.networks if n.address is not None and n.is_ipv4 == ipv4)


def parse_network(fields: Fields) -> NetworkConfig:
    """The `network` (or `network_data`) field. Faults go to `fields`; what is wrong is left out."""
    links: list[Link] = []
    for entry in fields.entries("links"):
        link = _link(entry)
        if link is not None:
            _check_unique(entry, link, links)
            links.append(link)
    _check_references(fields, links)
    known = {link.id for link in links}
    networks: list[Network] = []
    for i, entry in enumerate(fields.entries("networks")):
        network = _network(entry, i, known)
        if network is not None:
            if any(network.id == other.id for other in networks):
                entry.fault("id", "used by another network", "Give each network its own id")
            networks.append(network)
    dns = _services(fields)
    fields.finish(("links", "networks", "services"))
    return NetworkConfig(tuple(links), tuple(networks), dns)


def parse_mac(value: str) -> str | None:
    """Lower case with colons, or None when it is not a MAC address."""
    mac = value.lower().replace("-", ":")
    return mac if _MAC.fullmatch(mac) else None


def _mac(entry: Fields, name: str) -> str | None:
    if not entry.required(name):
        return None
    text = entry.text(name)
    mac = parse_mac(text)
    if mac is None:
        entry.fault(name, "not a MAC address", "Write six pairs of hex digits with colons")
    return mac


def _link(entry: Fields) -> Link | None:
    known = entry.required("id"), entry.required("type")
    link_id, link_type = entry.text("id"), entry.choice("type", LINK_TYPES, "phy")
    mac = _mac(entry, "vlan_mac_address" if link_type == "vlan" else "ethernet_mac_address")
    for nullable in ("mtu", "vif_id"):
        entry.drop_null(nullable)
    mtu = entry.optional_integer("mtu", 68, 65535)
    name, vif_id = entry.optional_text("name"), entry.optional_text("vif_id")
    if name is not None and not _NAME.fullmatch(name):
        entry.fault("name", "not an interface name", "Use up to 64 characters without spaces and '/'")
    members, options = _bond(entry) if link_type == "bond" else ((), {})
    vlan_id, vlan_link = _vlan(entry) if link_type == "vlan" else (None, None)
    entry.finish(("id", "type", "ethernet_mac_address", "mtu", "vif_id", "name"))
    if not all(known) or mac is None:
        return None
    kind = link_type if link_type in ("bond", "vlan") else "phy"
    return Link(link_id, kind, mac, mtu, vif_id, name, members, options, vlan_id, vlan_link)


def _bond(entry: Fields) -> tuple[tuple[str, ...], dict[str, Json]]:
    members = entry.texts("bond_links")
    if not members:
        entry.fault("bond_links", "a bond without members", "Name the links it joins")
    if entry.required("bond_mode"):
        mode = entry.choice("bond_mode", BOND_MODES, BOND_MODES[0])
    else:
        mode = BOND_MODES[0]
    options: dict[str, Json] = {"bond_mode": mode}
    for name, value in entry.starting("bond_").items():
        if isinstance(value, (str, int, float, bool)) and is_json(value):
            options[name] = as_json(value)
        else:
            entry.fault(name, "a text or number is expected", "Write one value")
    return members, options


def _vlan(entry: Fields) -> tuple[int | None, str | None]:
    given = entry.required("vlan_id"), entry.required("vlan_link")
    number, link = entry.optional_integer("vlan_id", 1, 4094), entry.optional_text("vlan_link")
    return (number, link) if all(given) else (None, None)


def _check_unique(entry: Fields, link: Link, others: list[Link]) -> None:
    """Two links of one id, or two cards of one MAC, get the same addresses in the guest."""
    if any(link.id == other.id for other in others):
        entry.fault("id", "used by another link", "Give each link its own id")
    if link.type == "phy" and any(link.mac == other.mac for other in others if other.type == "phy"):
        entry.fault("ethernet_mac_address", "used by another link", "Give each card its own")


def _check_references(fields: Fields, links: list[Link]) -> None:
    ids = {link.id for link in links}
    for link in links:
        for member in (*link.bond_links, *([link.vlan_link] if link.vlan_link else [])):
            if member not in ids or member == link.id:
                fields.fault(
                    "links", f"`{link.id}` names a link that does not exist", "Use the id of another link"
                )


def _network(entry: Fields, index: int, links: set[str]) -> Network | None:
    given = entry.required("link"), entry.required("type")
    link, kind = entry.text("link"), entry.choice("type", (*STATIC_TYPES, *DHCP_TYPES), "ipv4_dhcp")
    if given[0] and link not in links:
        entry.fault("link", "names a link that does not exist", "Use the id of one of `links`")
    network_id = entry.text("id", f"network{index}")
    uuid = entry.optional_text("network_id")
    interface = _interface(entry, kind)
    routes = _routes(entry, kind)
    dns = _services(entry)
    entry.finish(
        ("id", "link", "type", "network_id", "ip_address", "netmask", "gateway", "routes", "services")
    )
    if not all(given):
        return None
    if interface is None:
        return Network(network_id, link, kind, uuid, routes=routes, dns=dns)
    _warn_unreachable(entry, interface, routes)
    return Network(network_id, link, kind, uuid, str(interface.ip), interface.network.prefixlen, routes, dns)


def _interface(entry: Fields, kind: str) -> IPv4Interface | IPv6Interface | None:
    """The static address; the mask may be an address, a prefix length, or part of it (`10.0.0.5/24`)."""
    address, mask = entry.optional_text("ip_address"), entry.raw("netmask")
    if kind in DHCP_TYPES:
        return None
    if address is None:
        entry.fault("ip_address", "missing for a static network", "Give the address, or use a DHCP type")
        return None
    if "/" not in address and mask is None:
        entry.fault(
            "netmask", "missing for a static network", "Give the mask, or write the address as 10.0.0.5/24"
        )
        return None
    try:
        interface = ip_interface(address if mask is None else f"{address}/{_prefix(mask)}")
    except ValueError:
        entry.fault(
            "ip_address", "not an address with a mask", "Write an IPv4 or IPv6 address and its netmask"
        )
        return None
    if (interface.version == 4) != kind.startswith("ipv4"):
        entry.fault(
            "ip_address", "not of the network's family", f"`{kind}` needs an address of its own family"
        )
        return None
    return interface


def _prefix(mask: object) -> str:
    """A mask in any form as a prefix length. Raises ValueError."""
    text = str(mask)
    if ":" not in text:
        return text
    bits = int(ip_address(text))
    length = bits.bit_count()
    if bits != ((1 << length) - 1) << (128 - length):
        raise ValueError("holes in the mask")
    return str(length)


def _routes(entry: Fields, kind: str) -> tuple[Route, ...]:
    """The routes, default route first. `gateway` on the network is short for a default route."""
    routes = []
    gateway = entry.optional_text("gateway")
    if gateway is not None and _is_address(entry, "gateway", gateway):
        everywhere = "0.0.0.0" if kind.startswith("ipv4") else "::"  # noqa: S104  # the default route
        routes.append(Route(everywhere, everywhere, gateway))
    for route in entry.entries("routes"):
        read = _route(route)
        if read is not None:
            routes.append(read)
    return tuple(sorted(routes, key=lambda route: route.netmask not in ("0.0.0.0", "::")))  # noqa: S104  # as above


def _route(entry: Fields) -> Route | None:
    given = entry.required("network"), entry.required("gateway")
    network, mask, gateway = entry.text("network"), entry.raw("netmask"), entry.text("gateway")
    entry.finish(("network", "netmask", "gateway"))
    if not all(given) or not _is_address(entry, "gateway", gateway):
        return None
    try:
        text = network if mask is None else f"{network}/{_prefix(mask)}"
        block: IPv4Network | IPv6Network = ip_network(text, strict=False)
    except ValueError:
        entry.fault("network", "not a network", "Write its first address and the netmask")
        return None
    if str(block.network_address) != str(ip_address(network.split("/")[0])):
        entry.warn("network", "has host bits set", f"Write {block.network_address}")
    return Route(str(block.network_address), str(block.netmask), gateway)


def _warn_unreachable(
    entry: Fields, interface: IPv4Interface | IPv6Interface, routes: tuple[Route, ...]
) -> None:
    for i, route in enumerate(routes):
        gateway = ip_address(route.gateway)
        if gateway not in interface.network and not gateway.is_link_local:
            entry.warn(
                f"routes[{i}].gateway", "lies outside the network", "Use an address the guest can reach"
            )


def _is_address(entry: Fields, name: str, text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        entry.fault(name, "not an IP address", "Write an IPv4 or IPv6 address")
        return False
    return True


def _services(fields: Fields) -> tuple[str, ...]:
    """The name servers of a `services` list."""
    found = []
    for entry in fields.entries("services"):
        entry.required("type")
        entry.choice("type", ("dns",), "dns")
        if entry.required("address") and _is_address(entry, "address", address := entry.text("address")):
            found.append(address)
        entry.finish(("type", "address"))
    return tuple(found)
