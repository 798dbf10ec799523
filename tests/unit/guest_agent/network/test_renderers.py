"""Rules of the renderers that the golden topologies do not show, and what is said when something is lost."""

from __future__ import annotations

from typing import Any

import pytest

from guest_agent.network import errors, parse, render
from guest_agent.network.rendered import Rendered

MAC = "52:54:00:00:00:01"


def rendered(renderer: str, document: dict[str, Any], distro: str = "rhel", **more: Any) -> Rendered:
    return render(parse("yaml", document, {}), renderer, distro, **more)


def v1(*items: dict[str, Any]) -> dict[str, Any]:
    return {"version": 1, "config": list(items)}


def nic(*subnets: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "physical", "name": "eth0", "subnets": list(subnets), **more}


def v2(**ethernet: Any) -> dict[str, Any]:
    return {"version": 2, "ethernets": {"eth0": ethernet}}


def static(address: str, **more: Any) -> dict[str, Any]:
    return {"type": "static", "address": address, **more}


def texts(done: Rendered) -> list[str]:
    return [note.text for note in done.notes]


def file(done: Rendered, name: str) -> str:
    (found,) = [one.content.decode() for path, one in done.files.items() if path.endswith(name)]
    return found


GLOBAL_ROUTE = {"type": "route", "destination": "10.0.0.0/8", "gateway": "192.0.2.9", "metric": 3}
HOMELESS_ROUTE = {"type": "route", "destination": "11.0.0.0/8", "gateway": "203.0.113.9"}


@pytest.mark.parametrize(
    ("renderer", "name", "line"),
    [
        ("netplan", "50-cloud-init.yaml", "via: 192.0.2.9"),
        ("network-manager", "eth1.nmconnection", "route1=10.0.0.0/8,192.0.2.9,3"),
        ("sysconfig", "route-eth1", "GATEWAY0=192.0.2.9"),
    ],
)
def test_ga_4_2_global_route_goes_to_the_interface_that_reaches_its_gateway(
    renderer: str, name: str, line: str
) -> None:
    items = (nic({"type": "dhcp4"}), {**nic(static("192.0.2.7/24")), "name": "eth1"})
    done = rendered(renderer, v1(*items, GLOBAL_ROUTE, HOMELESS_ROUTE))
    assert line in file(done, name)
    assert texts(done) == [f"{renderer}: not written: routes of no interface: 11.0.0.0/8"]


def test_ga_4_6_global_routes_are_in_every_networkd_file_and_at_the_end_of_eni() -> None:
    document = v1(nic({"type": "dhcp4"}), GLOBAL_ROUTE)
    assert "Destination=10.0.0.0/8\nGateway=192.0.2.9\nMetric=3" in file(
        rendered("networkd", document), ".network"
    )
    eni = file(rendered("eni", document, have_ip=False), "interfaces")
    assert eni.endswith(
        "post-up route add -net 10.0.0.0/8 gw 192.0.2.9 metric 3 || true\n"
        "pre-down route del -net 10.0.0.0/8 gw 192.0.2.9 metric 3 || true\n"
    )


@pytest.mark.parametrize("renderer", ["eni", "netplan", "network-manager", "sysconfig"])
def test_ga_4_6_mtu_of_device_and_subnet_in_conflict_is_a_warning(renderer: str) -> None:
    done = rendered(renderer, v1(nic(static("192.0.2.7/24", mtu=1400), mtu=9000)))
    assert any("mtu 9000 is ignored" in text and "says 1400" in text for text in texts(done))
    assert "1400" in b"".join(one.content for one in done.files.values()).decode()


@pytest.mark.parametrize(
    "routes",
    [
        [{"to": "0.0.0.0/0", "via": "192.0.2.1"}, {"to": "0.0.0.0/0", "via": "192.0.2.2"}],
        [{"to": "::/0", "via": "fe80::1"}, {"to": "::/0", "via": "fe80::2"}],
    ],
)
def test_ga_4_6_two_default_routes_of_a_family_are_refused_by_sysconfig(routes: list[dict[str, str]]) -> None:
    document = v2(addresses=["192.0.2.7/24"], routes=routes)
    with pytest.raises(errors.InvalidNetwork, match="eth0: it has two default routes, by"):
        rendered("sysconfig", document)
    assert rendered("networkd", document).files


def test_ga_4_6_loopback_subnet_is_refused_by_sysconfig() -> None:
    with pytest.raises(errors.InvalidNetwork, match="sysconfig has no loopback subnets"):
        rendered("sysconfig", v1(nic({"type": "loopback"})))


def test_ga_4_6_manual_subnet_comes_up_only_for_its_mtu() -> None:
    assert "ONBOOT=no" in file(rendered("sysconfig", v1(nic({"type": "manual"}))), "ifcfg-eth0")
    assert "ONBOOT=yes" in file(rendered("sysconfig", v1(nic({"type": "manual"}, mtu=1400))), "ifcfg-eth0")


def test_ga_4_6_networkd_dhcp_domain_and_override_contradict() -> None:
    plain = v2(dhcp4=True, dhcp4domain="Route", dhcp6=True, dhcp6domain="true")
    text = file(rendered("networkd", plain), ".network")
    assert "[DHCPv4]\nUseDomains=route\n" in text
    assert "[DHCPv6]\nUseDomains=yes\n" in text
    both = v2(dhcp4=True, dhcp4domain="yes", **{"dhcp4-overrides": {"use-domains": True}})
    with pytest.raises(errors.InvalidNetwork, match="say the same thing twice"):
        rendered("networkd", both)


def test_ga_4_6_networkd_overrides_count_only_where_that_dhcp_is_on() -> None:
    overrides = {
        "dhcp4-overrides": {"use-dns": False, "route-metric": 7},
        "dhcp6-overrides": {"use-ntp": False},
    }
    text = file(rendered("networkd", v2(dhcp4=True, **overrides)), ".network")
    assert "[DHCPv4]\nRouteMetric=7\nUseDNS=False\n" in text
    assert "DHCPv6" not in text


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"bonds": {"x": {}}}, "networkd: x: a bond without members is not made"),
        ({"bridges": {"x": {}}}, "networkd: x: a bridge without ports is not made"),
        ({"vlans": {"x": {"id": 7}}}, "networkd: x: a vlan without id or link is not made"),
    ],
)
def test_ga_4_6_device_that_cannot_be_made_is_a_warning(section: dict[str, Any], said: str) -> None:
    assert said in texts(rendered("networkd", {"version": 2, **section}))


@pytest.mark.parametrize(
    ("renderer", "lost"),
    [
        ("networkd", "wakeonlan (a .link file can say it), mtu of an IPv6 subnet, mtu of a route"),
        ("network-manager", "optional, mtu of an IPv6 subnet"),
        ("sysconfig", "optional, mtu of a route"),
    ],
)
def test_what_a_renderer_cannot_say_is_named(renderer: str, lost: str) -> None:
    route = {"destination": "10.0.0.0/8", "gateway": "192.0.2.1", "mtu": 1300}
    subnets = (static("192.0.2.7/24", routes=[route]), static("2001:db8::7/64", mtu=1400))
    done = rendered(renderer, v1(nic(*subnets, wakeonlan=True, optional=True)))
    assert f"{renderer}: eth0: not written: {lost}" in texts(done)


def test_bond_option_in_a_spelling_that_a_renderer_does_not_take_is_named() -> None:
    params = {"bond-mode": "active-backup", "bond-lacp_rate": "fast", "bond-fail-over-mac": 1}
    bond = {"type": "bond", "name": "bond0", "bond_interfaces": ["eth0"], "params": params}
    assert texts(rendered("sysconfig", v1(bond))) == ["sysconfig: bond0: not written: bond-lacp_rate"]
    assert texts(rendered("networkd", v1(bond))) == ["networkd: bond0: not written: bond-lacp_rate"]
    assert texts(rendered("network-manager", v1(bond))) == [
        "network-manager: bond0: not written: bond-fail-over-mac"
    ]
    assert texts(rendered("netplan", v1(bond))) == []


def test_ga_4_6_gateway_outside_the_subnet_is_on_link() -> None:
    document = v1(nic(static("192.0.2.7/32", gateway="203.0.113.1")))
    assert "on-link: true" in file(rendered("netplan", document), ".yaml")
    assert "Gateway=203.0.113.1\nGatewayOnLink=yes" in file(rendered("networkd", document), ".network")


def test_ipv6_route_on_an_ipv4_device() -> None:
    """NetworkManager refuses an [ipv6] of routes without a method, ifupdown a stanza without an address."""
    document = v2(addresses=["192.0.2.7/24"], routes=[{"to": "2001:db8:9::/48", "via": "fe80::9"}])
    assert "[ipv6]\nroute1=2001:db8:9::/48,fe80::9\nmethod=auto\nmay-fail=true\n" in file(
        rendered("network-manager", document), ".nmconnection"
    )
    eni = rendered("eni", document, "debian")
    assert (
        "iface eth0 inet6 static\n    post-up ip -family inet6 route add 2001:db8:9::/48 via fe80::9"
        in file(eni, "50-cloud-init")
    )
    assert texts(eni) == ["eni: eth0: not written: IPv6 routes, which ifupdown refuses without an address"]


def test_ga_4_6_routes_without_a_gateway_are_on_the_link_everywhere() -> None:
    """cloud-init fails on these with eni and sysconfig."""
    document = v2(addresses=["192.0.2.7/24"], routes=[{"to": "10.0.0.0/8", "metric": 5}, {"to": "fd00::/32"}])
    assert "ip route add 10.0.0.0/8 dev eth0 metric 5" in file(
        rendered("eni", document, "debian"), "50-cloud-init"
    )
    sysconfig = rendered("sysconfig", document)
    assert file(sysconfig, "/route-eth0").splitlines()[2:] == [
        "ADDRESS0=10.0.0.0",
        "NETMASK0=255.0.0.0",
        "METRIC0=5",
    ]
    assert file(sysconfig, "/route6-eth0").splitlines()[2:] == ["fd00::/32 dev eth0"]
    assert "route1=10.0.0.0/8,0.0.0.0,5" in file(rendered("network-manager", document), ".nmconnection")


def test_ga_4_6_every_type_at_once_renders_on_networkd() -> None:
    """cloud-init fails here on the path cost of a bridge port."""
    params = {"bridge_pathcost": ["eth0 50"], "bridge_portprio": ["eth0 28"]}
    bridge = {"type": "bridge", "name": "br0", "bridge_interfaces": ["eth0"], "params": params}
    done = rendered("networkd", v1(nic(), bridge, {"type": "loopback", "name": "lo"}))
    assert "[Bridge]\nCost=50\nPriority=28\n" in file(done, "eth0.network")


def test_ga_4_6_udev_rule_matches_the_driver_where_it_is_known() -> None:
    text = file(rendered("eni", v1(nic(mac_address=MAC, params={"driver": "mlx5_core"})), "debian"), ".rules")
    assert text == (
        f'SUBSYSTEM=="net", ACTION=="add", DRIVERS=="mlx5_core", ATTR{{address}}=="{MAC}", NAME="eth0"\n'
    )


def test_unknown_renderer() -> None:
    with pytest.raises(errors.UnknownRenderer, match="bsd"):
        rendered("bsd", v2(dhcp4=True))


def test_busybox_gets_a_netmask_and_one_stanza_a_family() -> None:
    """It refuses the whole file where an address has a prefix, or a device a second stanza of a family."""
    first = static("192.0.2.7/24", gateway="192.0.2.1")
    second = static("192.0.2.8/25", routes=[{"destination": "10.0.0.0/8", "gateway": "192.0.2.9"}])
    document = v1(nic(first, second, static("2001:db8::7/64"), {"type": "dhcp4"}, mac_address=MAC))
    done = rendered("eni", document, "debian", is_busybox=True)
    assert file(done, "50-cloud-init").partition("auto eth0\n")[2] == (
        "iface eth0 inet static\n"
        "    address 192.0.2.7\n"
        "    gateway 192.0.2.1\n"
        "    netmask 255.255.255.0\n"
        "    post-up ip addr add 192.0.2.8/25 dev eth0 || true\n"
        "    pre-down ip addr del 192.0.2.8/25 dev eth0 || true\n"
        "    post-up ip route add 10.0.0.0/8 via 192.0.2.9 || true\n"
        "    pre-down ip route del 10.0.0.0/8 via 192.0.2.9 || true\n"
        "\n"
        "# control-alias eth0\n"
        "iface eth0 inet6 static\n"
        "    address 2001:db8::7\n"
        "    netmask 64\n"
    )
    assert texts(done) == ["eni: eth0: not written: dhcp4 (busybox takes one method)"]
