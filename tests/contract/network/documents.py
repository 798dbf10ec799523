"""Network documents by the number: the same number gives the same document, on every machine."""

from __future__ import annotations

from random import Random
from typing import Any

Document = dict[str, Any]
V4_TARGETS = ("0.0.0.0/0", "10.9.0.0/16", "192.168.3.0/24", "169.254.169.254/32")
V6_TARGETS = ("::/0", "fd09::/48", "fd09:1::5/128")
SERVERS = ("1.1.1.1", "8.8.8.8", "fd00::53", "9.9.9.9", "fd01::53")
BOND_PARAMS = {
    "bond_updelay": 20, "bond-downdelay": 30, "bond-xmit-hash-policy": "layer3+4", "bond-lacp-rate": "fast",
    "bond-num_grat_arp": 3, "bond-fail_over_mac": "active", "bond-min-links": 1,
    "bond-all-slaves-active": True,
}  # fmt: skip
BRIDGE_PARAMS = {
    "bridge_stp": "on", "bridge_fd": 7, "bridge_bridgeprio": 22, "bridge_ageing": 250, "bridge_hello": 2,
    "bridge_maxage": 9,
}  # fmt: skip
V2_BOND_PARAMS = {
    "mii-monitor-interval": 100, "up-delay": 3, "down-delay": 4, "lacp-rate": "fast",
    "transmit-hash-policy": "layer2", "gratuitious-arp": 2, "min-links": 1,
}  # fmt: skip
V2_BRIDGE_PARAMS = {"stp": True, "priority": 4, "forward-delay": 5, "hello-time": 3, "max-age": 8}


class Maker:
    """Chances and choices of one document."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def maybe(self, chance: float) -> bool:
        return self.random.random() < chance

    def some(self, options: Document) -> Document:
        return {key: value for key, value in options.items() if self.maybe(0.35)}

    def v4(self) -> str:
        return f"10.{self.random.randrange(4)}.{self.random.randrange(4)}.{self.random.randrange(1, 250)}"

    def v6(self) -> str:
        return f"fd00:{self.random.randrange(1, 4)}::{self.random.randrange(1, 250):x}"

    def target(self, defaults: set[bool]) -> tuple[str, str]:
        """Where a route goes and by which gateway; at most one default route of a family."""
        six = self.maybe(0.4)
        found = self.random.choice(V6_TARGETS if six else V4_TARGETS)
        if found.endswith("/0"):
            if six in defaults:
                found = V6_TARGETS[1] if six else V4_TARGETS[1]
            defaults.add(six)
        return found, self.v6() if six else self.v4()


def v1(seed: int) -> Document:
    make = Maker(seed)
    names = [f"eth{number}" for number in range(make.random.randrange(1, 5))]
    items = [_item(make, name, number, type="physical") for number, name in enumerate(names)]
    free = list(names)
    if make.maybe(0.3) and len(free) > 1:
        members = [free.pop() for _ in range(make.random.randrange(1, len(free)))]
        params = {"bond-mode": "active-backup", "bond-miimon": 100, **make.some(BOND_PARAMS)}
        items.append(_item(make, "bond0", 100, type="bond", bond_interfaces=members, params=params))
    if make.maybe(0.3) and free:
        params = make.some(BRIDGE_PARAMS)
        items.append(_item(make, "br0", 101, type="bridge", bridge_interfaces=free[:1], params=params))
    if make.maybe(0.4):
        link = make.random.choice([item["name"] for item in items])
        items.append(_item(make, f"{link}.7", 102, type="vlan", vlan_link=link, vlan_id=7))
    if make.maybe(0.3):
        search = {"search": ["s1", "s2"]} if make.maybe(0.5) else {}
        items.append({"type": "nameserver", "address": ["4.4.4.4", "fd00::4"], **search})
    return {"version": 1, "config": items}


def _item(make: Maker, name: str, number: int, **more: Any) -> Document:
    item: Document = {"name": name, **more}
    if make.maybe(0.4):
        item["mac_address"] = f"02:00:00:00:00:{number:02x}"
    if make.maybe(0.3):
        item["mtu"] = make.random.choice([1500, 9000])
    defaults: set[bool] = set()
    if make.maybe(0.7):
        item["subnets"] = [_subnet(make, defaults) for _ in range(make.random.randrange(3))]
    item.update(
        make.some({"accept-ra": True, "wakeonlan": True, "optional": True}) if make.maybe(0.3) else {}
    )
    return item


def _subnet(make: Maker, defaults: set[bool]) -> Document:
    kinds = ["dhcp4", "dhcp6", "static", "static", "static", "ipv6_slaac", "ipv6_dhcpv6-stateful", "manual"]
    subnet: Document = {"type": make.random.choice(kinds)}
    if subnet["type"] == "static":
        six = make.maybe(0.4)
        subnet["address"] = f"{make.v6()}/64" if six else f"{make.v4()}/24"
        if make.maybe(0.4) and six not in defaults:
            subnet["gateway"] = make.v6() if six else make.v4()
            defaults.add(six)
        if make.maybe(0.3):
            subnet["dns_nameservers"] = make.random.sample(SERVERS, make.random.randrange(1, 4))
        if make.maybe(0.2):
            subnet["dns_search"] = ["a.b", "c"]
        if make.maybe(0.3):
            routes = [make.target(defaults) for _ in range(make.random.randrange(1, 4))]
            subnet["routes"] = [{"destination": target, "gateway": gateway} for target, gateway in routes]
    if make.maybe(0.2):
        subnet["control"] = make.random.choice(["auto", "manual", "hotplug"])
    return subnet


def v2(seed: int) -> Document:
    make = Maker(seed)
    ethernets = {
        f"eth{number}": _v2_interface(make, number, True) for number in range(make.random.randrange(1, 5))
    }
    document: Document = {"version": 2, "ethernets": ethernets}
    free = list(ethernets)
    if make.maybe(0.3) and len(free) > 1:
        parameters = {"mode": "active-backup", **make.some(V2_BOND_PARAMS)}
        document["bonds"] = {
            "bond0": {**_v2_interface(make, 50, False), "interfaces": [free.pop()], "parameters": parameters}
        }
    if make.maybe(0.3) and free:
        parameters = make.some(V2_BRIDGE_PARAMS)
        document["bridges"] = {
            "br0": {**_v2_interface(make, 51, False), "interfaces": [free.pop()], "parameters": parameters}
        }
    if make.maybe(0.4):
        document["vlans"] = {"v7": {**_v2_interface(make, 52, False), "id": 7, "link": "eth0"}}
    return document


def _v2_interface(make: Maker, number: int, is_ethernet: bool) -> Document:
    said = make.some({"dhcp4": True, "dhcp6": True, "mtu": 9000})
    if said.get("dhcp4") and make.maybe(0.3):
        said["dhcp4-overrides"] = {"route-metric": 100, **make.some({"use-dns": False, "use-mtu": True})}
    if make.maybe(0.5):
        addresses = [f"{make.v4()}/24", f"{make.v6()}/64", f"{make.v4()}/32"]
        said["addresses"] = make.random.sample(addresses, make.random.randrange(1, 4))
    if make.maybe(0.3):
        said["nameservers"] = {"addresses": make.random.sample(SERVERS, 2), "search": ["a", "b"]}
    if make.maybe(0.3):
        defaults: set[bool] = set()
        routes = [make.target(defaults) for _ in range(make.random.randrange(1, 4))]
        said["routes"] = [{"to": target, "via": gateway} for target, gateway in routes]
    mac = f"02:00:00:00:00:{number:02x}"
    if is_ethernet and make.maybe(0.5):
        said.update({"match": {"macaddress": mac}, "set-name": f"eth{number}"})
    elif not is_ethernet and make.maybe(0.4):
        said["macaddress"] = mac
    return said
