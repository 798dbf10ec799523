"""What a spawner holds of a guest under libvirt: its sockets are let go of and taken up again."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from instance_metadata.instance import parse
from spawner.compute.agent_events import AgentEvent, Finished, Result
from spawner.compute.libvirt import agent_port
from spawner.compute.libvirt.guest import Guest, GuestConsole, console_record
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.errors import LibvirtFailed

INSTANCE = parse({"uuid": "11111111-2222-4333-8444-555555555555", "name": "web", "hostname": "web"}, "test")
RESULT = b'{"event":"result","status":"done"}\n'


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    directory = RunDirectory.create(tmp_path / "r")
    yield directory
    directory.remove()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


async def accepted(listener: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """QEMU's end of a channel."""
    listener.setblocking(False)
    ours, _ = await asyncio.get_running_loop().sock_accept(listener)
    return await asyncio.open_unix_connection(sock=ours)


class Qemu:
    """QEMU's end of the agent's port: it holds both pipes open in both directions, as long as it is there."""

    def __init__(self, run: RunDirectory) -> None:
        agent_port.make(run.path, None)
        self.hears, self.says = (os.open(run.path / f"agent.{way}", os.O_RDWR) for way in ("in", "out"))

    async def line(self) -> bytes:
        """What it is told next."""
        with os.fdopen(os.dup(self.hears), "rb", 0) as pipe:
            return await asyncio.wait_for(asyncio.to_thread(pipe.readline), 5)

    def end(self) -> None:
        os.close(self.hears)
        os.close(self.says)


@pytest.fixture
def qemu(run: RunDirectory) -> Qemu:
    return Qemu(run)


async def test_sp_06_an_agent_is_followed_by_one_life_and_then_by_the_next(
    run: RunDirectory, home: Path, qemu: Qemu
) -> None:
    for adopted in (False, True):
        said: asyncio.Queue[AgentEvent] = asyncio.Queue()
        guest = Guest("web", run, home, adopted=adopted)
        await guest.follow(said.put)
        os.write(qemu.says, RESULT)
        assert isinstance(await asyncio.wait_for(said.get(), 5), Result)
        await guest.tell_agent(b"to the guest")
        assert await qemu.line() == b"to the guest\n"
        await guest.let_go()
        with pytest.raises(LibvirtFailed, match="no connection to its agent"):
            await guest.tell_agent(b"lost")
    qemu.end()


async def test_sp_06_what_a_guest_says_while_no_spawner_is_there_waits_for_the_next(
    run: RunDirectory, home: Path, qemu: Qemu
) -> None:
    """A whole boot's reports: more than an ordinary pipe keeps, once a spawner was there."""
    first = Guest("web", run, home)
    await first.follow(lambda _: asyncio.sleep(0))
    await first.let_go()
    os.set_blocking(qemu.says, False)
    line = b'{"event":"start","name":"init/%d","uptime_s":1}\n'
    reports = b"".join(line % number for number in range(2000)) + RESULT
    assert len(reports) > 65536
    assert os.write(qemu.says, reports) == len(reports)
    said: asyncio.Queue[AgentEvent] = asyncio.Queue()
    guest = Guest("web", run, home, adopted=True)
    await guest.follow(said.put)
    heard = [await asyncio.wait_for(said.get(), 5) for _ in range(2001)]
    assert isinstance(heard[-1], Result)
    await guest.let_go()
    qemu.end()


async def test_an_adopted_guest_takes_commands_without_saying_so_again(
    run: RunDirectory, home: Path, qemu: Qemu
) -> None:
    said: list[AgentEvent] = []

    async def note(event: AgentEvent) -> None:
        said.append(event)

    guest = Guest("web", run, home, adopted=True)
    await guest.follow(note)
    asking = asyncio.create_task(guest.commands.run(guest.tell_agent, "id -u", 5))
    number = (await qemu.line()).split()[0]
    os.write(
        qemu.says,
        b'{"event":"finish","name":"run/%s","result":"SUCCESS",' % number
        + b'"took_s":0,"uptime_s":1,"summary":"0 .MAo= ."}\n',
    )
    assert (await asyncio.wait_for(asking, 5)).stdout == b"0\n"
    assert not any(isinstance(event, Finished) for event in said)
    await guest.let_go()
    qemu.end()


async def test_a_guest_whose_qemu_is_gone_is_told_of(run: RunDirectory, home: Path, qemu: Qemu) -> None:
    qemu.end()
    with pytest.raises(LibvirtFailed, match=r"guest web, the agent's port: No such device or address"):
        await Guest("web", run, home).follow(lambda _: asyncio.sleep(0))


@pytest.mark.parametrize("way", ["in", "out"])
async def test_sp_13_only_a_pipe_is_opened_where_qemus_user_may_write(
    run: RunDirectory, home: Path, qemu: Qemu, way: str, tmp_path: Path
) -> None:
    file, other_pipe = tmp_path / "file", tmp_path / "pipe"
    file.write_bytes(b"as it was")
    os.mkfifo(other_pipe)
    held = os.open(other_pipe, os.O_RDWR)
    pipe = run.path / f"agent.{way}"
    for put, elsewhere in ((pipe.symlink_to, other_pipe), (pipe.hardlink_to, file)):
        pipe.unlink()
        put(elsewhere)
        with pytest.raises(LibvirtFailed, match="the agent's port"):
            await Guest("web", run, home).follow(lambda _: asyncio.sleep(0))
    assert file.read_bytes() == b"as it was"
    os.close(held)
    qemu.end()


async def test_the_console_is_shared_by_its_readers_and_given_free_by_the_last(
    run: RunDirectory, home: Path
) -> None:
    (home / "console.log").write_bytes(b"before\n")
    with run.listen("console.sock") as listener:
        guest = Guest("web", run, home)
        one, other = GuestConsole(guest), GuestConsole(guest)
        assert await one.read() == await other.read() == b"before\n"
        reader, writer = await accepted(listener)
        await one.write(b"typed")
        assert await reader.readexactly(5) == b"typed"
        writer.write(b"after\n")
        assert await one.read() == await other.read() == b"after\n"
        one.close()
        other.close()
        assert await reader.read() == b""
        writer.close()
        await guest.let_go()


async def test_metadata_is_served_again_on_a_socket_that_is_still_there(
    run: RunDirectory, home: Path
) -> None:
    for _life in range(2):
        guest = Guest("web", run, home)
        await guest.serve(INSTANCE, None)
        reader, writer = await asyncio.open_unix_connection(run.metadata_socket)
        writer.write(b"GET /openstack/latest/meta_data.json HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n")
        assert b"200 OK" in await reader.readline()
        writer.close()
        await guest.let_go()


def test_sp_15_the_record_is_read_with_the_parts_that_virtlogd_turned_over(home: Path) -> None:
    for name, text in (("console.log.1", "a"), ("console.log.0", "b"), ("console.log", "c")):
        (home / name).write_text(text)
    assert console_record(home) == b"abc"
    assert console_record(home / "none") == b""
