"""A cloud on bridges: servers of one network reach each other and their own metadata, and cannot forge."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from image_harness import boot, store
from image_harness.cloud import offer
from spawner import devices, networks
from spawner.api.cloud import Cloud
from spawner.compute.qemu.node import QemuNode
from spawner.conductor import Caller
from spawner.images import ImageFiles
from spawner.network.bridge_networks import BridgeNetworks, why_not
from spawner.service import open_cloud
from spawner.store import servers
from spawner.store.engine import open_store
from spawner.store.servers import Flavor, Server
from spawner.store.tables import NETWORKS, SUBNETS
from tests.boot import first_rows
from tests.boot.compute_guest import LEASE

pytestmark = [
    pytest.mark.boot,
    pytest.mark.root,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(why_not()), reason=f"{why_not()}; ./dev test as root has what it needs"),
]

NAMES = ("alice", "bob")
TINY = Flavor("2", "m1.tiny", vcpus=1, ram_mib=384, disk_gib=0)
OTHER = LEASE.replace("eth0", "eth1")
METADATA = "wget -q -O - http://169.254.169.254/openstack/latest/meta_data.json"
FORGED = 20
FORGE = f"""python3 -c '
import socket
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); raw.bind(("eth0", 0))
mac = bytes.fromhex(open("/sys/class/net/eth0/address").read().strip().replace(":", ""))
frame = b"\\xff" * 6 + mac + b"\\x08\\x06" + bytes.fromhex("0001080006040002")
for _ in range({FORGED}):
    raw.send(frame + mac + socket.inet_aton("%s") + mac + socket.inet_aton("%s"))
'"""


class Pair:
    """Two servers by name."""

    def __init__(self, cloud: Cloud, bridges: BridgeNetworks, ids: dict[str, str]) -> None:
        self.cloud = cloud
        self.bridges = bridges
        self.ids = ids
        self.ports: dict[str, str] = {}
        self.address: dict[str, str] = {}

    async def says(self, name: str, command: str) -> str:
        answer = await self.cloud.conductor.execute(self.ids[name], command, 90)
        assert answer.status == 0, answer
        return answer.stdout.decode()


@pytest.fixture
async def pair(tmp_path: Path, tiny: store.Image, host: boot.Host) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        opened = await open_store(str(tmp_path / "spawner.db"))
        stack.push_async_callback(opened.close)
        bridges = BridgeNetworks()
        node = QemuNode(
            "host-1", tmp_path / "instances", opened, ImageFiles(tmp_path / "images"), host.accelerator,
            host.network.backend, guest_networks=bridges,
        )  # fmt: skip
        cloud = await open_cloud(tmp_path, [node], "http://127.0.0.1:1", opened)
        stack.push_async_callback(node.close)
        stack.push_async_callback(cloud.conductor.close)
        await offer(cloud, tiny, print)
        found = Pair(cloud, bridges, {name: cloud.new_id() for name in NAMES})
        async with opened.write() as connection:
            image = await first_rows.tiny_image(connection)
            project = await first_rows.project(connection)
            network = await first_rows.private_network(connection)
            await connection.execute(
                NETWORKS.insert().values(id="back", name="back", project_id=project, created_at=2.0)
            )
            await connection.execute(
                SUBNETS.insert().values(
                    id="back-v4", project_id=project, network_id="back", ip_version=4, cidr="10.9.0.0/24",
                    gateway_ip="10.9.0.1", allocation_pools=[{"start": "10.9.0.5", "end": "10.9.0.9"}],
                    created_at=2.0,
                )
            )  # fmt: skip
            for name, server_id in found.ids.items():
                found.ports[name] = cloud.new_id()
                given = await networks.add_port(
                    connection, port_id=found.ports[name], network_id=network, project_id=project,
                    mac=networks.mac_address(cloud.random(3)), now=1.0, device_id=server_id,
                    device_owner=devices.OWNER,
                )  # fmt: skip
                found.address[name] = given[0].ip_address
        for name, server_id in found.ids.items():
            server = Server(server_id, name, name, project, "user-1", TINY, created_at=1.0, image_id=image)
            await cloud.conductor.create(server, Caller(project, "user-1", f"req-{name}"))
        await cloud.conductor.settled()
        await asyncio.gather(*(found.says(name, LEASE) for name in NAMES))
        yield found


async def test_servers_of_a_network_reach_each_other_and_cannot_forge(pair: Pair) -> None:
    for name in NAMES:
        assert json.loads(await pair.says(name, METADATA))["uuid"] == pair.ids[name]
    alice, bob = pair.address["alice"], pair.address["bob"]
    assert "1 packets received" in await pair.says("alice", f"ping -c 1 -W 20 {bob}")
    before = await pair.bridges.dropped(pair.ports["alice"])
    await pair.says("alice", FORGE % (bob, alice))
    assert await pair.bridges.dropped(pair.ports["alice"]) - before >= FORGED

    # A second card, on another network, while both run.
    async with pair.cloud.store.read() as connection:
        found = {name: await servers.get(connection, server_id) for name, server_id in pair.ids.items()}
    inner = {}
    for name, server in found.items():
        port = await pair.cloud.ports.attach_network(
            server, "back", [], Caller(server.project_id, "user-1", f"req-back-{name}")
        )
        inner[name] = port.fixed_ips[0]["ip_address"]
        await pair.says(name, f"until [ -e /sys/class/net/eth1 ]; do sleep 0.1; done\n{OTHER}")
    assert inner["alice"] in await pair.says("alice", "ip -4 addr show dev eth1")
    assert "1 packets received" in await pair.says("alice", f"ping -c 1 -W 20 -I eth1 {inner['bob']}")
