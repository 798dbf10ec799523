"""`network_data.json`: links, networks, services (metadata-service.md 4.4)."""

from __future__ import annotations

from instance_metadata.fields import Json
from instance_metadata.network import Link, Network, NetworkConfig


def network_data(network: NetworkConfig) -> dict[str, Json]:
    """The document, in the order given; all fixed addresses are written, one network each (OS-9)."""
    return {
        "links": [_link(link) for link in network.links],
        "networks": [_network(one) for one in network.networks],
        "services": _services(name_servers(network)),
    }


def name_servers(network: NetworkConfig) -> tuple[str, ...]:
    """Every name server once, in first-seen order: those of the networks, then those of the instance."""
    return tuple(dict.fromkeys([*(dns for one in network.networks for dns in one.dns), *network.dns]))


def _link(link: Link) -> Json:
    shown: dict[str, Json] = {"id": link.id, "type": link.type, "mtu": link.mtu}
    if link.type == "vlan":
        shown |= {"vlan_id": link.vlan_id, "vlan_link": link.vlan_link, "vlan_mac_address": link.mac}
    else:
        shown["ethernet_mac_address"] = link.mac
    if link.type == "bond":
        shown |= {**link.bond_options, "bond_links": list(link.bond_links)}
    if link.vif_id is not None:
        shown["vif_id"] = link.vif_id
    if link.name is not None:
        shown["name"] = link.name
    return shown


def _network(network: Network) -> Json:
    shown: dict[str, Json] = {"id": network.id, "type": network.type, "link": network.link}
    if network.network_id is not None:
        shown["network_id"] = network.network_id
    if network.address is None:
        return shown
    shown |= {"ip_address": network.address, "netmask": network.netmask}
    shown["routes"] = [
        {"network": route.network, "netmask": route.netmask, "gateway": route.gateway}
        for route in network.routes
    ]
    shown["services"] = _services(network.dns)
    return shown


def _services(addresses: tuple[str, ...]) -> list[Json]:
    return [{"type": "dns", "address": address} for address in addresses]
