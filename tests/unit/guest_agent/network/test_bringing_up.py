"""Choosing renderer and activator, renaming NICs, and the network when nobody says anything."""

from __future__ import annotations

import pytest

from guest_agent.network import choose, distros, errors, fallback, parse, rename
from guest_agent.network.choose import Machine
from guest_agent.network.links import Link
from guest_agent.network.model import Network

MACS = [f"52:54:00:00:00:0{number}" for number in range(1, 5)]


def machine(*programs: str, files: tuple[str, ...] = (), distro: str = "debian", nm: bool = False) -> Machine:
    return Machine(programs.__contains__, files.__contains__, lambda _pattern: False, distro, nm)


@pytest.mark.parametrize(
    ("this", "found"),
    [
        (machine(), set()),
        (machine("netplan"), {"netplan"}),
        (machine("ifquery", "ifup", "ifdown"), set()),
        (machine("ifquery", "ifup", "ifdown", files=("/etc/network/interfaces",)), {"eni"}),
        (machine("ip", "systemctl"), {"networkd"}),
        (machine("nmcli"), set()),
        (machine("nmcli", nm=True), {"network-manager"}),
        (machine("ifup", "ifdown", files=choose.SYSCONFIG_FILES, distro="rhel"), {"sysconfig"}),
        (machine("ifup", "ifdown", files=choose.SYSCONFIG_FILES, distro="debian"), set()),
    ],
)
def test_ga_4_5_what_is_available(this: Machine, found: set[str]) -> None:
    assert choose.available(this) == found


def test_ga_4_5_sysconfig_through_networkmanagers_plugin() -> None:
    this = Machine(lambda _name: False, lambda _path: False, lambda pattern: "ifcfg-rh" in pattern, "fedora")
    assert choose.available(this) == {"sysconfig"}


@pytest.mark.parametrize(
    ("distro", "name"),
    [("debian", "netplan"), ("ubuntu", "netplan"), ("fedora", "netplan"), ("rhel", "eni"), ("alpine", "eni")],
)
def test_ga_4_5_order_of_the_distribution(distro: str, name: str) -> None:
    everything = set(choose.RENDERER_ORDER)
    assert choose.renderer(everything, distros.profile(distro).renderers) == name


def test_ga_4_5_built_in_order_and_what_is_wrong() -> None:
    assert choose.renderer({"networkd", "netplan"}) == "netplan"
    assert choose.renderer({"networkd"}, distros.profile("debian").renderers) == "networkd"
    with pytest.raises(errors.UnknownRenderer, match=r"unknown network renderer: bsd\. Use eni, sysconfig"):
        choose.renderer({"eni"}, ("eni", "bsd"))
    with pytest.raises(errors.NoRenderer, match="no network renderer is available here, of netplan, eni"):
        choose.renderer(set(), distros.profile("debian").renderers)
    assert choose.activator({"networkd"}, ("netplan",)) is None
    assert choose.activator({"networkd", "eni"}) == "eni"


def two_nics() -> Network:
    ethernets = {
        f"id{number}": {"match": {"macaddress": MACS[number]}, "set-name": f"eth{number}"}
        for number in (0, 1)
    }
    return parse("yaml", {"version": 2, "ethernets": ethernets}, {}).network


def test_ga_4_5_activation() -> None:
    network = two_nics()
    nm = "/etc/NetworkManager/system-connections/cloud-init-id0.nmconnection"
    assert choose.activation("netplan", network) == (("netplan", "apply"),)
    assert choose.activation("eni", network) == (("ifup", "eth0"), ("ifup", "eth1"))
    assert choose.activation("networkd", network) == (
        ("systemctl", "restart", "systemd-networkd", "systemd-resolved"),
    )
    assert choose.activation("network-manager", network)[:3] == (
        ("systemctl", "try-reload-or-restart", "NetworkManager.service"),
        ("nmcli", "connection", "load", nm),
        ("nmcli", "connection", "up", "filename", nm),
    )


def test_ga_4_5_waiting_and_udev() -> None:
    wait = (("systemctl", "start", "systemd-networkd-wait-online.service"),)
    assert choose.wait_online("netplan", has_networkmanager_unit=False) == wait
    assert choose.wait_online("networkd", has_networkmanager_unit=True) == ()
    assert choose.wait_online("eni", has_networkmanager_unit=False) == ()
    assert choose.link_setup(["eth0"], "quiet net.ifnames=0") == ()
    assert choose.link_setup(["eth0"], "quiet") == (
        ("udevadm", "test-builtin", "net_setup_link", "/sys/class/net/eth0"),
    )


def ip(*words: str) -> tuple[str, ...]:
    return ("ip", "link", "set", *words)


def test_ga_4_5_nothing_to_rename() -> None:
    assert rename.plan(two_nics(), [Link("eth0", MACS[0]), Link("eth1", MACS[1])]) == rename.Renames()


def test_ga_4_5_a_swap_goes_by_a_temporary_name() -> None:
    plan = rename.plan(two_nics(), [Link("eth1", MACS[0]), Link("eth0", MACS[1])])
    assert plan.notes == ()
    assert plan.commands == (
        ip("eth0", "name", "cirename0"),
        ip("eth1", "name", "eth0"),
        ip("cirename0", "name", "eth1"),
    )


def test_ga_4_5_a_nic_that_is_up_goes_down_first_and_comes_up_under_its_last_name() -> None:
    plan = rename.plan(two_nics(), [Link("eth1", MACS[0], is_up=True), Link("eth0", MACS[1], is_up=True)])
    assert plan.commands == (
        ip("dev", "eth0", "down"),
        ip("eth0", "name", "cirename0"),
        ip("dev", "eth1", "down"),
        ip("eth1", "name", "eth0"),
        ip("cirename0", "name", "eth1"),
        ip("dev", "eth1", "up"),
        ip("dev", "eth0", "up"),
    )


def test_ga_4_5_what_cannot_be_renamed_is_a_warning() -> None:
    busy = Link("ens3", MACS[0], is_up=True, is_downable=False)
    plan = rename.plan(two_nics(), [busy])
    assert plan.commands == ()
    assert [note.text for note in plan.notes] == [
        f"network: cannot name the NIC {MACS[0]} eth0: ens3 is up and in use",
        f"network: cannot name the NIC {MACS[1]} eth1: no NIC has this MAC",
    ]
    holder = Link("eth0", MACS[3], is_up=True, is_downable=False)
    plan = rename.plan(two_nics(), [Link("ens3", MACS[0]), holder, Link("eth1", MACS[1])])
    assert [note.text for note in plan.notes] == [
        f"network: cannot name the NIC {MACS[0]} eth0: eth0 is up and in use"
    ]


def test_ga_4_5_nics_of_one_mac_are_told_apart_by_driver() -> None:
    match = {"macaddress": MACS[0], "driver": "hv_netvsc"}
    network = parse(
        "yaml", {"version": 2, "ethernets": {"a": {"match": match, "set-name": "eth0"}}}, {}
    ).network
    links = [Link("net1", MACS[0], driver="mlx5_core"), Link("net2", MACS[0], driver="hv_netvsc")]
    assert rename.plan(network, links).commands == (ip("net2", "name", "eth0"),)
    twins = [Link("net1", MACS[0], driver="hv_netvsc"), Link("net2", MACS[0], driver="hv_netvsc")]
    assert "2 NICs have this MAC" in rename.plan(network, twins).notes[0].text


def test_ga_1_8_fallback_takes_the_nic_most_likely_connected() -> None:
    links = [
        Link("lo", "00:00:00:00:00:00", has_carrier=True),
        Link("veth0", MACS[3], has_carrier=True),
        Link("eth0", MACS[0], operstate="down"),
        Link("ens10", MACS[1], has_carrier=True),
        Link("ens9", MACS[2], has_carrier=True),
        Link("ens1", MACS[2], operstate="notpresent"),
    ]
    assert [link.name for link in fallback.candidates(links)] == ["ens9", "ens10", "eth0"]
    assert fallback.config(links) == {
        "version": 2,
        "ethernets": {
            "ens9": {"dhcp4": True, "dhcp6": True, "set-name": "ens9", "match": {"macaddress": MACS[2]}}
        },
    }


def test_ga_1_8_fallback_without_nics_and_with_a_shared_mac() -> None:
    assert fallback.config([]) is None
    document = fallback.config(
        [Link("eth0", MACS[0], driver="virtio_net", has_shared_mac=True)], with_driver=True
    )
    network = parse("yaml", document, {}).network
    assert (network.interfaces[0].name, network.interfaces[0].driver) == ("eth0", "virtio_net")
    assert network.interfaces[0].mac == ""
