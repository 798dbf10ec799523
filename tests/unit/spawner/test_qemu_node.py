"""The node's own part on a QEMU that a stub plays: disks, records, and what happens on a full disk."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import insert, update

from spawner.compute.driver import Bus
from spawner.compute.qemu import guest_record
from spawner.compute.qemu.accelerator import Accelerator
from spawner.compute.qemu.node import QemuNode
from spawner.conductor import Caller, Conductor
from spawner.errors import HostInUse, NotFound
from spawner.images import ImageFiles
from spawner.network.namespace import Namespace
from spawner.states import PowerState
from spawner.store import events, servers
from spawner.store.engine import Store, open_store
from spawner.store.servers import Flavor, Server
from spawner.store.tables import IMAGES

pytestmark = pytest.mark.skipif(
    shutil.which("qemu-img") is None, reason="qemu-img is not installed; ./dev test installs it"
)
SERVER = "10000000-0000-0000-0000-000000000001"
IMAGE = "20000000-0000-0000-0000-000000000001"
SMALL = Flavor("1", "small", vcpus=1, ram_mib=64, disk_gib=1)
_requests = itertools.count(1)


def _caller() -> Caller:
    return Caller("project", "user", f"req-{next(_requests)}")


def _server() -> Server:
    return Server(SERVER, "web", "web", "project", "user", SMALL, image_id=IMAGE, created_at=1.0)


async def _disk() -> AsyncIterator[bytes]:
    yield bytes(1 << 20)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(str(tmp_path / "spawner.db"))
    await ImageFiles(tmp_path / "images").receive(IMAGE, "raw", _disk())
    async with opened.write() as connection:
        await connection.execute(
            insert(IMAGES).values(
                id=IMAGE, name="tiny", status="active", owner="project", disk_format="raw",
                container_format="bare", properties={}, tags=[], created_at=1.0,
            )
        )  # fmt: skip
    yield opened
    await opened.close()


@pytest.fixture
def play(stub: str, public: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stub is the host's QEMU; a file beside it says which mode."""
    (public / "bin").mkdir()
    program = Path(shutil.copy(stub, public / "bin" / "qemu-system-x86_64"))
    monkeypatch.setenv("PATH", f"{public / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("GUESTLING_RUN_DIR", str(public / "run"))
    return program.with_name(f"{program.name}.mode")


def _node(tmp_path: Path, store: Store, directory: Path, *, outlive: bool = False) -> QemuNode:
    files = ImageFiles(tmp_path / "images")
    accelerator = Accelerator("tcg", "", 0.0)
    return QemuNode("host-1", directory, store, files, accelerator, Namespace(), outlive=outlive)


def _conductor(store: Store, node: QemuNode) -> Conductor:
    return Conductor(store, [node], clock=lambda: 2.0, new_id=lambda: str(uuid.uuid4()))


async def _with_server(store: Store, node: QemuNode) -> Conductor:
    """A conductor of this node that has made the server, or has failed to."""
    conductor = _conductor(store, node)
    await conductor.start()
    await conductor.create(_server(), _caller())
    await conductor.settled()
    return conductor


async def _get(store: Store) -> Server:
    async with store.read() as connection:
        return await servers.get(connection, SERVER)


@pytest.mark.parametrize("outlive", [True, False])
async def test_sp_07_a_guest_without_space_is_paused_and_can_go_on(
    tmp_path: Path, store: Store, play: Path, outlive: bool
) -> None:
    play.write_text("no-space")
    node = _node(tmp_path, store, tmp_path / "instances", outlive=outlive)
    conductor = await _with_server(store, node)
    told: list[events.Event] = []
    for _ in range(1000):
        async with store.read() as connection:
            told = [event for event in await events.after(connection) if event.type == "instance.pause.end"]
        if told:
            break
        await asyncio.sleep(0.01)
    assert [event.payload["why"] for event in told] == ["no space"]
    server = await _get(store)
    assert (server.status, server.power_state) == ("PAUSED", PowerState.PAUSED)
    await conductor.act(SERVER, "unpause", _caller())
    await conductor.settled()
    assert (await _get(store)).status == "ACTIVE"
    assert await node.running() == {SERVER: PowerState.RUNNING}
    await conductor.delete(SERVER, _caller())
    await conductor.settled()
    assert list((tmp_path / "instances").iterdir()) == []
    await node.close()


@pytest.fixture
def full(public: Path) -> Iterator[Path]:
    """A directory on a file system with no room for an overlay."""
    where = public / "full"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "full", where], check=True)
    yield where
    subprocess.run(["umount", where], check=True)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
async def test_sp_07_a_server_that_finds_the_disk_full_is_an_error_and_leaves_nothing(
    tmp_path: Path, store: Store, play: Path, full: Path, public: Path
) -> None:
    assert not play.exists()
    node = _node(tmp_path, store, full / "instances")
    await _with_server(store, node)
    server = await _get(store)
    assert server.status == "ERROR"
    assert server.fault is not None
    assert "No space left" in server.fault["details"]
    assert list((full / "instances").iterdir()) == []
    assert list((public / "run").iterdir()) == []
    await node.close()


async def test_sp_02_a_qemu_that_dies_at_once_is_the_servers_fault_with_its_last_words(
    tmp_path: Path, store: Store, play: Path, public: Path
) -> None:
    play.write_text("dies")
    node = _node(tmp_path, store, tmp_path / "instances", outlive=True)
    await _with_server(store, node)
    server = await _get(store)
    assert server.status == "ERROR"
    assert server.fault is not None
    assert "stub: bad argument" in server.fault["details"]
    assert list((tmp_path / "instances").iterdir()) == []
    assert list((public / "run").iterdir()) == []
    await node.close()


@pytest.mark.parametrize(("mode", "ended"), [("well-behaved", "power button"), ("stubborn", "quit")])
async def test_sp_23_guests_of_the_policy_end_are_shut_down_in_order(
    tmp_path: Path, store: Store, play: Path, public: Path, mode: str, ended: str
) -> None:
    """The power button first, and only who does not obey is ended by force; the server is stopped then."""
    play.write_text(mode)
    node = _node(tmp_path, store, tmp_path / "instances")
    await _with_server(store, node)
    started_s = time.monotonic()
    await node.close(grace_s=2.0)
    took_s = time.monotonic() - started_s
    assert (took_s >= 2.0) == (ended == "quit")
    assert list(guest_record.all_in(tmp_path / "instances")) == []
    assert list((public / "run").iterdir()) == []
    again = _node(tmp_path, store, tmp_path / "instances")
    await _conductor(store, again).start()
    assert (await _get(store)).status == "SHUTOFF"
    await again.close()


async def test_a_server_that_reboots_comes_up_again(tmp_path: Path, store: Store, play: Path) -> None:
    play.write_text("reboots")
    node = _node(tmp_path, store, tmp_path / "instances")
    conductor = await _with_server(store, node)
    await asyncio.sleep(1.0)
    assert (await _get(store)).status == "ACTIVE"
    assert await node.running() == {SERVER: PowerState.RUNNING}
    await conductor.delete(SERVER, _caller())
    await conductor.settled()
    await node.close()


async def test_sp_18_one_directory_has_one_spawner(tmp_path: Path, store: Store, play: Path) -> None:
    assert not play.exists()
    first, second = (_node(tmp_path, store, tmp_path / "instances") for _ in range(2))
    await first.adopt()
    with pytest.raises(HostInUse, match="another spawner runs guests here"):
        await second.adopt()
    await first.close()
    await second.adopt()
    await second.close()


async def test_sp_06_the_disk_of_a_server_that_the_store_never_had_is_left_alone(
    tmp_path: Path, store: Store, play: Path
) -> None:
    """A store that was lost, or another one by mistake: guests end, no disk goes."""
    assert not play.exists()
    node = _node(tmp_path, store, tmp_path / "instances", outlive=True)
    await _with_server(store, node)
    await node.close()
    assert len(list(guest_record.all_in(tmp_path / "instances"))) == 1
    other = await open_store(str(tmp_path / "other.db"))
    stranger = _node(tmp_path, other, tmp_path / "instances", outlive=True)
    await _conductor(other, stranger).start()
    assert list(guest_record.all_in(tmp_path / "instances")) == []
    assert (tmp_path / "instances" / SERVER / "root.qcow2").exists()
    await stranger.close()
    await other.close()


async def test_sp_19_a_delete_while_the_guest_is_being_started_leaves_nothing(
    tmp_path: Path, store: Store, play: Path, public: Path
) -> None:
    """QEMU that gives no answer keeps the build busy; the delete does not wait for it."""
    play.write_text("no-greeting")
    node = _node(tmp_path, store, tmp_path / "instances", outlive=True)
    conductor = _conductor(store, node)
    await conductor.start()
    await conductor.create(_server(), _caller())
    while not list(guest_record.all_in(tmp_path / "instances")):  # noqa: ASYNC110 - of another process
        await asyncio.sleep(0.01)
    deletes = (conductor.delete(SERVER, _caller()) for _ in range(3))
    told = await asyncio.gather(*deletes, return_exceptions=True)
    # Who comes after it is gone is told so, as by Nova.
    assert [each for each in told if each is not None and not isinstance(each, NotFound)] == []
    await conductor.settled()
    assert list(guest_record.all_in(tmp_path / "instances")) == []
    assert list((tmp_path / "instances").iterdir()) == []
    assert list((public / "run").iterdir()) == []
    await node.close()


async def test_what_is_set_of_a_server_shows_in_its_guests_metadata(
    tmp_path: Path, store: Store, play: Path
) -> None:
    play.write_text("runs")
    node = _node(tmp_path, store, tmp_path / "instances")
    conductor = await _with_server(store, node)
    record = guest_record.read(tmp_path / "instances" / SERVER)
    assert record is not None
    metadata = record.run / "metadata.sock"
    assert "meta" not in await _meta_data(metadata)
    for value in ("blue", "green"):
        async with store.write() as connection:
            await servers.change(connection, SERVER, 3.0, metadata={"colour": value})
        await conductor.refresh(SERVER)
        assert (await _meta_data(metadata))["meta"] == {"colour": value}
    await node.close(grace_s=0)


async def _meta_data(socket: Path) -> dict[str, object]:
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session:
        answer = await session.get("http://169.254.169.254/openstack/latest/meta_data.json")
        return dict(await answer.json())


async def test_q35_has_a_root_port_for_each_device_that_comes_and_goes(
    tmp_path: Path, store: Store, play: Path
) -> None:
    play.write_text("runs")
    async with store.write() as connection:
        properties = {"hw_machine_type": "q35", "hw_disk_bus": "sata"}
        await connection.execute(update(IMAGES).values(properties=properties))
    node = _node(tmp_path, store, tmp_path / "instances")
    await _with_server(store, node)
    record = guest_record.read(tmp_path / "instances" / SERVER)
    assert record is not None
    assert (record.spec.machine, record.spec.disks[0].bus) == ("q35", Bus.SATA)
    assert record.spec.root_ports == (3, *range(8, 31))
    assert [nic.behind for nic in record.spec.nics if nic.slot == 3] == [1] * len(record.spec.nics)
    await node.close(grace_s=0)
