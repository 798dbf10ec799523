"""What each input form means, rule by rule, as the model says it."""

from __future__ import annotations

from typing import Any

import pytest

from guest_agent.network import errors, missing_macs, parse, render
from guest_agent.network.model import Dns, Interface, Network, Override, Route, Subnet

MAC = "52:54:00:00:00:01"
NICS = {MAC: "eth0", "52:54:00:00:00:02": "eth1"}


def v1(*items: dict[str, Any]) -> Network:
    return parse("yaml", {"version": 1, "config": list(items)}, {}).network


def subnet(**said: Any) -> Subnet:
    return v1({"type": "physical", "name": "eth0", "subnets": [said]}).interfaces[0].subnets[0]


@pytest.mark.parametrize(
    ("said", "cidr"),
    [
        ({"address": "192.0.2.1/25"}, "192.0.2.1/25"),
        ({"address": "192.0.2.1/255.255.0.0"}, "192.0.2.1/16"),
        ({"address": "192.0.2.1", "prefix": 30, "netmask": "255.0.0.0"}, "192.0.2.1/30"),
        ({"address": "192.0.2.1", "netmask": "255.255.255.128"}, "192.0.2.1/25"),
        ({"address": "192.0.2.1"}, "192.0.2.1/24"),
        ({"address": "2001:db8::1"}, "2001:db8::1/64"),
        ({"address": "2001:db8::1", "netmask": "ffff:ffff::"}, "2001:db8::1/32"),
        ({"ip_address": "2001:db8::1/128"}, "2001:db8::1/128"),
    ],
)
def test_ga_4_2_prefix_comes_from_the_address_then_prefix_then_netmask(
    said: dict[str, Any], cidr: str
) -> None:
    assert subnet(type="static", **said).cidr == cidr


def test_ga_4_2_words_of_a_subnet() -> None:
    said = subnet(
        type="dhcp",
        dns_nameservers="192.0.2.53 192.0.2.54",
        dns_search=["a.b"],
        metric=None,
        control="manual",
    )
    assert said == Subnet("dhcp4", control="manual", dns=Dns(("192.0.2.53", "192.0.2.54"), ("a.b",)))


@pytest.mark.parametrize(
    ("said", "route"),
    [
        ({"destination": "default", "gateway": "192.0.2.1"}, Route("0.0.0.0", 0, "192.0.2.1")),
        ({"destination": "default", "gateway": "fe80::1"}, Route("::", 0, "fe80::1")),
        ({"destination": "10.0.0.0", "netmask": "255.0.0.0", "metric": "7"}, Route("10.0.0.0", 8, "", 7)),
        ({"destination": "10.0.0.0/8", "metric": 0}, Route("10.0.0.0", 8, "", 0)),
        ({"destination": "2001:db8::/32"}, Route("2001:db8::", 32)),
    ],
)
def test_ga_4_2_routes(said: dict[str, Any], route: Route) -> None:
    assert v1({"type": "route", **said}).routes == (route,)


def test_ga_4_2_item_without_a_required_key_is_left_out_with_a_warning() -> None:
    parsed = parse(
        "yaml", {"version": 1, "config": [{"type": "physical"}, {"type": "bond", "name": "b"}]}, {}
    )
    assert parsed.network.interfaces == ()
    assert [note.text for note in parsed.notes] == [
        "network-config: config[0]: left out, a physical needs name",
        "network-config: config[1]: left out, a bond needs bond_interfaces and params",
    ]


def test_ga_4_2_name_servers_are_global_or_of_an_interface() -> None:
    network = v1(
        {"type": "physical", "name": "eth0", "mac_address": MAC.upper()},
        {"type": "nameserver", "address": "192.0.2.53", "search": "a b"},
        {"type": "nameserver", "address": ["192.0.2.54"], "interface": "eth0"},
    )
    assert network.dns == Dns(("192.0.2.53",), ("a b",))
    assert network.interfaces == (Interface("eth0", "eth0", mac=MAC, dns=Dns(("192.0.2.54",))),)


def test_ga_4_1_network_key_around_the_document_is_unwrapped() -> None:
    parsed = parse("yaml", {"network": {"version": 2, "ethernets": {"eth0": {"dhcp4": True}}}}, {})
    assert parsed.document == {"version": 2, "ethernets": {"eth0": {"dhcp4": True}}}


@pytest.mark.parametrize("word", ["on", "1", 1, True, "true"])
def test_ga_4_2_stp_is_on_in_many_words(word: object) -> None:
    bridge = {"type": "bridge", "name": "br0", "bridge_interfaces": ["eth0"], "params": {"bridge_stp": word}}
    found = v1(bridge).interface("br0")
    assert found is not None
    assert found.bridge is not None
    assert found.bridge.stp is True


def test_d5_undeclared_members_get_a_placeholder_of_type_physical() -> None:
    network = v1({"type": "bond", "name": "bond0", "bond_interfaces": ["eth7"], "params": {"bond-mode": 1}})
    assert network.interface("eth7") == Interface("eth7", "eth7", bond_master="bond0")
    parsed = parse("yaml", {"version": 2, "bridges": {"br0": {"interfaces": ["eth8"]}}}, {})
    assert parsed.network.interface("eth8") == Interface("eth8", "eth8")


@pytest.mark.parametrize("renderer", ["eni", "netplan", "networkd", "network-manager", "sysconfig"])
def test_d5_d6_undeclared_members_and_arp_targets_render_everywhere(renderer: str) -> None:
    parameters = {"mode": "active-backup", "arp-interval": 100, "arp-ip-targets": ["192.0.2.1", "192.0.2.2"]}
    document = {"version": 2, "bonds": {"bond0": {"interfaces": ["eth7"], "parameters": parameters}}}
    done = render(parse("yaml", document, {}), renderer, "rhel")
    text = b"".join(file.content for file in done.files.values()).decode()
    assert "eth7" in text
    assert any(form in text for form in ("192.0.2.1 192.0.2.2", "192.0.2.1,192.0.2.2", "- 192.0.2.2"))


def test_d6_unknown_parameter_is_a_warning_and_ignored_outside_netplan() -> None:
    document = {"version": 2, "bonds": {"bond0": {"interfaces": ["eth7"], "parameters": {"colour": "red"}}}}
    parsed = parse("yaml", document, {})
    assert render(parsed, "netplan", "ubuntu").notes == ()
    texts = [note.text for note in render(parsed, "networkd", "debian").notes]
    assert texts == ["network-config: bonds.bond0.parameters.colour: no such parameter; left out"]


def test_d23_vlan_of_network_data_without_a_mac_has_none() -> None:
    links = [
        {"id": "tap0", "type": "phy", "ethernet_mac_address": MAC},
        {"id": "v", "type": "vlan", "vlan_id": 7, "vlan_link": "tap0"},
    ]
    network = parse("network_data.json", {"links": links, "networks": [], "services": []}, NICS).network
    assert network.interfaces[1] == Interface("eth0.7", "eth0.7", "vlan", vlan=network.interfaces[1].vlan)


def v2(ethernet: dict[str, Any], nics: dict[str, str] | None = None) -> Interface:
    return parse("yaml", {"version": 2, "ethernets": {"id0": ethernet}}, nics or {}).network.interfaces[0]


@pytest.mark.parametrize(
    ("match", "set_name", "name"),
    [
        ({"macaddress": MAC}, {"set-name": "wan0"}, "wan0"),
        ({"macaddress": MAC.upper()}, {}, "eth0"),
        ({"macaddress": "52:54:00:00:00:77"}, {}, "id0"),
        ({"name": "*1"}, {}, "eth1"),
        ({"name": "eth*"}, {}, "id0"),
        ({}, {}, "id0"),
    ],
)
def test_ga_4_3_device_name(match: dict[str, str], set_name: dict[str, str], name: str) -> None:
    assert v2({"match": match, **set_name}, NICS).name == name


def test_ga_4_3_v2_in_the_words_of_v1() -> None:
    one = v2(
        {
            "dhcp4": True,
            "dhcp4-overrides": {"route-metric": 50, "use-dns": False},
            "addresses": ["192.0.2.7/24", "2001:db8::7/64"],
            "gateway4": "192.0.2.1",
            "routes": [{"to": "10.0.0.0/8", "via": "192.0.2.9", "metric": 3, "table": 5, "mtu": 1400}],
            "nameservers": {"addresses": ["192.0.2.53"], "search": ["a"]},
            "mtu": 1400,
            "optional": True,
        }
    )
    dns = Dns(("192.0.2.53",), ("a",))
    assert one.subnets == (
        Subnet("dhcp4", metric=50, routes=(Route("10.0.0.0", 8, "192.0.2.9", 3, 1400, 5),)),
        Subnet("static", "192.0.2.7", 24, "192.0.2.1", dns=dns),
        Subnet("static", "2001:db8::7", 64),
    )
    assert (one.mtu, one.optional, one.dns) == (1400, True, dns)
    assert one.dhcp4_overrides == (Override("route-metric", 50), Override("use-dns", value=False))


def test_ga_4_3_gateway4_is_deprecated_and_unknown_sections_are_for_netplan() -> None:
    document = {
        "version": 2,
        "ethernets": {"eth0": {"gateway4": "192.0.2.1"}},
        "tunnels": {"t": {}},
        "wifis": {"w": {}},
    }
    parsed = parse("yaml", document, {})
    assert [note.level for note in parsed.notes] == ["DEPRECATED"]
    assert b"tunnels" in next(iter(render(parsed, "netplan", "ubuntu").files.values())).content
    with pytest.raises(errors.InvalidNetwork, match="tunnels: this section is for netplan only"):
        render(parsed, "networkd", "debian")
    assert "wifis: only netplan takes them" in parsed.lost_outside_netplan[0].text


def test_ga_4_3_v2_passes_through_netplan_untouched_but_for_mtu_0() -> None:
    ethernet = {
        "dhcp4": True,
        "mtu": 0,
        "link-local": [],
        "dhcp-identifier": "mac",
        "routes": [{"to": "default", "scope": "link"}],
    }
    done = render(parse("yaml", {"version": 2, "ethernets": {"eth0": ethernet}}, {}), "netplan", "ubuntu")
    import yaml

    (file,) = done.files.values()
    assert yaml.safe_load(file.content) == {
        "network": {
            "version": 2,
            "ethernets": {"eth0": {key: ethernet[key] for key in ethernet if key != "mtu"}},
        }
    }
    assert (file.mode, done.after_write) == (0o600, (("netplan", "generate"),))


def test_ga_4_3_routes_without_a_subnet_are_lost_with_a_warning() -> None:
    document = {"version": 2, "ethernets": {"eth0": {"routes": [{"to": "10.0.0.0/8", "via": "192.0.2.1"}]}}}
    texts = [note.text for note in parse("yaml", document, {}).lost_outside_netplan]
    assert texts == [
        "network-config: ethernets.eth0.routes: an interface without addresses takes no routes; left out"
    ]


NETWORK_DATA = {
    "links": [
        {"id": "v", "type": "vlan", "vlan_id": 7, "vlan_link": "b", "vlan_mac_address": "52:54:00:00:00:FF"},
        {"id": "b", "type": "bond", "bond_links": ["tap0", "tap1"], "bond_mode": "802.3ad",
         "bond_miimon": 100},
        {"id": "tap0", "type": "ovs", "ethernet_mac_address": MAC.upper(), "mtu": 1450},
        {"id": "tap1", "type": "macvtap", "ethernet_mac_address": "52:54:00:00:00:02", "mtu": None},
    ],
    "networks": [
        {"id": "0", "link": "b", "type": "ipv6", "ip_address": "2001:db8::7", "netmask": "ffff:ffff::",
         "services": [{"type": "dns", "address": "192.0.2.53"}, {"type": "ntp", "address": "192.0.2.99"}],
         "routes": [{"network": "::", "netmask": "::", "gateway": "2001:db8::1", "services":
                     [{"type": "dns", "address": "192.0.2.52"}, {"type": "dns", "address": "192.0.2.53"}]}]},
        {"id": "1", "link": "v", "type": "ipv6_dhcpv6-stateful"},
        {"id": "2", "link": "tap0", "type": "ipv4_dhcp"},
    ],
    "services": [{"type": "dns", "address": "192.0.2.1"}],
}  # fmt: skip


def test_ga_4_4_network_data() -> None:
    parsed = parse("network_data.json", NETWORK_DATA, NICS)
    by_name = {one.name: one for one in parsed.network.interfaces}
    assert list(by_name) == ["bond0.7", "bond0", "eth0", "eth1"]
    vlan, bond = by_name["bond0.7"], by_name["bond0"]
    assert (vlan.vlan and vlan.vlan.link, vlan.mac, vlan.accept_ra) == ("bond0", "52:54:00:00:00:ff", True)
    assert bond.bond is not None
    assert [(one.key, one.value) for one in bond.bond.parameters] == [
        ("bond-mode", "802.3ad"),
        ("bond-miimon", 100),
    ]
    assert bond.accept_ra is False
    (subnet_,) = bond.subnets
    assert (subnet_.cidr, subnet_.declared_family) == ("2001:db8::7/32", "ipv6")
    assert subnet_.routes == (Route("::", 0, "2001:db8::1"),)
    assert subnet_.dns == Dns(("192.0.2.52", "192.0.2.53"))
    assert (by_name["eth0"].mtu, by_name["eth0"].subnets) == (1450, (Subnet("dhcp4"),))
    assert parsed.network.dns == Dns(("192.0.2.1",))
    assert [note.text for note in parsed.notes] == [
        "network_data: links[3].type: unknown link type macvtap; treated as physical"
    ]


def test_ga_4_4_vlan_name_that_the_kernel_would_not_take_is_shortened() -> None:
    links = [
        {"id": "a", "type": "phy", "name": "enp175s0f0np0", "ethernet_mac_address": MAC},
        {"id": "b", "type": "vlan", "vlan_id": 4000, "vlan_link": "a", "vlan_mac_address": MAC},
    ]
    network = parse("network_data.json", {"links": links, "networks": [], "services": []}, {}).network
    assert [one.name for one in network.interfaces] == ["enp175s0f0np0", "vlan4000"]


def test_ga_4_4_eni_text() -> None:
    text = """
auto lo eth0
iface lo inet loopback
iface eth0 inet static
    address 192.0.2.7
    netmask 255.255.255.0
    gateway 192.0.2.1
    dns-nameservers 192.0.2.53 \\
        192.0.2.54
iface eth0:1 inet static
    address 192.0.2.8/24
iface eth0 inet6 static
    address 2001:db8::7
    netmask 64
    hwaddress ether 52:54:00:00:00:01
    post-up echo hello
"""
    network = parse("eni", text, {}).network
    assert [(one.name, one.kind, one.mac) for one in network.interfaces] == [
        ("eth0", "physical", MAC),
        ("lo", "loopback", ""),
    ]
    first, alias, six = network.interfaces[0].subnets
    assert (first.cidr, first.gateway, first.control) == ("192.0.2.7/24", "192.0.2.1", "auto")
    assert first.dns == Dns(("192.0.2.53", "192.0.2.54"))
    assert (alias.cidr, alias.control, six.cidr) == ("192.0.2.8/24", "manual", "2001:db8::7/64")


def test_ga_4_4_eni_text_that_is_at_fault() -> None:
    with pytest.raises(errors.InvalidNetwork) as raised:
        parse("eni", "iface eth0\niface eth1 inet static\n", {})
    assert [fault.path for fault in raised.value.faults] == ["line 1", "eth1"]


def test_ga_1_8_missing_macs_are_those_to_wait_for() -> None:
    document = {
        "version": 1,
        "config": [
            {"type": "physical", "name": "eth0", "mac_address": MAC},
            {"type": "physical", "name": "eth9", "mac_address": "52:54:00:00:00:99"},
            {
                "type": "vlan",
                "name": "v",
                "vlan_id": 5,
                "vlan_link": "eth0",
                "mac_address": "52:54:00:00:00:98",
            },
        ],
    }
    assert missing_macs(parse("yaml", document, NICS), NICS) == ("52:54:00:00:00:99",)
