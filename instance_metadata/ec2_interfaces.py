"""`network/interfaces/macs/MAC/` of Amazon's tree: what each network card knows of itself (5.3).

cloud-init takes an instance without any `vpc-id` for EC2-Classic and rewrites its network on each boot,
so `vpc-id` and `device-number` are always there.
"""

from __future__ import annotations

import hashlib
from ipaddress import ip_interface

from instance_metadata.instance import Instance
from instance_metadata.network import Network

Value = str | int | list[str] | None


def leaves(instance: Instance) -> dict[str, Value]:
    """`MAC/key` -> value for every network card, in the order of the document."""
    found: dict[str, Value] = {}
    for number, mac in enumerate(instance.macs):
        facts = {**_card(instance, number, mac), **_addresses(instance, number, mac)}
        found |= {f"{mac}/{name}": value for name, value in facts.items() if value not in (None, [], "")}
    return found


def _id(prefix: str, of: str) -> str:
    return f"{prefix}-{hashlib.sha256(of.encode()).hexdigest()[:17]}"


def _card(instance: Instance, number: int, mac: str) -> dict[str, Value]:
    account = int(hashlib.sha256(instance.project_id.encode()).hexdigest(), 16) % 10**12
    groups = list(instance.security_groups)
    return {
        "device-number": number,
        "interface-id": _id("eni", mac),
        "local-hostname": instance.full_hostname,
        "mac": mac,
        "network-card": 0,
        "network-card-index": 0,
        "owner-id": f"{account:012d}",
        "security-groups": groups,
        "security-group-ids": [_id("sg", group) for group in groups],
        "subnet-id": _id("subnet", f"{instance.project_id}/{number}"),
        "vpc-id": _id("vpc", instance.project_id),
    }


def _addresses(instance: Instance, number: int, mac: str) -> dict[str, Value]:
    here = _networks(instance, mac)
    ipv4 = [n for n in here if n.is_ipv4]
    ipv6 = [n for n in here if not n.is_ipv4]
    local_ipv4s = [n.address for n in ipv4 if n.address is not None]
    if number == 0 and not here:
        local_ipv4s = list(instance.addresses.fixed_ipv4)
    facts: dict[str, Value] = {
        "local-ipv4s": local_ipv4s,
        "ipv6s": [n.address for n in ipv6 if n.address is not None],
        "subnet-ipv4-cidr-block": next(iter(_blocks(ipv4)), None),
        "vpc-ipv4-cidr-block": next(iter(_blocks(ipv4)), None),
        "vpc-ipv4-cidr-blocks": _blocks(ipv4),
        "subnet-ipv6-cidr-blocks": _blocks(ipv6),
        "vpc-ipv6-cidr-blocks": _blocks(ipv6),
    }
    floating = instance.addresses.floating
    if number == 0 and floating and local_ipv4s:
        facts |= {"public-hostname": instance.full_hostname, "public-ipv4s": list(floating)}
        facts |= {f"ipv4-associations/{floating[0]}": local_ipv4s[0]}
    return facts


def _networks(instance: Instance, mac: str) -> list[Network]:
    if instance.network is None:
        return []
    ids = {link.id for link in instance.network.links if link.mac == mac}
    return [network for network in instance.network.networks if network.link in ids]


def _blocks(networks: list[Network]) -> list[str]:
    return list(
        dict.fromkeys(str(ip_interface(f"{n.address}/{n.prefix}").network) for n in networks if n.address)
    )
