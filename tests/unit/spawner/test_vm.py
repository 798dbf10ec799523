"""A guest's life on a QEMU that behaves, and on one that does not."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from spawner.compute.agent_events import AgentEvent, Malformed, Result, Started
from spawner.compute.driver import Reason
from spawner.compute.qemu.accelerator import KVM
from spawner.compute.qemu.console import HEAD_BYTES, RING_BYTES, printable
from spawner.compute.qemu.vm import Patience, Vm
from spawner.errors import QemuFailed, QemuMissing

MakeVm = Callable[..., Vm]


def is_running(pid: int) -> bool:
    """Whether the process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("guest-shutdown", Reason.POWERED_OFF),
        ("guest-reset", Reason.REBOOTED),
        ("guest-panic", Reason.PANICKED),
        ("crash-later", Reason.CRASHED),
    ],
)
async def test_the_ending_says_how_the_guest_ended(make_vm: MakeVm, mode: str, reason: Reason) -> None:
    async with make_vm(mode) as vm:
        ending = await vm.wait()
    assert ending.reason is reason
    assert ending.took_s < 10


async def test_stop_is_a_power_button_first(make_vm: MakeVm) -> None:
    vm = make_vm("well-behaved")
    await vm.start()
    pid = vm.pid
    ending = await vm.stop(grace_s=5)
    assert (ending.reason, ending.status) == (Reason.STOPPED, 0)
    assert not is_running(pid)
    assert not vm.run.path.exists()
    assert await vm.stop() == ending  # safe to repeat


async def test_sp_19_a_guest_that_ignores_its_power_button_is_quit(make_vm: MakeVm) -> None:
    vm = make_vm("stubborn")
    await vm.start()
    assert (await vm.stop(grace_s=0.1)).status == 0


async def test_sp_14_the_deadline_ends_a_guest_that_ignores_term(make_vm: MakeVm) -> None:
    vm = make_vm("unkillable", deadline_s=0.2, patience=Patience(term_s=0.5))
    started_s = time.monotonic()
    await vm.start()
    ending = await vm.wait()
    assert (ending.reason, ending.status) == (Reason.TIMEOUT, -9)
    assert 0.7 < time.monotonic() - started_s < 5  # TERM, then KILL
    await vm.stop()


def test_patience_is_what_the_threat_table_asks_for() -> None:
    assert Patience() == Patience(answer_s=10, silence_s=20, quit_s=2, term_s=5)


async def test_sp_14_the_deadline_keeps_the_console(make_vm: MakeVm) -> None:
    vm = make_vm("flood-0", deadline_s=0.5)
    await vm.start()
    ending = await vm.wait()
    assert ending.reason is Reason.TIMEOUT
    assert vm.channels.console_output() == b"the first line\r\nthe last line\r\n"
    await vm.stop()


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("dies", "stub: bad argument"),
        ("SIGKILL", "was killed by SIGKILL before it answered"),
        ("SIGSEGV", "was killed by SIGSEGV before it answered"),
        ("SIGABRT", "was killed by SIGABRT before it answered"),
        ("SIGTERM", "was killed by SIGTERM before it answered"),
    ],
)
async def test_sp_02_a_qemu_that_dies_at_once_leaves_its_words_and_nothing_else(
    make_vm: MakeVm, mode: str, says: str
) -> None:
    vm = make_vm(mode)
    with pytest.raises(QemuFailed) as caught:
        await vm.start()
    assert says in str(caught.value)
    assert len(str(caught.value)) < 5000  # the last 4 KiB, not all of it
    assert not vm.run.path.exists()


async def test_sp_02_standard_error_is_capped(make_vm: MakeVm) -> None:
    async with make_vm("noisy") as vm:
        pass
    assert len((await vm.wait()).stderr) == 1 << 20


@pytest.mark.parametrize("mode", ["garbage", "huge-line", "hang-up"])
async def test_sp_21_a_broken_qmp_is_an_error_and_ends_the_guest(make_vm: MakeVm, mode: str) -> None:
    vm = make_vm(mode)
    with pytest.raises(QemuFailed):
        await vm.start()
    assert not is_running(vm.pid)
    assert not vm.run.path.exists()


async def test_sp_21_a_silent_qmp_is_given_up(make_vm: MakeVm) -> None:
    vm = make_vm("no-greeting", patience=Patience(answer_s=1))
    with pytest.raises(QemuFailed, match="gave no answer on QMP within 1 s"):
        await vm.start()
    assert not is_running(vm.pid)


async def test_sp_21_a_flood_of_events_is_not_kept(make_vm: MakeVm) -> None:
    async with make_vm("event-flood") as vm:
        assert await vm.execute("query-status") == {"status": "running"}


async def test_sp_01_without_qemu_nothing_is_made(make_vm: MakeVm) -> None:
    vm = make_vm("well-behaved", binary="qemu-system-missing")
    with pytest.raises(QemuMissing, match="Install the package qemu-system-x86"):
        await vm.start()
    assert not vm.run.path.exists()


async def test_sp_03_a_silent_guest_on_kvm_is_started_again_without(
    make_vm: MakeVm, caplog: pytest.LogCaptureFixture
) -> None:
    vm = make_vm("silent-on-kvm", accelerator=KVM, patience=Patience(silence_s=0.5))
    with caplog.at_level(logging.WARNING):
        async with vm:
            first = vm.pid
            ending = await vm.wait()
    assert ending.reason is Reason.POWERED_OFF
    assert vm.accelerator.name == "tcg"
    assert not is_running(first)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_sp_03_a_kvm_that_does_not_even_start_is_given_up(make_vm: MakeVm) -> None:
    vm = make_vm("dies", accelerator=KVM)
    with pytest.raises(QemuFailed):
        await vm.start()
    assert vm.accelerator.name == "tcg"  # tried once more, without KVM, and failed for good
    assert not vm.run.path.exists()


async def test_sp_03_a_guest_that_talks_keeps_kvm(make_vm: MakeVm) -> None:
    async with make_vm("flood-0", accelerator=KVM, patience=Patience(silence_s=0.3)) as vm:
        await asyncio.sleep(0.6)
        assert vm.accelerator.name == "kvm"


async def test_agent_events_come_typed_and_to_every_reader(make_vm: MakeVm) -> None:
    async with make_vm("agent") as vm:
        seen = []
        async for event in vm.events():
            seen.append(event)
            if isinstance(event, Result):
                break
        assert seen == [Started("init-local", 1.5), Malformed("line is not JSON"), Result("done")]
        again = [event async for event in _until_result(vm)]
    assert again == seen


async def _until_result(vm: Vm) -> AsyncIterator[AgentEvent]:
    async for event in vm.events():
        yield event
        if isinstance(event, Result):
            return


async def test_sp_15_a_console_flood_stays_bounded(make_vm: MakeVm) -> None:
    async with make_vm("flood-40") as vm:
        kept = vm.channels.console_output()
    assert len(kept) <= HEAD_BYTES + 2 * RING_BYTES + 100
    assert kept.startswith(b"the first line\r\n")
    assert kept.endswith(b"the last line\r\n")
    assert b"bytes of console output left out" in kept
    shown = printable(kept[-100:])  # SP-16
    assert "\x1b" not in shown
    assert "\\x1b[31m\\x00\\xff flood\n" in shown


async def test_sp_20_sockets_are_ours_alone(make_vm: MakeVm) -> None:
    async with make_vm("well-behaved") as vm:
        modes = {path.name: oct(path.stat().st_mode & 0o777) for path in vm.run.path.glob("*.sock")}
        assert modes == {"qmp.sock": "0o600", "console.sock": "0o600", "agent.sock": "0o600"}
        assert vm.run.path.stat().st_mode & 0o777 == 0o700


async def test_sp_20_the_process_has_no_rights_and_no_strange_files(make_vm: MakeVm) -> None:
    os.environ["GUESTLING_TEST_CANARY"] = "secret"
    try:
        async with make_vm("well-behaved") as vm:
            process = Path(f"/proc/{vm.pid}")
            lines = (process / "status").read_text().splitlines()
            status = {name: rest.strip() for name, _, rest in (line.partition(":") for line in lines)}
            assert b"GUESTLING_TEST_CANARY" not in (process / "environ").read_bytes()
            targets = [str(fd.readlink()) for fd in (process / "fd").iterdir()]
    finally:
        del os.environ["GUESTLING_TEST_CANARY"]
    assert "0" not in status["Uid"].split()
    assert status["CapEff"] == status["CapPrm"] == "0" * 16
    assert status["NoNewPrivs"] == "1"
    assert all(target == "/dev/null" or target.startswith(("socket:", "pipe:")) for target in targets), (
        targets
    )
