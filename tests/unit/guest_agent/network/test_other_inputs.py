"""The kernel command line, what klibc left, and EC2's tree."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import pytest

from guest_agent.network import ec2, errors, kernel_ip, parse, to_v1
from guest_agent.network.model import Dns, Note

MAC = "52:54:00:00:00:01"
KLIBC = """\
DEVICE='eth0'
PROTO='dhcp'
IPV4ADDR='192.0.2.7'
IPV4BROADCAST='192.0.2.255'
IPV4NETMASK='255.255.255.0'
IPV4GATEWAY='192.0.2.1'
IPV4DNS0='192.0.2.53'
IPV4DNS1='0.0.0.0'
DOMAINSEARCH='a.b,c'
"""
KLIBC_6 = "DEVICE6=eth0\nIPV6PROTO=none\nIPV6ADDR=2001:db8::7\nIPV6NETMASK=64\nIPV6GATEWAY=2001:db8::1\n"


def test_ga_1_8_klibc_files_count_with_ip_on_the_command_line() -> None:
    files = {"/run/net-eth0.conf": KLIBC, "/run/net6-eth0.conf": KLIBC_6}
    assert kernel_ip.config("quiet", files, {}) is None
    assert kernel_ip.config("ip=dhcp", {}, {}) is None
    assert kernel_ip.config("quiet", files, {}, has_iscsi=True) is not None
    document = kernel_ip.config("quiet ip=dhcp", files, {"eth0": MAC})
    (nic,) = parse("yaml", document, {}).network.interfaces
    four, six = nic.subnets
    assert (nic.mac, four.kind, four.control, four.gateway) == (MAC, "dhcp4", "manual", "192.0.2.1")
    assert four.dns == Dns(("192.0.2.53",), ("a.b", "c"))
    assert (six.cidr, six.gateway) == ("2001:db8::7/64", "2001:db8::1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("PROTO=dhcp\n", "neither DEVICE nor DEVICE6"),
        ("DEVICE=e\nIPV4ADDR=1\nPROTO=bootp\n", "'bootp' is no protocol"),
    ],
)
def test_ga_1_8_klibc_files_at_fault(text: str, said: str) -> None:
    with pytest.raises(errors.InvalidNetwork, match=said):
        kernel_ip.config("ip=dhcp", {"/run/net-x.conf": text}, {})


def test_ip_word_itself() -> None:
    words = "ip=192.0.2.7::192.0.2.1:255.255.255.0:host:eth0:off:192.0.2.53 ip=:::::eth1:dhcp ip=dhcp"
    one, two = parse("yaml", kernel_ip.from_words(words), {}).network.interfaces
    assert (one.subnets[0].cidr, one.subnets[0].gateway) == ("192.0.2.7/24", "192.0.2.1")
    assert one.subnets[0].dns == Dns(("192.0.2.53",))
    assert (two.name, two.subnets[0].kind) == ("eth1", "dhcp4")
    six = parse("yaml", kernel_ip.from_words("ip=[2001:db8::7]::[2001:db8::1]:64::eth0:none"), {}).network
    assert six.interfaces[0].subnets[0].cidr == "2001:db8::7/64"
    assert kernel_ip.from_words("ip=dhcp quiet") is None


def test_ga_1_6_network_config_word() -> None:
    text = b"version: 2\n"
    plain, packed = base64.b64encode(text).decode(), base64.b64encode(gzip.compress(text)).decode()
    assert kernel_ip.embedded("quiet") is None
    assert kernel_ip.embedded("network-config=disabled") == "disabled"
    assert kernel_ip.embedded(f"quiet network-config={plain}") == text
    assert kernel_ip.embedded(f"network-config={packed}") == text
    assert kernel_ip.embedded("network-config=a") is None
    broken = base64.b64encode(gzip.compress(text)[:12] + b"\xff\xff\xff").decode()
    assert kernel_ip.embedded(f"network-config={broken}") is None


def metadata(number: int, **more: Any) -> dict[str, Any]:
    return {
        "device-number": str(number),
        "local-ipv4s": [f"192.0.{number}.7"],
        "subnet-ipv4-cidr-block": f"192.0.{number}.0/25",
        **more,
    }


NICS = {MAC: "eth0", "52:54:00:00:00:02": "eth1", "52:54:00:00:00:03": "eth2"}


def test_ga_4_4_ec2_with_one_nic_has_no_metrics() -> None:
    notes: list[Note] = []
    macs = {MAC: metadata(0, **{"local-ipv4s": ["192.0.0.7", "192.0.0.8"], "ipv6s": "2001:db8::7"})}
    document = ec2.config(macs, NICS, for_netplan=True, gateways={}, notes=notes)
    assert document == {
        "version": 2,
        "ethernets": {
            "eth0": {
                "dhcp4": True,
                "dhcp6": True,
                "match": {"macaddress": MAC},
                "set-name": "eth0",
                "addresses": ["192.0.0.8/25"],
            }
        },
    }
    assert notes == []


def test_ga_4_4_ec2_ranks_nics_and_gives_secondary_ones_a_table() -> None:
    notes: list[Note] = []
    macs = {MAC: metadata(1), "52:54:00:00:00:02": metadata(0), "52:54:00:00:00:99": metadata(2)}
    document = ec2.config(macs, NICS, for_netplan=True, gateways={"eth0": "192.0.1.1"}, notes=notes)
    ethernets = document["ethernets"]
    assert isinstance(ethernets, dict)
    assert list(ethernets) == ["eth1", "eth0"]
    assert ethernets["eth1"]["dhcp4-overrides"] == {"route-metric": 100}
    second = ethernets["eth0"]
    assert second["dhcp4-overrides"] == {"route-metric": 200, "use-routes": True}
    assert second["routes"] == [
        {"to": "0.0.0.0/0", "via": "192.0.1.1", "table": 101},
        {"to": "192.0.1.0/25", "table": 101},
    ]
    assert second["routing-policy"] == [{"from": "192.0.1.7", "table": 101}]
    other = ec2.config(macs, NICS, for_netplan=False, gateways={}, notes=notes)["ethernets"]
    assert isinstance(other, dict)
    assert "routes" not in other["eth0"]
    parse("yaml", document, NICS)


def test_ga_4_4_ec2_without_a_usable_subnet_says_so() -> None:
    notes: list[Note] = []
    said = {"local-ipv4s": "192.0.2.7\n192.0.2.8", "device-number": "0"}
    document = ec2.config({MAC: said}, NICS, for_netplan=False, gateways={}, notes=notes)
    assert document["ethernets"] == {
        "eth0": {
            "dhcp4": True,
            "dhcp6": False,
            "match": {"macaddress": MAC},
            "set-name": "eth0",
            "addresses": ["192.0.2.8/24"],
        }
    }
    assert [note.text for note in notes] == [
        f"ec2: {MAC}: subnet-ipv4-cidr-block is unusable; /24 is taken for 192.0.2.8"
    ]


def test_ga_4_4_ec2_primary_only() -> None:
    document = ec2.primary_only({MAC: metadata(0)}, NICS, "eth0")
    assert document["ethernets"] == {
        "eth0": {"dhcp4": True, "dhcp6": False, "match": {"macaddress": MAC}, "set-name": "eth0"}
    }


def test_v1_document_of_a_model_means_the_same_model() -> None:
    ethernet = {"match": {"macaddress": MAC}, "set-name": "eth0", "addresses": ["192.0.2.7/24"], "mtu": 1400}
    vlan = {"id": 7, "link": "eth0", "dhcp4": True}
    bridge = {"interfaces": ["v7"], "parameters": {"stp": False, "path-cost": {"v7": 5}, "forward-delay": 3}}
    document = {
        "version": 2,
        "ethernets": {"eth0": ethernet},
        "vlans": {"v7": vlan},
        "bridges": {"br0": bridge},
    }
    before = parse("yaml", document, {}).network
    after = parse("yaml", to_v1.document(before), {}).network
    assert after.interfaces == tuple(one.replace(has_config_id=False) for one in before.interfaces)
