"""The lease for the local stage: packets both ways, routes that count, and a real exchange."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guest_agent import dhcp
from guest_agent import dhcp_packets as packets

MAC = bytes.fromhex("525400123456")
NUMBER = 0x12345678
ROOT = Path(__file__).parents[4]


def _answer(options: bytes, *, kind: int = packets.ACK, number: int = NUMBER, mac: bytes = MAC) -> bytes:
    """An IP packet from a server to everybody."""
    none = b"\0" * 4
    body = packets.FIXED.pack(
        packets.REPLY,
        1,
        6,
        0,
        number,
        0,
        0,
        none,
        bytes((10, 0, 2, 15)),
        none,
        none,
        mac,
        b"",
        b"",
        packets.COOKIE,
    )
    body += bytes((packets.TYPE, 1, kind, packets.SERVER, 4, 10, 0, 2, 2)) + options + b"\xff"
    datagram = packets.UDP_HEADER.pack(67, 68, 8 + len(body), 0) + body
    head = packets.IP_HEADER.pack(
        0x45, 0, 20 + len(datagram), 0, 0, 64, 17, 0, bytes((10, 0, 2, 2)), b"\xff" * 4
    )
    return head + datagram


def test_a_lease_with_mask_and_router() -> None:
    found = packets.parse(_answer(bytes((1, 4, 255, 255, 0, 0, 3, 4, 10, 0, 2, 2))), NUMBER, MAC)
    assert found == packets.Offer(
        packets.ACK, "10.0.2.15", 16, "10.0.2.2", (packets.Route("0.0.0.0", 0, "10.0.2.2"),)
    )


def test_classless_routes_replace_the_router() -> None:
    option = bytes((121, 14, 32, 169, 254, 169, 254, 10, 0, 2, 3, 0, 10, 0, 2, 4))
    found = packets.parse(_answer(bytes((3, 4, 10, 0, 2, 2)) + option), NUMBER, MAC)
    assert found is not None
    assert found.routes == (
        packets.Route("169.254.169.254", 32, "10.0.2.3"),
        packets.Route("0.0.0.0", 0, "10.0.2.4"),
    )


def test_a_long_option_may_come_in_pieces() -> None:
    option = bytes((121, 5, 32, 169, 254, 169, 254, 121, 4, 10, 0, 2, 3))
    found = packets.parse(_answer(option), NUMBER, MAC)
    assert found is not None
    assert found.routes == (packets.Route("169.254.169.254", 32, "10.0.2.3"),)


@pytest.mark.parametrize(
    "data",
    [
        _answer(b"", number=1),
        _answer(b"", mac=b"\0" * 6),
        _answer(b"", kind=8),
        _answer(b"")[:200],
        b"",
        b"\x45" + b"\0" * 30,
    ],
)
def test_what_is_not_for_us_is_nothing(data: bytes) -> None:
    assert packets.parse(data, NUMBER, MAC) is None


@given(st.binary(max_size=700))
def test_g1_no_packet_raises(data: bytes) -> None:
    packets.parse(data, NUMBER, MAC)


@given(st.integers(0, 600), st.integers(0, 255))
def test_g1_no_changed_byte_raises(at: int, value: int) -> None:
    data = bytearray(_answer(bytes((121, 9, 32, 169, 254, 169, 254, 10, 0, 2, 3, 1, 4, 255, 0, 255, 0))))
    data[at % len(data)] = value
    packets.parse(bytes(data), NUMBER, MAC)


def test_what_we_send_is_whole() -> None:
    data = packets.packet(packets.DISCOVER, NUMBER, MAC)
    words = struct.unpack("!10H", data[:20])
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    assert total & 0xFFFF == 0xFFFF
    assert len(data) == struct.unpack("!H", data[2:4])[0]
    assert data[28 + 28 : 28 + 34] == MAC


def test_ga_n03_a_route_through_a_stranger_is_not_used() -> None:
    routes = (
        packets.Route("169.254.169.254", 32, "192.0.2.1"),
        packets.Route("0.0.0.0", 0, "10.0.2.2"),
        packets.Route("169.254.0.0", 16, ""),
    )
    offer = packets.Offer(packets.ACK, "10.0.2.15", 24, "10.0.2.2", routes)
    assert dhcp.usable_routes(offer) == [routes[2], routes[1]]


@pytest.mark.parametrize(
    ("line", "leads_there"),
    [
        ("eth0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\t0\t0\t0", True),
        ("eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0", False),
        ("eth0\tFEA9FEA9\t0202000A\t0007\t0\t0\t0\tFFFFFFFF\t0\t0\t0", True),
        ("", False),
    ],
)
def test_a_network_that_is_there_is_left_alone(line: str, leads_there: bool) -> None:
    assert dhcp.has_route(f"Iface\tDestination\n{line}\n") is leads_there


SERVER = """
set -e
ip link set lo up
ip link add server type veth peer name eth0
ip netns add {space}
trap 'kill $dnsmasq; ip netns del {space}' EXIT
ip link set server netns {space}
ip netns exec {space} sh -c 'ip addr add 10.77.0.1/24 dev server; ip link set server up; ip link set lo up'
ip netns exec {space} dnsmasq --conf-file=/dev/null --interface=server --bind-interfaces --port=0 --no-ping \\
  --user= --group= --dhcp-range=10.77.0.50,10.77.0.60 --dhcp-option=121,169.254.169.254/32,10.77.0.1 \\
  --dhcp-leasefile={leases} --pid-file= -k >/dev/null 2>&1 & dnsmasq=$!
sleep 0.5
mount -t sysfs none /sys
{python} -c '
import subprocess
from guest_agent.dhcp import Ephemeral
from guest_agent.machine import Machine, Settings
said = lambda words: subprocess.run(words.split(), capture_output=True).stdout.decode()
show = lambda: said("ip -4 -o addr show dev eth0")
route = lambda: said("ip route get 169.254.169.254")
with Ephemeral(Machine(Settings()), {{}}) as offer:
    assert offer.address in show(), show()
    assert "via 10.77.0.1" in route(), route()
assert show() == "", show()
print("leased", offer.address)
'
"""


@pytest.mark.root
def test_a_lease_from_a_real_server_leaves_nothing_behind(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("dnsmasq") is None or shutil.which("unshare") is None:
        pytest.skip("needs root, unshare and dnsmasq")
    script = SERVER.format(
        space=f"guestling-{os.getpid()}", leases=tmp_path / "leases", python=sys.executable
    )
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", script],
        capture_output=True, text=True, check=False, timeout=60, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    if "Operation not permitted" in done.stderr:
        pytest.skip("no network namespaces here")
    assert done.stdout.startswith("leased 10.77.0."), done.stderr
