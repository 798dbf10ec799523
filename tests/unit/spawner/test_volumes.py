"""Volumes and ports in and out of servers: states, refusals, what fails and what a kill leaves."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, select

from spawner import volumes
from spawner.api.cloud import Cloud
from spawner.compute.fake_node import FakeNode
from spawner.conductor import Caller
from spawner.empty_disk import empty_qcow2
from spawner.errors import Conflict, NotFound, SpawnerError
from spawner.service import open_cloud
from spawner.states import VmState
from spawner.store import events, servers
from spawner.store.servers import Flavor, Server
from spawner.store.tables import ACTIONS, ADDRESSES, DEVICE_SLOTS, NETWORKS, PORTS, VOLUME_ATTACHMENTS
from spawner.store.tables import VOLUMES as ROWS
from spawner.volumes import NewVolume

_numbers = count(1)


def _caller() -> Caller:
    return Caller("project-1", "user-1", f"req-{next(_numbers)}")


@dataclass
class Place:
    """A cloud with one node that runs one server."""

    cloud: Cloud
    node: FakeNode
    server: Server
    directory: Path

    async def status(self, volume_id: str) -> str:
        await self.cloud.volumes.settled()
        async with self.cloud.store.read() as connection:
            return str((await volumes.get(connection, volume_id)).status)

    async def volume(self, **wish: object) -> str:
        volume_id = await self.cloud.volumes.create(NewVolume(1, **wish), _caller())  # type: ignore[arg-type]  # by name
        assert await self.status(volume_id) == "available"
        return volume_id

    async def rows(self, table: Table) -> list[Any]:
        async with self.cloud.store.read() as connection:
            return list((await connection.execute(select(table))).all())


async def _open(directory: Path, node: FakeNode) -> Cloud:
    return await open_cloud(directory, [node], "http://127.0.0.1:1")


async def _close(cloud: Cloud) -> None:
    await cloud.conductor.close()
    await cloud.volumes.close()
    await cloud.store.close()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    node = FakeNode("host-1")
    cloud = await _open(tmp_path, node)
    flavor = Flavor("1", "m1.tiny", vcpus=1, ram_mib=64, disk_gib=0)
    server = Server("server-1", "web-1", "web-1", "project-1", "user-1", flavor, created_at=1.0)
    await cloud.conductor.create(server, _caller())
    await cloud.conductor.settled()
    found = Place(cloud, node, server, tmp_path)
    yield found
    await _close(found.cloud)


async def test_a_volume_is_made_attached_detached_and_deleted(place: Place) -> None:
    volume_id = await place.volume(name="data")
    path = place.directory / "volumes" / volume_id
    assert path.stat().st_mode & 0o777 == 0o600
    row = await place.cloud.volumes.attach(place.server, volume_id, _caller(), tag="db")
    assert (row.device, await place.status(volume_id)) == ("/dev/vdb", "in-use")
    assert place.node.plugged == {"server-1": {volume_id}}
    with pytest.raises(Conflict, match="must be available, it is in-use"):
        await place.cloud.volumes.attach(place.server, volume_id, _caller())
    with pytest.raises(Conflict, match="must not be attached"):
        await place.cloud.volumes.delete(volume_id, "project-1")
    await place.cloud.volumes.begin_detach(place.server, volume_id, _caller())
    assert await place.status(volume_id) == "available"
    assert place.node.plugged == {"server-1": set()}
    assert await place.rows(VOLUME_ATTACHMENTS) == []
    await place.cloud.volumes.delete(volume_id, "project-1")
    await place.cloud.volumes.settled()
    assert (await place.rows(ROWS), path.exists()) == ([], False)
    async with place.cloud.store.read() as connection:
        told = [event.type for event in await events.after(connection)]
    assert [kind for kind in told if "volume" in kind] == [
        "instance.volume_attach.start",
        "instance.volume_attach.end",
        "instance.volume_detach.start",
        "instance.volume_detach.end",
    ]


async def test_a_foreign_volume_is_not_there(place: Place) -> None:
    volume_id = await place.volume()
    with pytest.raises(NotFound):
        await place.cloud.volumes.delete(volume_id, "project-2")
    with pytest.raises(NotFound):
        await place.cloud.volumes.attach(replace(place.server, project_id="project-2"), volume_id, _caller())


async def test_a_failed_attach_leaves_the_server_and_the_volume_as_they_were(place: Place) -> None:
    volume_id = await place.volume()
    place.node.fail_plug = "no more slots"
    with pytest.raises(SpawnerError, match="no more slots"):
        await place.cloud.volumes.attach(place.server, volume_id, _caller())
    assert await place.status(volume_id) == "available"
    assert await place.rows(VOLUME_ATTACHMENTS) == await place.rows(DEVICE_SLOTS) == []
    async with place.cloud.store.read() as connection:
        assert (await servers.get(connection, "server-1")).vm_state is VmState.ACTIVE
        query = select(ACTIONS.c.result, ACTIONS.c.message).where(ACTIONS.c.action == "attach_volume")
        assert (await connection.execute(query)).all() == [("Error", "no more slots")]


async def test_a_guest_that_does_not_let_go_keeps_its_volume(place: Place) -> None:
    volume_id = await place.volume()
    await place.cloud.volumes.attach(place.server, volume_id, _caller())
    place.node.fail_plug = "the guest did not let go"
    await place.cloud.volumes.begin_detach(place.server, volume_id, _caller())
    assert await place.status(volume_id) == "in-use"
    assert len(await place.rows(VOLUME_ATTACHMENTS)) == 1


async def test_a_busy_server_takes_no_volume(place: Place) -> None:
    volume_id = await place.volume()
    async with place.cloud.store.write() as connection:
        await servers.change(connection, "server-1", 1.0, vm_state=VmState.RESCUED)
    with pytest.raises(Conflict, match="vm_state rescued"):
        await place.cloud.volumes.attach(place.server, volume_id, _caller())
    assert await place.status(volume_id) == "available"


async def test_with_its_server_a_volume_is_free_or_goes_too(place: Place) -> None:
    kept, gone = await place.volume(), await place.volume()
    await place.cloud.volumes.attach(place.server, kept, _caller())
    row = await place.cloud.volumes.attach(place.server, gone, _caller(), delete_with=True)
    assert row.device == "/dev/vdc"
    await place.cloud.conductor.delete("server-1", _caller())
    await place.cloud.conductor.settled()
    assert await place.status(kept) == "available"
    assert [row.id for row in await place.rows(ROWS)] == [kept]
    assert not (place.directory / "volumes" / gone).exists()
    assert await place.rows(VOLUME_ATTACHMENTS) == await place.rows(DEVICE_SLOTS) == []


def _qemu_io(path: Path, *commands: str) -> str:
    words = [word for command in commands for word in ("-c", command)]
    done = subprocess.run(
        ["qemu-io", "-f", "qcow2", *words, str(path)], check=True, capture_output=True, text=True
    )
    return done.stdout


async def test_what_a_volume_starts_from_is_in_it_and_it_grows(place: Place) -> None:
    source = await place.volume()
    _qemu_io(place.directory / "volumes" / source, "write -P 77 0 4096")
    copy = await place.volume(source_volume_id=source)
    await place.cloud.volumes.extend(copy, 2, _caller(), "project-1")
    assert await place.status(copy) == "available"
    seen = _qemu_io(place.directory / "volumes" / copy, "read -P 77 0 4096", "length")
    assert "2 GiB" in seen
    assert "Pattern verification failed" not in seen


@pytest.mark.parametrize(
    ("state", "attached", "after"),
    [
        ("creating", False, "available"),
        ("deleting", False, None),
        ("extending", False, "available"),
        ("attaching", True, "in-use"),
        ("detaching", True, "in-use"),
        ("attaching", False, "available"),
    ],
)
async def test_sp_06_a_killed_spawner_leaves_no_volume_in_between(
    place: Place, state: str, attached: bool, after: str | None
) -> None:
    volume_id = await place.volume()
    if attached:
        await place.cloud.volumes.attach(place.server, volume_id, _caller())
    async with place.cloud.store.write() as connection:
        await connection.execute(ROWS.update().values(status=state))
    await _close(place.cloud)
    place.node.plugged.clear()
    place.cloud = await _open(place.directory, place.node)
    await place.cloud.volumes.settled()
    if after is None:
        assert await place.rows(ROWS) == []
        return
    assert await place.status(volume_id) == after
    assert place.node.plugged == ({"server-1": {volume_id}} if attached else {})


async def _network(place: Place) -> str:
    async with place.cloud.store.write() as connection:
        await connection.execute(NETWORKS.insert().values(id="net-1", project_id="project-1", created_at=1.0))
        for number in (1, 2):
            await connection.execute(
                PORTS.insert().values(
                    id=f"port-{number}",
                    network_id="net-1",
                    project_id="project-1",
                    mac_address=f"fa:16:3e:00:00:0{number}",
                    created_at=1.0,
                )
            )
    return "net-1"


async def test_a_port_that_was_there_before_outlives_its_server(place: Place) -> None:
    network = await _network(place)
    await place.cloud.ports.attach_port(place.server, "port-1", _caller(), "inner")
    made = await place.cloud.ports.attach_network(place.server, network, [], _caller())
    await place.cloud.ports.attach_port(place.server, "port-2", _caller())
    assert place.node.plugged == {"server-1": {"port-1", made.id, "port-2"}}
    with pytest.raises(Conflict, match="still in use"):
        await place.cloud.ports.attach_port(place.server, "port-1", _caller())
    await place.cloud.ports.detach(place.server, "port-1", _caller())
    rows = {row.id: row for row in await place.rows(PORTS)}
    assert (rows["port-1"].device_id, rows["port-1"].status) == ("", "DOWN")
    await place.cloud.conductor.delete("server-1", _caller())
    await place.cloud.conductor.settled()
    rows = {row.id: row for row in await place.rows(PORTS)}
    assert sorted(rows) == ["port-1", "port-2"]
    assert rows["port-2"].device_id == ""
    assert await place.rows(DEVICE_SLOTS) == []


async def test_a_card_that_cannot_be_plugged_in_leaves_nothing(place: Place) -> None:
    network = await _network(place)
    place.node.fail_plug = "no"
    with pytest.raises(SpawnerError, match="no"):
        await place.cloud.ports.attach_network(place.server, network, [], _caller())
    assert sorted(row.id for row in await place.rows(PORTS)) == ["port-1", "port-2"]
    assert await place.rows(DEVICE_SLOTS) == await place.rows(ADDRESSES) == []


@pytest.mark.parametrize("size_gib", [1, 500, 20_000, 65_536])
def test_an_empty_disk_is_one_for_qemu(tmp_path: Path, size_gib: int) -> None:
    path = tmp_path / "disk"
    path.write_bytes(empty_qcow2(size_gib << 30))
    checked = subprocess.run(["qemu-img", "check", str(path)], capture_output=True, text=True, check=True)
    assert "No errors were found" in checked.stdout
    info = subprocess.run(["qemu-img", "info", str(path)], capture_output=True, text=True, check=True)
    assert f"({size_gib << 30} bytes)" in info.stdout


@pytest.mark.parametrize("size_bytes", [0, -1, (64 << 40) + 1])
def test_sp_11_a_disk_of_no_size_is_none(size_bytes: int) -> None:
    with pytest.raises(ValueError, match="is no size of a disk"):
        empty_qcow2(size_bytes)
