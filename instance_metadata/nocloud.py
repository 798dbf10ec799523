"""The NoCloud tree: `meta-data`, `user-data`, `vendor-data`, `network-config` (metadata-service.md 9).

All four are always there, empty when unset (NC-1); a disk and an HTTP seed carry the same bytes (NC-3).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

import yaml

from instance_metadata.documents import Inputs, static_vendor_data
from instance_metadata.fields import Json
from instance_metadata.instance import Instance
from instance_metadata.network import Link, Network, NetworkConfig

NAMES = ("meta-data", "user-data", "vendor-data", "network-config")
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def tree(instance: Instance, vendor_data: Json = None) -> dict[str, bytes]:
    """File name -> bytes. `vendor_data` is the static vendor data of all instances, if there is any."""
    return {
        "meta-data": _yaml(meta_data(instance)),
        "user-data": instance.user_data or b"",
        "vendor-data": _vendor_data(static_vendor_data(instance, Inputs(vendor_data=vendor_data))),
        "network-config": b"" if instance.network is None else _yaml(network_config(instance.network)),
    }


def _yaml(document: Mapping[str, Json]) -> bytes:
    dumped: bytes = yaml.dump(
        dict(document), Dumper=_Dumper, sort_keys=False, encoding="utf-8", default_flow_style=False
    )
    return dumped


def meta_data(instance: Instance) -> dict[str, Json]:
    document: dict[str, Json] = {
        "instance-id": instance.uuid,
        "local-hostname": instance.full_hostname,
    }
    keys: list[Json] = [key.data for key in instance.keys if key.type == "ssh"]
    if keys:
        document["public-keys"] = keys
    if instance.availability_zone is not None:
        document["availability-zone"] = instance.availability_zone
    if "dsmode" in instance.meta:
        document["dsmode"] = instance.meta["dsmode"]
    return document


def _vendor_data(data: Json) -> bytes:
    """What cloud-init takes from OpenStack's vendor data: a text, or the text under `cloud-init`."""
    if isinstance(data, dict):
        data = data.get("cloud-init")
    if isinstance(data, str):
        return data.encode()
    return b"" if not data else b"#cloud-config-archive\n" + json.dumps(data).encode()


def network_config(network: NetworkConfig) -> dict[str, Json]:
    """cloud-init's network configuration version 2."""
    document: dict[str, Json] = {"version": 2}
    ids = _interface_names(network)
    for section, kind, build in (
        ("ethernets", "phy", _ethernet),
        ("bonds", "bond", _bond),
        ("vlans", "vlan", _vlan),
    ):
        devices: dict[str, Json] = {}
        for link in network.links:
            if link.type == kind:
                here = [one for one in network.networks if one.link == link.id]
                devices[ids[link.id]] = {**build(link, ids), **_addressing(here, network)}
        if devices:
            document[section] = devices
    return document


def _interface_names(network: NetworkConfig) -> dict[str, str]:
    return {link.id: link.name or link.id for link in network.links}


def _common(link: Link) -> dict[str, Json]:
    return {} if link.mtu is None else {"mtu": link.mtu}


def _ethernet(link: Link, _: Mapping[str, str]) -> dict[str, Json]:
    device: dict[str, Json] = {"match": {"macaddress": link.mac}}
    if link.name is not None:
        device["set-name"] = link.name
    return device | _common(link)


def _bond(link: Link, ids: Mapping[str, str]) -> dict[str, Json]:
    parameters: dict[str, Json] = {
        name.removeprefix("bond_").replace("_", "-"): value for name, value in link.bond_options.items()
    }
    if "miimon" in parameters:
        parameters["mii-monitor-interval"] = parameters.pop("miimon")
    if "xmit-hash-policy" in parameters:
        parameters["transmit-hash-policy"] = parameters.pop("xmit-hash-policy")
    members: list[Json] = [ids[member] for member in link.bond_links]
    return {"interfaces": members, "macaddress": link.mac, "parameters": parameters, **_common(link)}


def _vlan(link: Link, ids: Mapping[str, str]) -> dict[str, Json]:
    return {
        "id": link.vlan_id,
        "link": ids[link.vlan_link or ""],
        "macaddress": link.mac,
        **_common(link),
    }


def _addressing(networks: list[Network], whole: NetworkConfig) -> dict[str, Json]:
    device: dict[str, Json] = {}
    kinds = {network.type for network in networks}
    if "ipv4_dhcp" in kinds:
        device["dhcp4"] = True
    if kinds & {"ipv6_dhcp", "ipv6_dhcpv6-stateful"}:
        device["dhcp6"] = True
    if "ipv6" in kinds:
        device["accept-ra"] = False
    static: list[Network] = [n for n in networks if n.address is not None and n.type in ("ipv4", "ipv6")]
    if static:
        device["addresses"] = [f"{n.address}/{n.prefix}" for n in static]
    routes: list[Json] = [
        {"to": f"{route.network}/{_prefix(route.netmask)}", "via": route.gateway}
        for network in static
        for route in network.routes
    ]
    if routes:
        device["routes"] = routes
    servers: list[Json] = list(dict.fromkeys([*(dns for n in networks for dns in n.dns), *whole.dns]))
    if servers and networks:
        device["nameservers"] = {"addresses": servers}
    return device


def _prefix(netmask: str) -> int:
    return int(ip_address(netmask)).bit_count()
