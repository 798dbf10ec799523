"""Volumes, cards and rescue as the guest sees them: plugged in and out, and named in its metadata."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from image_harness import boot, store
from image_harness.cloud import offer
from spawner import networks
from spawner.api.cloud import Cloud
from spawner.compute.qemu.node import QemuNode
from spawner.conductor import Caller
from spawner.images import ImageFiles
from spawner.service import open_cloud
from spawner.states import VmState
from spawner.store import servers
from spawner.store.engine import open_store
from spawner.store.servers import Flavor, Server
from spawner.store.tables import IMAGES
from spawner.volumes import NewVolume, get
from tests.boot import first_rows
from tests.boot.compute_guest import LEASE

pytestmark = [pytest.mark.boot, pytest.mark.timeout(300)]

SERVER = "11111111-2222-4333-8444-555555555555"
PORT, MAC = "22222222-2222-4333-8444-555555555555", "fa:16:3e:00:00:01"
# The first card's place, then those of what comes, as the guest sees them.
PLACES = {
    "pc": ("0000:00:03.0", "0000:00:08.0", "0000:00:09.0", "0000:00:0a.0"),
    "q35": ("0000:01:00.0", "0000:02:00.0", "0000:03:00.0", "0000:04:00.0"),
}
TINY = Flavor("2", "m1.tiny", vcpus=1, ram_mib=384, disk_gib=0)
_requests = count(1)


class Guest:
    """A cloud with one server in it, and what its guest says to commands."""

    def __init__(self, cloud: Cloud, project: str) -> None:
        self.cloud = cloud
        self.project = project

    def caller(self) -> Caller:
        return Caller(self.project, "user-1", f"req-{next(_requests)}")

    async def server(self) -> Server:
        async with self.cloud.store.read() as connection:
            return await servers.get(connection, SERVER)

    async def says(self, command: str) -> str:
        answer = await self.cloud.conductor.execute(SERVER, command, 60)
        assert answer.status == 0, answer
        return answer.stdout.decode()

    async def metadata(self) -> Any:
        url = "http://169.254.169.254/openstack/latest/meta_data.json"
        program = f"import urllib.request as u; print(u.urlopen({url!r}).read().decode())"
        return json.loads(await self.says(f'python3 -c "{program}"'))

    async def devices(self) -> list[dict[str, Any]]:
        return list((await self.metadata())["devices"])

    async def volume_status(self, volume_id: str) -> str:
        await self.cloud.volumes.settled()
        async with self.cloud.store.read() as connection:
            return str((await get(connection, volume_id)).status)


@pytest.fixture
def machine() -> str:
    return "pc"


@pytest.fixture
async def guest(tmp_path: Path, tiny: store.Image, host: boot.Host, machine: str) -> AsyncIterator[Guest]:
    async with AsyncExitStack() as stack:
        opened = await open_store(str(tmp_path / "spawner.db"))
        stack.push_async_callback(opened.close)
        files = ImageFiles(tmp_path / "images")
        backend = host.network.backend
        node = QemuNode("host-1", tmp_path / "instances", opened, files, host.accelerator, backend)
        cloud = await open_cloud(tmp_path, [node], "http://127.0.0.1:1", opened)
        stack.push_async_callback(node.close, grace_s=0)
        stack.push_async_callback(cloud.volumes.close)
        stack.push_async_callback(cloud.conductor.close)
        await offer(cloud, tiny, print)
        async with opened.read() as connection:
            image = await first_rows.tiny_image(connection)
            project = await first_rows.project(connection)
        await _ask_for(cloud, hw_machine_type=machine)
        async with opened.write() as connection:
            network = await first_rows.private_network(connection)
            await networks.add_port(
                connection,
                port_id=PORT,
                network_id=network,
                project_id=project,
                mac=MAC,
                now=1.0,
                device_id=SERVER,
            )
        await cloud.conductor.create(
            Server(SERVER, "web-1", "web-1", project, "user-1", TINY, created_at=1.0, image_id=image),
            Caller(project, "user-1", "req-create"),
        )
        await cloud.conductor.settled()
        found = Guest(cloud, project)
        server = await found.server()
        assert server.vm_state is VmState.ACTIVE, server.fault
        # The agent gave its lease back, and nothing in the tiny image asks for another.
        await found.says(LEASE)
        yield found


async def _ask_for(cloud: Cloud, **properties: str) -> None:
    async with cloud.store.write() as connection:
        row = (await connection.execute(select(IMAGES).where(IMAGES.c.name == "tiny"))).one()
        changed = {**row.properties, **properties}
        await connection.execute(IMAGES.update().where(IMAGES.c.id == row.id).values(properties=changed))


DISKS = "for d in /sys/block/vd*; do echo ${d##*/} $(cat $d/size) $(cat $d/serial); done"
CARDS = "cat /sys/class/net/*/address"


@pytest.mark.parametrize("machine", ["pc", "q35"])
async def test_a_guest_sees_what_is_plugged_in_and_out(guest: Guest, machine: str) -> None:
    nic_at, *at = PLACES[machine]
    nic = {"type": "nic", "bus": "pci", "address": nic_at, "mac": MAC, "vf_trusted": False}
    volumes, ports = guest.cloud.volumes, guest.cloud.ports
    server = await guest.server()
    before = (await guest.says(DISKS)).splitlines()
    assert await guest.devices() == [nic]

    volume_id = await volumes.create(NewVolume(1, name="data"), guest.caller())
    await volumes.settled()
    row = await volumes.attach(server, volume_id, guest.caller(), tag="database")
    await guest.says("until [ -e /sys/block/vdb ]; do sleep 0.1; done")
    assert (await guest.says(DISKS)).splitlines() == [*before, f"vdb {1 << 21} {volume_id[:20]}"]
    first, disk = await guest.devices()
    assert first == nic
    assert disk == {
        "type": "disk",
        "bus": "pci",
        "address": at[0],
        "serial": volume_id,
        "tags": ["database"],
    }
    assert (await guest.says("readlink -f /sys/block/vdb/device/..")).rstrip().endswith(at[0])
    assert row.device == "/dev/vdb"
    await guest.says("printf written-by-the-guest | dd of=/dev/vdb bs=512 conv=sync,fsync 2>/dev/null")

    await volumes.extend(volume_id, 2, guest.caller(), guest.project)
    assert await guest.volume_status(volume_id) == "in-use"
    assert (await guest.says("cat /sys/block/vdb/size")).strip() == str(1 << 22)

    async with guest.cloud.store.read() as connection:
        network = await first_rows.private_network(connection)
    for tag in ("inner", "outer"):
        port = await ports.attach_network(server, network, [], guest.caller(), tag)
        await guest.says(f"until {CARDS} | grep -q {port.mac_address}; do sleep 0.1; done")
        place = f"readlink -f $(dirname $(grep -l {port.mac_address} /sys/class/net/*/address))/device/.."
        assert (await guest.says(place)).rstrip().endswith(at[1 if tag == "inner" else 2])
    found = [device for device in await guest.devices() if device["type"] == "nic"]
    assert [(each["address"], each.get("tags")) for each in found] == [
        (nic_at, None),
        (at[1], ["inner"]),
        (at[2], ["outer"]),
    ]
    await ports.detach(server, port.id, guest.caller())
    assert port.mac_address not in await guest.says(CARDS)

    await volumes.begin_detach(server, volume_id, guest.caller())
    assert await guest.volume_status(volume_id) == "available"
    assert (await guest.says(DISKS)).splitlines() == before
    await volumes.attach(server, volume_id, guest.caller())
    await guest.says("until [ -e /sys/block/vdb ]; do sleep 0.1; done")
    assert await guest.says("dd if=/dev/vdb bs=20 count=1 2>/dev/null") == "written-by-the-guest"


async def test_a_rescued_guest_has_its_own_disk_as_the_second_one(guest: Guest) -> None:
    async with guest.cloud.store.read() as connection:
        image = await first_rows.tiny_image(connection)
    own = ["printf my-own-disk | dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null", "sync"]
    await guest.says("; ".join(own))
    await guest.cloud.conductor.rescue(SERVER, image, guest.caller())
    await guest.cloud.conductor.settled()
    server = await guest.server()
    assert (server.vm_state, server.fault) == (VmState.RESCUED, None)
    first = "dd if=/dev/%s bs=11 count=1 2>/dev/null"
    assert "my-own-disk" not in await guest.says(first % "vda")
    assert await guest.says(first % "vdb") == "my-own-disk"
    await guest.cloud.conductor.act(SERVER, "unrescue", guest.caller())
    await guest.cloud.conductor.settled()
    assert (await guest.server()).vm_state is VmState.ACTIVE
    assert await guest.says(first % "vda") == "my-own-disk"
    assert "vdb" not in await guest.says("ls /sys/block")


async def test_an_image_that_asks_for_scsi_gets_it(guest: Guest) -> None:
    await _ask_for(guest.cloud, hw_disk_bus="scsi", img_config_drive="mandatory")
    await guest.cloud.conductor.act(SERVER, "hard-reboot", guest.caller())
    await guest.cloud.conductor.settled()
    assert (await guest.server()).vm_state is VmState.ACTIVE
    # Disks are of type 0, CDs of type 5, as SCSI numbers them; its kernel may have a driver for neither.
    kinds = await guest.says("modprobe virtio_scsi; sleep 1; cat /sys/bus/scsi/devices/*:*:*:*/type")
    assert sorted(kinds.split()) == ["0", "5"]
    assert "vd" not in await guest.says("ls /sys/block")


async def test_what_is_typed_on_the_console_is_carried_out(guest: Guest) -> None:
    console = await guest.cloud.conductor.console(SERVER)
    await guest.says("true")  # the shell on the console comes after the agent, as the answers do
    seen = b""
    async with asyncio.timeout(60):
        while b"# " not in seen:
            seen += await console.read()
        await console.write(b"echo typed-$((6*7))\n")
        while b"typed-42" not in seen:
            seen += await console.read()
    console.close()
