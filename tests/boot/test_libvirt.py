"""A server under the real libvirt daemon: made, configured, changed while it runs, found again, deleted."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from image_harness import boot, store
from image_harness.cloud import offer
from image_harness.guest_shell.overlay import with_shell
from spawner import networks
from spawner.api.cloud import Cloud
from spawner.compute.libvirt import cable, uri
from spawner.compute.libvirt.node import LibvirtNode
from spawner.compute.qemu import run_directory
from spawner.conductor import Caller
from spawner.devices import NicDevice, VolumeDevice
from spawner.images import ImageFiles
from spawner.qemu_img import qemu_img
from spawner.service import open_cloud
from spawner.states import VmState
from spawner.store import events, servers
from spawner.store.engine import open_store
from spawner.store.servers import Flavor, Server
from spawner.store.tables import USERS
from tests.boot import first_rows, libvirt_daemon
from tests.boot.libvirt_daemon import virsh

pytestmark = [pytest.mark.boot, pytest.mark.root, pytest.mark.timeout(400)]

SERVER_ID = "c4b1f0de-77a5-4d0c-b6a2-9e0f3a5d1c77"
VOLUME_ID = "0a7c5c0e-6c39-4f0b-8d0c-2a4f1f0f6f11"
PORT_ID = "5d1f7f0e-1c2b-4a68-9c7b-d2a3b1a0c9e8"
# The tiny guest has no network service that would keep the address its agent had.
METADATA = """nic=$(ls /sys/class/net | grep -v lo | head -n 1); ip link set $nic up
ip addr add 10.0.2.15/24 dev $nic; ip route add default via 10.0.2.2
wget -qO- http://169.254.169.254/openstack/latest/meta_data.json"""
SECRET = "very-secret-user-data"
USER_DATA = f"#cloud-config\nhostname: under-libvirt\nruncmd:\n  - echo said-by-$(hostname)\n# {SECRET}\n"


@pytest.fixture(scope="module")
def daemon(libvirtd: libvirt_daemon.Daemon) -> str:
    """The URI of a libvirt daemon of our own."""
    return libvirtd.local


@pytest.fixture(scope="module")
def image(tiny: store.Image, tmp_path_factory: pytest.TempPathFactory) -> store.Image:
    """The tiny image, able to take commands once its agent is done."""
    able = with_shell(tiny, tmp_path_factory.mktemp("image"), lambda _: None).image
    cmdline = f"{able.manifest.cmdline} guestling.tree=1"
    return replace(able, manifest=replace(able.manifest, cmdline=cmdline))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run directories of this test alone, and nothing left of them when it fails."""
    path = Path(tempfile.mkdtemp(prefix="glr", dir="/tmp"))
    path.chmod(0o711)
    monkeypatch.setenv("GUESTLING_RUN_DIR", str(path))
    yield path
    for run in path.iterdir():
        cable.cut(run)
    shutil.rmtree(path)


@dataclass
class Life:
    """One life of a spawner over a state directory."""

    cloud: Cloud
    node: LibvirtNode

    async def server(self) -> Server:
        async with self.cloud.store.read() as connection:
            return await servers.get(connection, SERVER_ID)

    async def act(self, name: str) -> VmState:
        await self.cloud.conductor.act(SERVER_ID, name, caller())
        await self.cloud.conductor.settled(SERVER_ID)
        return await self.state()

    async def state(self) -> VmState:
        server = await self.server()
        assert server.fault is None, server.fault
        return server.vm_state

    async def results(self) -> list[dict[str, Any]]:
        """What the guest's agent said at the end of each of its boots."""
        async with self.cloud.store.read() as connection:
            found = await events.after(connection, server_id=SERVER_ID, limit=10_000)
        return [dict(event.payload) for event in found if event.type == "guest.result"]

    async def run(self, command: str) -> str:
        """What a command prints in the guest."""
        answer = await self.node.execute(SERVER_ID, command, 60)
        return answer.stdout.decode() + answer.stderr.decode()

    async def sees(self, command: str, wanted: str) -> None:
        """Wait until a command in the guest prints `wanted`."""
        seen = ""
        for _try in range(60):
            seen = await self.run(command)
            if wanted in seen:
                return
            await asyncio.sleep(0.5)
        raise AssertionError(f"{command}: no {wanted!r} in {seen!r}")


def caller() -> Caller:
    """Whoever asks; each request has an id of its own."""
    return Caller("project", "user", f"req-{uuid4()}")


async def until(what: str, holds: Callable[[], Any], limit_s: float = 120.0) -> None:
    """Wait for something to become true; `holds` may be a coroutine function."""
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        found = holds()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"in {limit_s:g} s: not {what}")


@asynccontextmanager
async def spawner(state: Path, daemon: str, host: boot.Host, image: store.Image) -> AsyncIterator[Life]:
    """A spawner over `state`: the first time a new one, then one that was restarted."""
    opened = await open_store(str(state / "spawner.db"))
    node = LibvirtNode(
        "host-1",
        state / "instances",
        opened,
        ImageFiles(state / "images"),
        host.accelerator,
        host.network.backend,
        uri.parse(daemon),
    )
    await node.open()
    cloud = await open_cloud(state, [node], "http://127.0.0.1:1", opened)
    try:
        await offer(cloud, image, print)
        yield Life(cloud, node)
    finally:
        await cloud.conductor.close()
        await node.close()
        await opened.close()


async def create(life: Life) -> None:
    """One small server with a port, as the API would."""
    async with life.cloud.store.write() as connection:
        image_id = await first_rows.tiny_image(connection)
        project_id = await first_rows.project(connection)
        user_id = (await connection.execute(select(USERS.c.id))).scalar()
        network_id = await first_rows.private_network(connection)
        await networks.add_port(
            connection,
            port_id="1b7a1d7e-4f0f-4a37-8d0e-1f5b0c0d2e3f",
            network_id=network_id,
            project_id=project_id,
            mac="fa:16:3e:00:00:01",
            now=0.0,
            device_id=SERVER_ID,
        )
    server = Server(
        id=SERVER_ID,
        name="web-1",
        hostname="web-1",
        project_id=project_id,
        user_id=str(user_id),
        flavor=Flavor("1", "m1.nano", 1, 256, 0),
        created_at=time.time(),
        image_id=image_id,
        user_data=USER_DATA.encode(),
    )
    await life.cloud.conductor.create(server, caller())


def processes(word: str) -> list[str]:
    """The command lines of all processes that hold a word."""
    listed = subprocess.run(["ps", "axww", "-o", "args="], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if word in line]


async def test_a_server_lives_and_is_found_again(
    tmp_path: Path, daemon: str, host: boot.Host, image: store.Image, runs: Path
) -> None:
    """Made, configured over its metadata address, plugged and unplugged, kept over a restart, deleted."""
    async with spawner(tmp_path, daemon, host, image) as life:
        await create(life)
        await life.cloud.conductor.settled(SERVER_ID)
        assert await life.state() is VmState.ACTIVE
        await until("the agent's result", life.results)
        (result,) = await life.results()
        assert (result["status"], result["datasource"]) == ("done", "DataSourceOpenStackLocal [net,ver=2]"), (
            result
        )
        await _is_as_agreed(life, daemon)
        await _takes_devices(life, tmp_path)
        assert await life.act("pause") is VmState.PAUSED
        assert virsh(daemon, "domstate", SERVER_ID).stdout.strip() == "paused"
        assert await life.act("unpause") is VmState.ACTIVE
        cabled = [path.name for path in runs.iterdir() if path.is_dir()]
        assert [name for name in cabled if processes(f"guestling-cable-{name}-")] == cabled
    # The spawner is gone; the guest is not.
    assert virsh(daemon, "domstate", SERVER_ID).stdout.strip() == "running"
    assert run_directory.sweep() == []
    async with spawner(tmp_path, daemon, host, image) as life:
        assert await life.state() is VmState.ACTIVE
        await life.sees(METADATA, SERVER_ID)
        assert "said-by-under-libvirt" in life.cloud.conductor.console_output(await life.server()).decode()
        await _is_stopped_and_started(life, daemon)
        await life.cloud.conductor.delete(SERVER_ID, caller())
        await life.cloud.conductor.settled(SERVER_ID)
        assert virsh(daemon, "list", "--all", "--name").stdout.split() == []
        assert list((tmp_path / "instances").iterdir()) == []
        assert [path for path in runs.iterdir() if path.is_dir()] == []
        assert processes(SERVER_ID) == []
        assert [name for name in cabled if processes(f"guestling-cable-{name}-")] == []


async def _is_as_agreed(life: Life, daemon: str) -> None:
    """What the guest sees of its machine, and what others may read of it."""
    await life.sees("cat /sys/class/dmi/id/product_name", "OpenStack Nova")
    xml = virsh(daemon, "dumpxml", SERVER_ID, "--security-info").stdout
    assert SECRET not in xml
    assert "urn:guestling:server:1" in xml
    (qemu,) = processes(f"-uuid {SERVER_ID}")
    assert "spawn=deny" in qemu
    # Files stay whose they were: libvirt was handed descriptors.
    assert {path.stat().st_uid for path in (life.node._files.home(SERVER_ID)).iterdir()} == {0}


async def _takes_devices(life: Life, state: Path) -> None:
    """A volume and a network card come and go; the guest sees both."""
    server = await life.server()
    (state / "volumes").mkdir(exist_ok=True)
    path = state / "volumes" / VOLUME_ID
    await qemu_img("create", "-q", "-f", "qcow2", str(path), "16M")
    volume = VolumeDevice(VOLUME_ID, path, "/dev/vdb", 9)
    await life.node.attach_volume(server, volume)
    await life.node.attach_volume(server, volume)
    await life.sees("cat /sys/block/vd*/serial", VOLUME_ID[:20])
    await life.node.resize_volume(server, volume, 32 << 20)
    await life.sees("cat /sys/block/vd*/size", str((32 << 20) // 512))
    await life.node.detach_volume(server, volume)
    assert VOLUME_ID[:20] not in await life.run("cat /sys/block/vd*/serial")
    nic = NicDevice(PORT_ID, "n", "fa:16:3e:00:00:02", 10)
    await life.node.attach_port(server, nic)
    await life.sees("cat /sys/class/net/*/address", nic.mac)
    await life.node.detach_port(server, nic)
    assert nic.mac not in await life.run("cat /sys/class/net/*/address")


async def _is_stopped_and_started(life: Life, daemon: str) -> None:
    assert await life.act("stop") is VmState.STOPPED
    assert virsh(daemon, "domstate", SERVER_ID).stdout.strip() == "shut off"
    assert processes(SERVER_ID) == []
    assert await life.act("start") is VmState.ACTIVE
    assert await life.act("hard-reboot") is VmState.ACTIVE
    before = len(await life.results())
    await until("another result", lambda: _more_results(life, before))
    console = life.node.console(SERVER_ID)
    assert b"said-by-under-libvirt" in await console.read()
    console.close()
    # Off by itself: libvirt tells, and the server is stopped.
    await life.run("(sleep 2; poweroff -f) >/dev/null 2>&1 &")
    await until("stopped", lambda: _is_stopped(life))


async def _more_results(life: Life, before: int) -> bool:
    return len(await life.results()) > before


async def _is_stopped(life: Life) -> bool:
    return await life.state() is VmState.STOPPED
