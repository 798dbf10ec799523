"""A guest with a keeper: nothing of it is lost with its spawner, and nobody else is taken for it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from spawner.compute.agent_events import BYTES_LIMIT, AgentEvent, Malformed, Result, Started
from spawner.compute.driver import Reason
from spawner.compute.qemu import guest_record, keeper
from spawner.compute.qemu.console import HEAD_BYTES, RING_BYTES
from spawner.compute.qemu.guest_record import Identity
from spawner.compute.qemu.process import STDERR_LIMIT
from spawner.compute.qemu.run_directory import is_held
from spawner.compute.qemu.vm import Keeping, Patience, Vm
from spawner.errors import QemuFailed

MakeVm = Callable[..., Vm]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A server's own directory, closed to QEMU's user; whatever still runs for it ends with the test."""
    directory = tmp_path / "instances" / "11111111-2222-4333-8444-555555555555"
    directory.mkdir(parents=True, mode=0o700)
    yield directory
    for who, run, its_home in guest_record.all_in(directory.parent):
        guest_record.end(who, run, its_home)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def gone(pid: int) -> None:
    """Wait until a process has ended, which a busy machine may take its time for."""
    until_s = time.monotonic() + 30
    while is_running(pid):
        assert time.monotonic() < until_s, f"{pid} runs on"
        await asyncio.sleep(0.02)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def first(events: AsyncIterator[AgentEvent], count: int) -> list[AgentEvent]:
    found = []
    async for event in events:
        found.append(event)
        if len(found) == count:
            break
    return found


async def adopted(home: Path) -> Vm:
    vm = await Vm.adopt(home)
    assert vm is not None
    return vm


@pytest.mark.parametrize("outlives", [True, False])
async def test_sp_06_a_kept_guest_is_like_any_other(make_vm: MakeVm, home: Path, outlives: bool) -> None:
    async with make_vm("agent", keeping=Keeping(home, outlives)) as vm:
        assert await first(vm.events(), 3) == [
            Started("init-local", 1.5), Malformed("line is not JSON"), Result("done"),
        ]  # fmt: skip
        pid, its_keeper = vm.pid, parent(vm.pid)
        assert (
            b"opaque=" + os.fsencode(guest_record.mark(vm.run.path, home))
            in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
        ending = await vm.stop(grace_s=5)
    assert (ending.reason, ending.status) == (Reason.STOPPED, 0)
    assert not is_running(pid)
    await gone(its_keeper)
    assert not vm.run.path.exists()
    assert sorted(path.name for path in home.iterdir()) == [
        "console.0", "console.1", "console.count", "console.head",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "reason", "status"),
    [
        ("guest-shutdown", Reason.POWERED_OFF, 0),
        ("guest-panic", Reason.PANICKED, 0),
        ("crash-later", Reason.CRASHED, -signal.SIGSEGV),
    ],
)
async def test_sp_02_the_keeper_tells_how_a_guest_ended(
    make_vm: MakeVm, home: Path, mode: str, reason: Reason, status: int
) -> None:
    async with make_vm(mode, keeping=Keeping(home, outlives=True)) as vm:
        ending = await vm.wait()
    assert (ending.reason, ending.status) == (reason, status)


@pytest.mark.parametrize(
    ("mode", "says"),
    [("dies", "stub: bad argument"), ("SIGSEGV", "was killed by SIGSEGV before it answered")],
)
async def test_sp_02_a_kept_qemu_that_dies_at_once_leaves_its_words_and_nothing_else(
    make_vm: MakeVm, home: Path, mode: str, says: str
) -> None:
    vm = make_vm(mode, keeping=Keeping(home, outlives=True))
    with pytest.raises(QemuFailed, match=says):
        await vm.start()
    assert not vm.run.path.exists()
    assert not any(home.glob("guest.json"))


async def test_sp_02_a_keepers_own_failure_is_told(make_vm: MakeVm, home: Path) -> None:
    (home / "console.head").mkdir()
    vm = make_vm("well-behaved", keeping=Keeping(home, outlives=True))
    with pytest.raises(QemuFailed, match=r"keeper: \[Errno 21\] Is a directory"):
        await vm.start()


async def test_sp_06_after_its_spawner_a_guest_is_taken_over(make_vm: MakeVm, home: Path) -> None:
    before = make_vm("echo", keeping=Keeping(home, outlives=True, first_event=41))
    await before.start()
    await before.channels.tell_agent(b"in the first life")
    assert await first(before.events(), 1) == [Started("in the first life", 1.0)]
    pid, run = before.pid, before.run.path
    await before.leave()
    assert is_running(pid)
    assert is_held(run)

    after = await adopted(home)
    assert (after.pid, after.run.path, after.first_event) == (pid, run, 41)
    assert after.spec == before.spec
    await after.channels.tell_agent(b"in the second")
    heard = await first(after.events(), 2)
    assert heard == [Started("in the first life", 1.0), Started("in the second", 1.0)]
    assert after.channels.console_output() == b"in the first life\nin the second\n"
    ending = await after.stop(grace_s=5)
    assert (ending.reason, ending.stderr) == (Reason.STOPPED, b"the stub's last words\n")
    assert not is_running(pid)
    assert not run.exists()
    assert await Vm.adopt(home) is None


async def test_sp_06_a_console_is_read_and_typed_on_through_the_keeper(make_vm: MakeVm, home: Path) -> None:
    before = make_vm("echo", keeping=Keeping(home, outlives=True))
    await before.start()
    await before.channels.tell_agent(b"first")
    await first(before.events(), 1)
    await before.leave()
    vm = await adopted(home)
    feed = vm.channels.open_console()
    seen = await feed.read()
    await vm.channels.type_console(b"typed ")
    while not seen.endswith(b"you said: typed "):
        seen += await feed.read()
    assert seen == b"first\nyou said: typed "
    vm.channels.close_console(feed)
    other = vm.channels.open_console()
    assert await other.read() == seen
    await vm.channels.type_console(b"x" * 100_000)  # more than a frame of the socket
    more = b""
    while more.count(b"x") < 100_000:
        more += await other.read()
    assert len(more) - more.count(b"you said: ") * len(b"you said: ") == 100_000
    await vm.stop(0)


@pytest.mark.parametrize("said", [b"a\xff\xff\xff\xff", b"?\x01\x00\x00\x00x", b"a", b"\xff" * 5000])
async def test_sp_06_what_is_no_frame_harms_no_guest(make_vm: MakeVm, home: Path, said: bytes) -> None:
    async with make_vm("echo", keeping=Keeping(home, outlives=True)) as vm:
        _, writer = await asyncio.open_unix_connection(vm.run.path / keeper.SOCKET)
        writer.write(said)
        await writer.drain()
        writer.close()
        await vm.channels.tell_agent(b"still there")
        assert await first(vm.events(), 1) == [Started("still there", 1.0)]


async def test_sp_06_what_is_said_while_nobody_listens_is_heard_later(make_vm: MakeVm, home: Path) -> None:
    before = make_vm("flood-40", keeping=Keeping(home, outlives=True))
    await before.start()
    await before.leave()
    after = await adopted(home)
    kept = after.channels.console_output()
    assert len(kept) <= HEAD_BYTES + 2 * RING_BYTES + 100
    assert kept.startswith(b"the first line\r\n")
    assert kept.endswith(b"the last line\r\n")
    await after.stop(0)


async def test_sp_06_a_guest_that_ended_meanwhile_is_no_guest(make_vm: MakeVm, home: Path) -> None:
    before = make_vm("well-behaved", keeping=Keeping(home, outlives=True))
    await before.start()
    pid, run = before.pid, before.run.path
    await before.leave()
    os.kill(pid, signal.SIGKILL)
    assert await Vm.adopt(home) is None  # which waits until the keeper has seen it too
    assert not run.exists()
    assert guest_record.read(home) is None


async def test_sp_06_a_qemu_ends_with_its_keeper(make_vm: MakeVm, home: Path) -> None:
    async with make_vm("well-behaved", keeping=Keeping(home, outlives=True)) as vm:
        os.kill(parent(vm.pid), signal.SIGKILL)
        ending = await vm.wait()
        assert (ending.reason, ending.status) == (Reason.CRASHED, -signal.SIGKILL)
        until_s = time.monotonic() + 5
        while is_running(vm.pid):
            assert time.monotonic() < until_s
            await asyncio.sleep(0.01)


async def test_sp_21_an_adopted_guest_that_speaks_no_qmp_is_ended(make_vm: MakeVm, home: Path) -> None:
    before = make_vm("rubbish-later", keeping=Keeping(home, outlives=True))
    await before.start()
    pid, run = before.pid, before.run.path
    await before.leave()
    with pytest.raises(QemuFailed, match="does not speak QMP"):
        await Vm.adopt(home, patience=Patience(answer_s=2, term_s=1))
    assert not is_running(pid)
    assert not run.exists()


def test_sp_05_a_process_is_taken_for_qemu_only_if_everything_agrees(home: Path) -> None:
    """A pid file with the pid of a stranger: right pid and start, wrong command line; or the reverse."""
    run, other = Path("/run/g1"), Path("/run/g2")
    argument = f"fd=3,set=1000,opaque={guest_record.mark(run, home)}"
    impostor = subprocess.Popen(["sleep", "60"])
    genuine = subprocess.Popen([sys.executable, "-Sc", "import time; time.sleep(60)", argument])
    try:
        while b"opaque" not in Path(f"/proc/{genuine.pid}/cmdline").read_bytes():
            time.sleep(0.01)
        right = Identity(genuine.pid, keeper.start_time(genuine.pid))
        pidfd = guest_record.open_process(right, run, home)
        assert pidfd is not None
        os.close(pidfd)
        foreign = (
            (Identity(impostor.pid, keeper.start_time(impostor.pid)), run),
            (Identity(genuine.pid, right.start - 1), run),
            (right, other),
        )
        for who, where in foreign:
            assert guest_record.open_process(who, where, home) is None
            assert guest_record.end(who, where, home)  # nothing of ours is there, so nothing is signalled
        assert guest_record.open_process(right, run, home.parent) is None
        assert impostor.poll() is None
        assert genuine.poll() is None
        assert list(guest_record.all_in(home.parent)) == [(right, run, home)]
        assert guest_record.end(right, run, home)
        assert genuine.wait(5) == -signal.SIGKILL
    finally:
        for process in (impostor, genuine):
            process.kill()
            process.wait()


async def test_sp_05_a_pid_file_of_a_foreign_process_is_never_signalled(make_vm: MakeVm, home: Path) -> None:
    before = make_vm("well-behaved", keeping=Keeping(home, outlives=True))
    await before.start()
    record, run = guest_record.read(home), before.run.path
    await before.stop(0)
    stranger = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        run.mkdir(mode=0o700)
        assert record is not None
        guest_record.write(home, record)
        (home / keeper.PID_FILE).write_text(f"{stranger.pid} {keeper.start_time(stranger.pid)}\n")
        assert await Vm.adopt(home) is None
        assert stranger.returncode is None
        assert is_running(stranger.pid)
    finally:
        stranger.kill()
        await stranger.wait()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"run": 1}', b"\xff" * 100])
async def test_sp_06_a_record_that_is_damaged_is_an_error_that_names_it(home: Path, content: bytes) -> None:
    (home / "guest.json").write_bytes(content)
    with pytest.raises(QemuFailed, match=r"has a record that cannot be read \(.*guest\.json: "):
        await Vm.adopt(home)


async def test_sp_20_a_kept_guest_and_its_keeper_have_no_rights(make_vm: MakeVm, home: Path) -> None:
    async with make_vm("well-behaved", keeping=Keeping(home, outlives=True)) as vm:
        for pid in (vm.pid, parent(vm.pid)):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            status = {name: rest.strip() for name, _, rest in (line.partition(":") for line in lines)}
            assert "0" not in status["Uid"].split()
            assert status["CapEff"] == "0" * 16
            assert status["NoNewPrivs"] == "1"
        files = [str(fd.readlink()) for fd in Path(f"/proc/{vm.pid}/fd").iterdir()]
    allowed = ("socket:", "pipe:", "/dev/null", str(vm.run.path / "lock"))
    assert all(target.startswith(allowed) for target in files), files


def test_limits_of_the_keeper_are_those_of_its_readers() -> None:
    assert keeper.AGENT_BYTES == BYTES_LIMIT + 1
    assert keeper.STDERR_BYTES == STDERR_LIMIT
