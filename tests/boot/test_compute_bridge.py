"""Two guests on one bridge: they reach each other and their own metadata, and cannot pass for one another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from image_harness import boot, store
from spawner.compute.driver import Nic
from spawner.compute.qemu import process_marks
from spawner.compute.qemu.run_directory import RunDirectory, is_held
from spawner.compute.qemu.vm import Vm
from spawner.errors import NetworkFailed
from spawner.network.bridge import BridgeNetwork, BridgePort
from spawner.network.bridge_networks import BridgeNetworks
from spawner.network.guest_networks import PortPlan
from tests.boot.compute_guest import MARK, image, said, spec

pytestmark = [
    pytest.mark.boot,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="a bridge needs root"),
    pytest.mark.skipif(not shutil.which("nft"), reason="nft is not installed; ./dev test installs it"),
    pytest.mark.skipif(
        not shutil.which("dnsmasq"), reason="dnsmasq is not installed; ./dev test installs it"
    ),
]

ALICE = ("52:54:00:77:00:05", IPv4Address("10.77.0.5"))
BOB = ("52:54:00:77:00:06", IPv4Address("10.77.0.6"))
FORGED_OF_EACH = 20

COMMON = f"""
import json, socket, subprocess, time, urllib.request
say = lambda **what: print({MARK.decode()!r} + json.dumps(what), flush=True)
metadata = urllib.request.urlopen("http://169.254.169.254/me", timeout=20).read().decode()
routes = subprocess.run(["ip", "route"], capture_output=True, text=True).stdout
"""

BOB_PROGRAM = (
    COMMON
    + """
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
raw.bind(("eth0", 0)); raw.settimeout(60)
server = socket.socket(); server.bind(("", 7)); server.listen(1)
peer, address = server.accept()
peer.sendall(b"hello alice")
forged = honest = 0
end = time.monotonic() + 60
while time.monotonic() < end:
    frame = raw.recv(2048)
    forged += b"FORGED" in frame
    honest += b"HONEST" in frame
    if b"FINISHED" in frame: break
say(metadata=metadata, peer=address[0], forged=forged, honest=honest)
"""
)

ALICE_PROGRAM = (
    COMMON
    + f"FORGED_OF_EACH = {FORGED_OF_EACH}\n"
    + """
import struct
MINE, BOBS = bytes.fromhex("525400770005"), bytes.fromhex("525400770006")
mine, bobs, gateway = (socket.inet_aton(f"10.77.0.{n}") for n in (5, 6, 1))
end = time.monotonic() + 40
while time.monotonic() < end:
    try:
        bob = socket.create_connection(("10.77.0.6", 7), timeout=5); break
    except OSError: time.sleep(0.2)
heard = bob.recv(100).decode()
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); raw.bind(("eth0", 0))
def ip(source, payload, sport=9, dport=9):
    udp = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, source, bobs)
    total = sum(struct.unpack("!10H", head)); total = (total & 0xffff) + (total >> 16); total += total >> 16
    return head[:10] + struct.pack("!H", ~total & 0xffff) + head[12:] + udp
def arp(mac, source):
    return struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 2, mac, source, BOBS, bobs) + b"FORGED"
def frame(source, kind, payload): return BOBS + source + struct.pack("!H", kind) + payload
FORGED = [
    frame(bytes.fromhex("525400770007"), 0x0800, ip(mine, b"FORGED source mac")),
    frame(MINE, 0x0800, ip(socket.inet_aton("10.77.0.7"), b"FORGED source address")),
    frame(MINE, 0x0800, ip(gateway, b"FORGED gateway")),
    frame(MINE, 0x0800, ip(socket.inet_aton("169.254.169.254"), b"FORGED metadata service")),
    frame(MINE, 0x0806, arp(MINE, gateway)),
    frame(MINE, 0x0806, arp(bytes.fromhex("525400770007"), mine)),
    frame(MINE, 0x0800, ip(mine, b"FORGED lease", sport=67, dport=68)),
    frame(MINE, 0x86dd, b"FORGED router advertisement".ljust(60)),
    frame(MINE, 0x8100, struct.pack("!HH", 5, 0x0800) + ip(mine, b"FORGED vlan")),
]
for _ in range(FORGED_OF_EACH):
    for one in FORGED: raw.send(one)
    raw.send(frame(MINE, 0x0800, ip(mine, b"HONEST")))
for _ in range(5):
    time.sleep(0.3); raw.send(frame(MINE, 0x0800, ip(mine, b"FINISHED")))
say(metadata=metadata, heard=heard, kinds=len(FORGED), routes=routes)
"""
)

Seen = tuple[dict[str, object], int]


async def _guest(
    tiny: store.Image, host: boot.Host, network: BridgeNetwork, who: tuple[str, IPv4Address], program: str
) -> Seen:
    mac, address = who
    port = await network.add_port(mac, address)
    run = RunDirectory.create()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nyou are " + mac.encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, run.metadata_socket)
    with image(tiny, program, network=True) as initrd:
        guest = spec(tiny, initrd, nics=(Nic(mac),), name=f"guest-{mac[-2:]}")
        async with (
            server,
            Vm(guest, run, host.accelerator, [port.attach(run.metadata_socket, run.path)]) as vm,
        ):
            ending = await vm.wait()
            console = vm.channels.console_output()
    assert said(console), (ending, console.decode(errors="replace")[-3000:])
    return said(console), await _dropped_and_removed(network, port)


async def _dropped_and_removed(network: BridgeNetwork, port: BridgePort) -> int:
    dropped = await network.dropped(port)
    await network.remove_port(port)
    return dropped


async def _both(tiny: store.Image, host: boot.Host) -> tuple[Seen, Seen]:
    async with BridgeNetwork(IPv4Network("10.77.0.0/24")) as network:
        return await asyncio.gather(
            _guest(tiny, host, network, ALICE, ALICE_PROGRAM), _guest(tiny, host, network, BOB, BOB_PROGRAM)
        )


def test_two_guests_reach_each_other_and_no_forged_frame_passes(tiny: store.Image, host: boot.Host) -> None:
    (alice, alice_dropped), (bob, bob_dropped) = asyncio.run(_both(tiny, host))
    assert alice.pop("metadata") == "you are 52:54:00:77:00:05"
    assert bob.pop("metadata") == "you are 52:54:00:77:00:06"
    assert alice["heard"] == "hello alice"
    assert (bob["peer"], bob["forged"]) == ("10.77.0.5", 0)
    assert isinstance(bob["honest"], int)
    assert bob["honest"] >= FORGED_OF_EACH  # his kernel's answers to some of them bear the word too
    assert isinstance(alice["kinds"], int)
    assert alice_dropped >= alice["kinds"] * FORGED_OF_EACH
    assert bob_dropped < FORGED_OF_EACH  # a few of its kernel's own: IPv6 neighbour discovery


NO_PORTS = (
    (ALICE[0], "10.78.0.5"),
    (ALICE[0], "10.77.0.1"),
    ("52:54:00:77:00:05; flush ruleset", "10.77.0.5"),
)


async def test_a_port_that_cannot_be_is_refused() -> None:
    async with BridgeNetwork(IPv4Network("10.77.0.0/24")) as network:
        for mac, address in NO_PORTS:
            with pytest.raises(NetworkFailed, match="cannot be a port of"):
                await network.add_port(mac, IPv4Address(address))


async def test_a_gateway_keeps_its_mac_when_ports_come_and_go() -> None:
    """Guests have it in their tables of neighbours."""
    async with BridgeNetwork(IPv4Network("10.77.0.0/24")) as network:

        async def mac() -> str:
            listed = await network._command("ip", "-j", "link", "show", "br0")
            return str(json.loads(listed)[0]["address"])

        seen = {await mac()}
        ports = []
        for number in range(5, 13):
            place = network.plan_port(f"52:54:00:77:00:{number:02x}", IPv4Address(f"10.77.0.{number}"))
            await network.open_port(place)
            ports.append(place)
            seen.add(await mac())
        for place in ports:
            await network.remove_port(place)
            seen.add(await mac())
        assert seen == {"02:00:0a:4d:00:01"}


async def test_nothing_is_left_of_a_network() -> None:
    network = BridgeNetwork(IPv4Network("10.77.0.0/24"))
    await network.start()
    await network.add_port(*ALICE)
    processes = [process.pid for process in network._children]
    directory = network.run
    await network.close()
    await network.close()
    assert not directory.exists()
    assert not [pid for pid in processes if Path(f"/proc/{pid}").exists()]


def _plan(number: int, network_id: str = "net-1") -> PortPlan:
    address, subnet = IPv4Address(f"10.77.0.{number}"), IPv4Network("10.77.0.0/24")
    return PortPlan(f"port-{number}", network_id, f"52:54:00:77:00:{number:02x}", address, subnet)


async def _connect(networks: BridgeNetworks, plan: PortPlan, place: Path) -> None:
    attachment = await networks.connect(plan, place / "metadata.sock", place, is_first=True)
    assert attachment.tap_fd is not None
    os.close(attachment.tap_fd)


async def test_sp_06_a_network_outlives_its_process_with_the_ports_that_are_still_wanted(
    tmp_path: Path,
) -> None:
    records = tmp_path / "bridges"
    first = BridgeNetworks(records)
    for plan in (_plan(5), _plan(6), _plan(7, "net-2")):
        await _connect(first, plan, tmp_path)
    await first.close()

    second = BridgeNetworks(records)
    await second.adopt({"port-5"})
    assert [path.name for path in records.iterdir()] == ["net-1.json"]
    assert await second.dropped("port-5") == 0
    with pytest.raises(NetworkFailed, match="port port-6 is not connected"):
        await second.dropped("port-6")
    await _connect(second, _plan(8), tmp_path)  # its tap is none that is there
    run = Path(json.loads((records / "net-1.json").read_text())["run"])
    for port_id in ("port-5", "port-8"):
        await second.disconnect(port_id)
    assert not run.exists()
    assert list(records.iterdir()) == []


async def test_a_network_whose_dhcp_server_died_gets_a_new_one(tmp_path: Path) -> None:
    first = BridgeNetworks(tmp_path / "bridges")
    await _connect(first, _plan(5), tmp_path)
    await first.close()
    run = Path(json.loads((tmp_path / "bridges" / "net-1.json").read_text())["run"])
    server = f"--dhcp-hostsdir={run}/"
    assert process_marks.end(server)
    second = BridgeNetworks(tmp_path / "bridges")
    await second.adopt({"port-5"})
    assert len(list(process_marks.marked(server))) == 1
    await second.disconnect("port-5")
    assert list(process_marks.marked(server)) == []


HOLDER, DHCP = "guestling-bridge-{name}.", "--dhcp-hostsdir={run}/"


def _run(records: Path) -> Path:
    return Path(json.loads((records / "net-1.json").read_text())["run"])


def _processes(run: Path) -> dict[str, int]:
    """The network's two processes."""
    marks = {each: each.format(name=run.name, run=run) for each in (HOLDER, DHCP)}
    return {each: pid for each, mark in marks.items() for pid, _ in process_marks.marked(mark)}


def _namespace(pid: int) -> int:
    return Path(f"/proc/{pid}/ns/net").stat().st_ino


async def _until_replaced(run: Path, before: dict[str, int], namespace: int, *killed: str) -> None:
    """Returns when both processes are there again, in this namespace, and those are not the killed ones."""
    for _try in range(400):
        now = _processes(run)
        with contextlib.suppress(FileNotFoundError):
            is_there = len(now) == len(before) and {_namespace(pid) for pid in now.values()} == {namespace}
            if is_there and all(now[each] != before[each] for each in killed):
                return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{now} are there, not in {namespace}")


@pytest.mark.parametrize("killed", [(HOLDER,), (DHCP,), (HOLDER, DHCP)], ids=["holder", "dhcp", "both"])
async def test_a_killed_process_of_a_network_is_replaced_at_once_in_the_same_namespace(
    tmp_path: Path, killed: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    records = tmp_path / "bridges"
    networks = BridgeNetworks(records)
    await _connect(networks, _plan(5), tmp_path)
    run = _run(records)
    before = _processes(run)
    namespace = _namespace(before[HOLDER])
    process_marks.kill(*(each.format(name=run.name, run=run) for each in killed))
    await _until_replaced(run, before, namespace, *killed)
    assert await networks.dropped("port-5") == 0  # the filter is there still
    await _connect(networks, _plan(6), tmp_path)
    assert caplog.text.count("had ended, and was started again") == len(killed)
    for port_id in ("port-5", "port-6"):
        await networks.disconnect(port_id)
    assert (_processes(run), run.exists()) == ({}, False)


async def test_a_holder_that_is_a_child_is_replaced_too(tmp_path: Path) -> None:
    networks = BridgeNetworks()
    await _connect(networks, _plan(5), tmp_path)
    run = networks._networks["net-1"].bridge.run
    before = _processes(run)
    process_marks.kill(HOLDER.format(name=run.name))
    await networks._networks["net-1"].bridge.loss()
    await _connect(networks, _plan(6), tmp_path)  # at the latest now
    after = _processes(run)
    assert after[HOLDER] != before[HOLDER]
    assert _namespace(after[HOLDER]) == _namespace(before[DHCP])
    await networks.close()
    assert (_processes(run), run.exists()) == ({}, False)


@pytest.mark.parametrize("is_swept", [False, True], ids=["kept", "swept"])
async def test_a_holder_that_was_killed_between_two_lives_is_replaced_and_its_directory_held(
    tmp_path: Path, is_swept: bool
) -> None:
    records = tmp_path / "bridges"
    first = BridgeNetworks(records)
    await _connect(first, _plan(5), tmp_path)
    await first.close()
    run = _run(records)
    before = _processes(run)
    assert process_marks.end(HOLDER.format(name=run.name))
    if is_swept:
        shutil.rmtree(run)  # as `sweep` of any other spawner does: its holder's was the lock
    second = BridgeNetworks(records)
    namespace = _namespace(before[DHCP])
    await second.adopt({"port-5"})
    after = _processes(run)
    assert {_namespace(pid) for pid in after.values()} == {namespace}
    assert await second.dropped("port-5") == 0
    assert (run / "metadata" / "10.77.0.5").readlink() == tmp_path / "metadata.sock"
    assert [each.read_text() for each in (run / "hosts").iterdir()] == [
        "52:54:00:77:00:05,10.77.0.5,infinite\n"
    ]
    await second.close()
    assert process_marks.end(DHCP.format(run=run))
    assert is_held(run)  # by the new holder, so that nobody sweeps it away
    third = BridgeNetworks(records)
    await third.adopt({"port-5"})
    await third.disconnect("port-5")
    assert (_processes(run), run.exists()) == ({}, False)


async def test_a_network_that_cannot_be_mended_says_what_to_do_and_is_made_anew(tmp_path: Path) -> None:
    records = tmp_path / "bridges"
    networks = BridgeNetworks(records)
    await _connect(networks, _plan(5), tmp_path)
    run = _run(records)
    shutil.rmtree(run)
    process_marks.kill(HOLDER.format(name=run.name))
    await networks._networks["net-1"].bridge.loss()
    with pytest.raises(
        NetworkFailed, match=r"10\.77\.0\.0/24 has ended and cannot be replaced .*Stop the servers"
    ):
        await _connect(networks, _plan(6), tmp_path)
    await networks.disconnect("port-5")
    assert _processes(run) == {}
    await _connect(networks, _plan(6), tmp_path)
    await networks.disconnect("port-6")


async def test_what_a_reboot_left_on_record_is_forgotten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = BridgeNetworks(tmp_path / "bridges")
    await _connect(first, _plan(5), tmp_path)
    await first.close()
    record = tmp_path / "bridges" / "net-1.json"
    run = Path(json.loads(record.read_text())["run"])
    assert process_marks.end(f"guestling-bridge-{run.name}.", f"--dhcp-hostsdir={run}/")
    second = BridgeNetworks(tmp_path / "bridges")
    await second.adopt({"port-5"})
    assert not record.exists()
    assert not run.exists()
    assert "stop and start the servers of these ports: port-5" in caplog.text  # should their guests run on
    await _connect(second, _plan(5), tmp_path)
    await second.disconnect("port-5")


async def test_a_record_that_cannot_be_read_is_left_and_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "net-1.json").write_text("{")
    await BridgeNetworks(tmp_path).adopt({"port-5"})
    assert "net-1.json cannot be taken over" in caplog.text
    assert (tmp_path / "net-1.json").exists()
