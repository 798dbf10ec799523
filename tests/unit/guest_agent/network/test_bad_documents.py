"""GA-P15: what must be refused before any renderer sees it, with the place and the remedy, all faults at
once.
"""

from __future__ import annotations

from typing import Any

import pytest

from guest_agent.network import errors, parse

MAC = "52:54:00:00:00:01"


def nic(**more: Any) -> dict[str, Any]:
    return {"type": "physical", "name": "eth0", **more}


def v1(*items: dict[str, Any]) -> dict[str, Any]:
    return {"version": 1, "config": list(items)}


def v2(**sections: Any) -> dict[str, Any]:
    return {"version": 2, **sections}


def static(address: str, **more: Any) -> dict[str, Any]:
    return {"type": "static", "address": address, **more}


BAD = {
    "duplicate-mac": (
        v1(nic(mac_address=MAC), nic(name="eth1", mac_address=MAC.upper())),
        f"eth1: eth0 has the same MAC {MAC}. Give each interface its own MAC.",
    ),
    "bad-prefix": (
        v1(nic(subnets=[static("192.0.2.1/33")])),
        (
            "config[0].subnets[0].address: '33' is not a prefix length or netmask of IPv4. "
            "Write ADDRESS/PREFIX, such as 192.0.2.7/24."
        ),
    ),
    "bad-netmask": (
        v1(nic(subnets=[static("2001:db8::1", netmask="ffff:0:ffff::")])),
        (
            "config[0].subnets[0].address: 'ffff:0:ffff::' is not a prefix length or netmask of IPv6. "
            "Write ADDRESS/PREFIX, such as 192.0.2.7/24."
        ),
    ),
    "no-address": (
        v1(nic(subnets=[static("somewhere")])),
        (
            "config[0].subnets[0].address: 'somewhere' is not an IP address. "
            "Write ADDRESS/PREFIX, such as 192.0.2.7/24."
        ),
    ),
    "static-without-address": (
        v1(nic(subnets=[{"type": "static"}])),
        "config[0].subnets[0].address: a static subnet needs an address. Add it, or use dhcp4.",
    ),
    "slash-in-name": (
        v1(nic(name="../../etc/passwd")),
        "../../etc/passwd: this is no name for an interface. Use letters, digits, '.', '-' and '_'.",
    ),
    "newline-in-name": (
        v1(nic(name="eth0\nauto eth1")),
        "eth0\\nauto eth1: this is no name for an interface. Use letters, digits, '.', '-' and '_'.",
    ),
    "300-characters": (
        v1(nic(name="e" * 300)),
        f"{'e' * 37}...: this is no name for an interface. Use letters, digits, '.', '-' and '_'.",
    ),
    "16-characters": (
        v1(nic(name="e" * 16)),
        f"{'e' * 16}: {'e' * 16} is no device name. Use 1 to 15 letters and digits.",
    ),
    "vlan-5000": (
        v1({"type": "vlan", "name": "v", "vlan_id": 5000, "vlan_link": "eth0"}),
        "config[0].vlan_id: 5000 is not between 0 and 4094. Correct it or leave it out.",
    ),
    "vlan-of-itself": (
        v1({"type": "vlan", "name": "v", "vlan_id": 5, "vlan_link": "v"}),
        "v: this vlan is its own link. Name the interface below it.",
    ),
    "mtu-minus-1": (
        v1(nic(mtu=-1)),
        "config[0].mtu: -1 is not between 0 and 65536. Correct it or leave it out.",
    ),
    "mtu-60": (v1(nic(mtu=60)), "config[0].mtu: 60 is too small for IP. Use 68 or more, 1280 for IPv6."),
    "mtu-is-a-word": (v1(nic(mtu="big")), "config[0].mtu: 'big' is not a whole number. Write digits only."),
    "bond-of-itself": (
        v1({"type": "bond", "name": "b", "bond_interfaces": ["b"], "params": {}}),
        "b: it is a member of itself. List other interfaces below it.",
    ),
    "bonds-in-a-circle": (
        v2(bonds={"a": {"interfaces": ["b"]}, "b": {"interfaces": ["a"]}}),
        "a: it stands, over others, on itself. Take one of the links out of the circle.",
    ),
    "member-of-two-bonds": (
        v2(bonds={"a": {"interfaces": ["eth0"]}, "b": {"interfaces": ["eth0"]}}),
        "eth0: it is in two bonds, a and b. Leave it in one.",
    ),
    "not-a-mac": (
        v1(nic(mac_address="52:54:00")),
        "eth0: '52:54:00' is not a MAC address. Write six pairs such as 52:54:00:12:34:56.",
    ),
    "same-name-twice": (
        v1(nic(), nic()),
        "config[1].name: 'eth0' is there twice. Give each interface one item.",
    ),
    "same-set-name": (
        v2(ethernets={"a": {"set-name": "eth0"}, "b": {"set-name": "eth0"}}),
        "b: eth0 is also the name of a. Give each interface its own set-name.",
    ),
    "10000-routes": (
        v2(
            ethernets={
                "eth0": {
                    "dhcp4": True,
                    "routes": [{"to": f"10.{i >> 8}.{i & 255}.0/24"} for i in range(10000)],
                }
            }
        ),
        "routes: 10000 routes are too many. Use at most 4096; summarise networks.",
    ),
    "unknown-type": (
        v1({"type": "tunnel", "name": "t"}),
        (
            "config[0].type: 'tunnel' is no type of item. Use one of physical, loopback, infiniband, bond, "
            "bridge, vlan, nameserver, route."
        ),
    ),
    "unknown-subnet": (
        v1(nic(subnets=[{"type": "bootp"}])),
        (
            "config[0].subnets[0].type: 'bootp' is no type of subnet. Use one of dhcp4, dhcp6, static, "
            "ipv6_slaac, ipv6_dhcpv6-stateless, ipv6_dhcpv6-stateful, manual, loopback, dhcp, static6."
        ),
    ),
    "dns-of-nobody": (
        v1({"type": "nameserver", "address": "192.0.2.53", "interface": "eth9"}),
        "config[0].interface: there is no interface 'eth9'. Name one of this document.",
    ),
    "metric-is-a-word": (
        v1({"type": "route", "destination": "192.0.2.0/24", "metric": "low"}),
        "config[0].metric: 'low' is not a whole number. Write digits only.",
    ),
    "stp-is-a-word": (
        v1({"type": "bridge", "name": "br0", "bridge_interfaces": [], "params": {"bridge_stp": "maybe"}}),
        "config[0].params.bridge_stp: 'maybe' is neither on nor off. Write on or off.",
    ),
    "no-config": (
        {"version": 1},
        "config: a version 1 network config needs a list here. Write 'config:' and entries below it.",
    ),
    "version-3": (
        {"version": 3},
        "version: 3 is no version of the network config. Write 'version: 1' or 'version: 2'.",
    ),
    "not-a-map": (
        ["version", 1],
        "network: a map is expected. Write 'version: 2' and interfaces below.",
    ),
    "interface-is-a-word": (
        v2(ethernets={"eth0": "dhcp"}),
        "ethernets.eth0: a map is expected. Write 'key: value' pairs.",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_ga_p15_is_refused_with_place_and_remedy(name: str) -> None:
    document, said = BAD[name]
    with pytest.raises(errors.InvalidNetwork) as raised:
        parse("yaml", document, {})
    assert str(raised.value).splitlines()[0] == f"network-config: {said}"


def test_ga_p15_all_faults_are_named_at_once() -> None:
    document = v1(nic(mtu=-1, subnets=[static("x"), {"type": "bootp"}]))
    with pytest.raises(errors.InvalidNetwork) as raised:
        parse("yaml", document, {})
    assert [fault.path for fault in raised.value.faults] == [
        "config[0].mtu",
        "config[0].subnets[0].address",
        "config[0].subnets[1].type",
    ]


def test_ga_p15_one_mac_with_two_drivers_is_no_fault() -> None:
    """Azure shows an accelerated NIC twice, under one MAC."""
    match = {"macaddress": MAC}
    document = v2(
        ethernets={
            "eth0": {"match": {**match, "driver": "hv_netvsc"}, "set-name": "eth0"},
            "eth1": {"match": {**match, "driver": "mlx5_core"}, "set-name": "eth1"},
        }
    )
    assert len(parse("yaml", document, {}).network.interfaces) == 2


def test_ga_p15_a_mac_of_no_nic_stops_network_data() -> None:
    document = {
        "links": [{"id": "tap0", "type": "phy", "ethernet_mac_address": MAC}],
        "networks": [],
        "services": [],
    }
    with pytest.raises(
        errors.UnknownNic, match="Unable to find a system nic for tap0: no NIC here has the MAC"
    ):
        parse("network_data.json", document, {"52:54:00:00:00:99": "eth0"})


@pytest.mark.parametrize(
    ("link", "path"),
    [
        ({"type": "phy"}, "links[0]"),
        ({"type": "vlan", "vlan_id": 7, "vlan_link": "nobody"}, "links[0].vlan_link"),
        ({"type": "bond", "bond_links": ["nobody"], "bond_mode": "4"}, "links[0].bond_links"),
    ],
)
def test_ga_p15_network_data_that_points_nowhere(link: dict[str, Any], path: str) -> None:
    with pytest.raises(errors.InvalidNetwork) as raised:
        parse("network_data.json", {"links": [{"id": "a", **link}], "networks": [], "services": []}, {})
    assert raised.value.faults[0].path == path


def test_ga_p15_network_of_no_link_and_of_no_type() -> None:
    document = {"links": [], "networks": [{"id": "n", "link": "gone", "type": "ipv9"}], "services": []}
    with pytest.raises(errors.InvalidNetwork, match="there is no link 'gone'"):
        parse("network_data.json", document, {})
