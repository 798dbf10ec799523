"""A guest under QEMU: start, watch, stop, and nothing left behind.

    run = RunDirectory.create()
    # the instance's metadata server listens on run.metadata_socket
    network = choose.probe(user).backend.attach(run.metadata_socket, run.path)
    async with Vm(spec, run, accelerator, [network]) as vm:
        async for event in vm.events():
            ...
        ending = await vm.wait()

The guest ends with this process, also when that is killed: see `launch_server`. With a `Keeping` it has a
keeper, and may outlive us: a later process takes it over with `adopt`. `stop` removes the run directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from spawner.compute.agent_events import AgentEvent
from spawner.compute.driver import Ending, Reason, VmSpec
from spawner.compute.qemu import cgroup, guest_record
from spawner.compute.qemu.accelerator import KVM, TCG, Accelerator
from spawner.compute.qemu.argv import Wiring, qemu_argv
from spawner.compute.qemu.channels import Channels, Heard, KeptChannels, OwnChannels
from spawner.compute.qemu.confinement import Confinement, Keep, find_qemu
from spawner.compute.qemu.guest_record import GuestRecord
from spawner.compute.qemu.handover import Handover, layers, open_image, open_state
from spawner.compute.qemu.process import QMP_TIMEOUT_S, QemuProcess, first_of
from spawner.compute.qemu.run_directory import RunDirectory, is_held
from spawner.compute.qemu.user import unprivileged
from spawner.errors import QemuFailed, SpawnerError
from spawner.network.backend import Attachment

LOG = logging.getLogger(__name__)

FILE_BYTES = 10 << 30
"""The largest file QEMU may write: the overlay quota."""
OPEN_FILES = 1024
SETTLE_S = 3.0
"""How long a keeper may take from its fork to a QEMU that can be recognised."""
POLL_S = 0.01
EMULATOR_MIB = 4096
"""What QEMU may map beyond the guest's memory: code cache of the emulator, libraries, thread stacks."""


@dataclass(frozen=True)
class Patience:
    """How long a step may take, in seconds, before the next harder one.

    `answer_s`: QEMU's greeting. `silence_s`: a guest on KVM from which nothing is heard is started again
    without (SP-03). `quit_s`: QEMU's own way out. `term_s`: from TERM to KILL, and for what is left to read.
    """

    answer_s: float = QMP_TIMEOUT_S
    silence_s: float = 20.0
    quit_s: float = 2.0
    term_s: float = 5.0


@dataclass(frozen=True)
class Keeping:
    """A guest that gets a keeper: the directory for what is to be known of it later, and what is on record.

    `outlives`: it goes on when this process ends. `first_event` as in `GuestRecord`.
    """

    home: Path
    outlives: bool
    first_event: int = 0


class Vm:
    """One guest.

    `on_console` sees each piece of console output as it comes, unless a keeper does. `incoming`: the guest
    goes on from this saved state and waits for `execute("cont")`; see `template`.
    """

    def __init__(
        self,
        spec: VmSpec,
        run: RunDirectory,
        accelerator: Accelerator,
        network: Sequence[Attachment] = (),
        *,
        binary: str = "qemu-system-x86_64",
        on_console: Callable[[bytes], None] | None = None,
        patience: Patience = Patience(),
        incoming: Path | None = None,
        keeping: Keeping | None = None,
    ) -> None:
        self.spec = spec
        self.run = run
        self.accelerator = accelerator
        self._network = tuple(network)
        self._binary = binary
        self._patience = patience
        self._incoming = incoming
        self._user = unprivileged()
        self._groups = cgroup.here()
        self._keeping = keeping
        self._heard = Heard()
        self._kept = KeptChannels(keeping.home, self._heard, self._tell) if keeping else None
        self.channels: Channels = self._kept or OwnChannels(spec.name, run.path, self._heard, on_console)
        self._on_halt: Callable[[str], None] | None = None
        self._process = QemuProcess(spec.name)
        self._watchers: list[asyncio.Task[None]] = []
        self._asked: Reason | None = None
        self._started_s = 0.0
        self._ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

    @classmethod
    async def adopt(cls, home: Path, *, patience: Patience = Patience()) -> Self | None:
        """Take over the guest that an earlier process left in `home`; None when none runs there.

        Raises QemuFailed for one that runs and cannot be spoken to: it has been ended (SP-21).
        """
        record = guest_record.read(home)
        if record is None:
            return None
        run = RunDirectory.reopen(record.run)
        if not await _settled(home, record.run):
            await cgroup.here().remove(record.run.name)
            run.remove()
            guest_record.forget(home)
            return None
        accelerator = Accelerator(record.accelerator, "as it was started", 0.0)
        keeping = Keeping(home, outlives=True, first_event=record.first_event)
        vm = cls(record.spec, run, accelerator, patience=patience, keeping=keeping)
        return vm if await vm._take_over() else None

    async def _take_over(self) -> bool:
        """False when the guest came to its end just now."""
        assert self._keeping is not None  # noqa: S101 - `adopt` has just given it
        assert self._kept is not None  # noqa: S101 - as there is a keeper
        self._started_s = time.monotonic()
        try:
            await self._process.adopt(self._keeping.home, self.run.path, self._kept.news)
            await self._process.connect(self.run.path / "qmp.sock", self._patience.answer_s)
        except BaseException as error:
            has_ended = self._process.has_ended
            await self._clear_away()
            if isinstance(error, QemuFailed) and has_ended:
                return False
            raise
        self._heard.life.set()
        self._watch()
        return True

    def tell_of_halt(self, on_halt: Callable[[str], None]) -> None:
        """Have `on_halt` called with the reason when QEMU stops the guest for a disk that it cannot write."""
        self._on_halt = on_halt
        self._process.tell_of_halt(on_halt)

    @property
    def first_event(self) -> int:
        """As in `GuestRecord`."""
        return self._keeping.first_event if self._keeping else 0

    @property
    def name(self) -> str:
        """The guest's name."""
        return self.spec.name

    @property
    def pid(self) -> int:
        """The process id of QEMU."""
        return self._process.pid

    async def start(self) -> None:
        """Run the guest; returns when QEMU answers. Raises a SpawnerError, and leaves nothing behind then."""
        self._started_s = time.monotonic()
        try:
            await self._launch_on_best()
        except BaseException:
            await self._clear_away()
            raise
        self._watch()

    def _watch(self) -> None:
        self._watchers = [asyncio.create_task(self._watch_end()), asyncio.create_task(self._watch_deadline())]

    async def leave(self) -> None:
        """Let go of a guest that outlives us; it runs on, for `adopt` to find."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        await self._process.leave()
        self._heard.events.close()
        self.run.release()

    async def wait(self) -> Ending:
        """The guest's end, whenever it comes; its traces stay until `stop`."""
        return await asyncio.shield(self._ending)

    async def stop(self, grace_s: float = 10.0) -> Ending:
        """End the guest: power button and `grace_s`, then quit, TERM, KILL.

        Removes all traces; safe to repeat.
        """
        if not self._ending.done():
            self._asked = self._asked or Reason.STOPPED
            await self._end_gently(grace_s)
        try:
            return await self.wait()
        finally:
            await self._clear_away()

    def events(self) -> AsyncIterator[AgentEvent]:
        """What the agent reports, from the first event on; ends with the guest."""
        return self._heard.events.read()

    async def execute(self, command: str, arguments: dict[str, object] | None = None) -> object:
        """One QMP command to the running guest. Raises QemuFailed."""
        return await self._process.execute(command, arguments)

    def send_fd(self, fd: int) -> None:
        """Hand a descriptor to QEMU over QMP, for the next `getfd`."""
        self._process.send_fd(fd)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop(grace_s=0)

    # Starting: files, sockets, the process.

    async def _launch_on_best(self) -> None:
        try:
            await self._launch()
        except QemuFailed as error:
            if self.accelerator.name != KVM:
                raise
            await self._fall_back(str(error))

    async def _launch(self) -> None:
        """One QEMU process with its sockets, images and readers."""
        binary = find_qemu(self._binary)
        spec = self._staged()
        self.run.admit(self._user)
        with contextlib.ExitStack() as ours:
            # QEMU inherits listening sockets that we are already connected to: nobody polls, no byte is lost.
            handed = Handover()
            wiring = Wiring(
                accelerator=self.accelerator.name,
                qmp_fd=handed.number_of(self._listen("qmp", ours)),
                console_fd=handed.number_of(self._listen("console", ours)),
                agent_fd=handed.number_of(self._listen("agent", ours)) if spec.agent_channel else None,
                images={disk.path: handed.number_of(open_image(disk, ours)) for disk in layers(spec.images)},
                netdevs=tuple(_netdev(each, handed) for each in self._network if each.netdev),
                spawns=any(attachment.spawns for attachment in self._network),
                incoming_fd=handed.number_of(open_state(self._incoming, ours)) if self._incoming else None,
                mark=self._mark(handed),
            )
            confinement = dataclasses.replace(self._confinement(), cgroup=self._group())
            await self.channels.open(agent=spec.agent_channel)
            if self._keeping is not None:
                confinement = dataclasses.replace(confinement, keep=self._keep(self._keeping, handed, ours))
            await self._process.start(
                qemu_argv(spec, wiring, binary),
                confinement,
                handed.fds,
                self._kept.news if self._kept else None,
            )
        home = self._keeping.home if self._keeping else None
        await self._process.connect(self.run.path / "qmp.sock", self._patience.answer_s, home)

    def _mark(self, handed: Handover) -> tuple[str, int] | None:
        if self._keeping is None:
            return None
        return guest_record.mark(self.run.path, self._keeping.home), handed.number_of(self.run.lock)

    def _keep(self, keeping: Keeping, handed: Handover, ours: contextlib.ExitStack) -> Keep:
        """What the keeper is told; the guest stands on record before there is one."""
        spec, name = self.spec, self.accelerator.name
        guest_record.write(keeping.home, GuestRecord(self.run.path, name, spec, keeping.first_event))
        return Keep(
            home=keeping.home,
            run=self.run.path,
            keeper_fd=handed.number_of(self._listen("keeper", ours)),
            lock_fd=handed.number_of(self.run.lock),
            agent=spec.agent_channel,
            tied=not keeping.outlives,
        )

    async def _tell(self, channel: bytes, data: bytes) -> None:
        """To the keeper of the process that runs now: there is another one after a fall-back."""
        await self._process.tell(channel, data)

    def _group(self) -> Path | None:
        """The guest's own control group, named after its run."""
        try:
            return self._groups.make(self.run.path.name, self.spec)
        except OSError as error:
            raise QemuFailed(self.spec.name, f"cannot be given a control group ({error})") from error

    def _listen(self, name: str, ours: contextlib.ExitStack) -> int:
        return ours.enter_context(self.run.listen(f"{name}.sock")).fileno()

    def _staged(self) -> VmSpec:
        """The spec with kernel and initrd where QEMU's user can read them."""
        kernel, initrd = (
            path and self.run.stage(path, self._user) for path in (self.spec.kernel, self.spec.initrd)
        )
        return dataclasses.replace(self.spec, kernel=kernel, initrd=initrd)

    def _confinement(self) -> Confinement:
        memory_bytes = (self.spec.memory_mib + EMULATOR_MIB) << 20
        return Confinement(
            user=self._user,
            limits={"CORE": 0, "NOFILE": OPEN_FILES, "FSIZE": FILE_BYTES, "AS": memory_bytes},
            relay=next((each.relay for each in self._network if each.relay), None),
            netns=next((each.netns for each in self._network if each.netns), None),
            tap=next((each.tap for each in self._network if each.tap), None),
        )

    # Watching: life, end, deadline.

    async def _watch_end(self) -> None:
        if self.accelerator.name == KVM and not await self._comes_alive():
            try:
                await self._fall_back(f"nothing was heard from the guest for {self._patience.silence_s:g} s")
            except SpawnerError as error:
                self._heard.events.close()
                self._ending.set_exception(error)
                return
        status = await asyncio.shield(self._process.ended)
        await self.channels.drain(self._patience.term_s)
        self._heard.events.close()
        took_s = time.monotonic() - self._started_s
        self._ending.set_result(Ending(self._reason(status), status, self._process.stderr, took_s))

    async def _comes_alive(self) -> bool:
        """Whether the guest shows life in time; one that ended in order, or was asked to, counts as alive."""
        life = asyncio.create_task(self._heard.life.wait())
        await first_of(life, self._process.ended, self._patience.silence_s)
        life.cancel()
        if self._process.ended.done():
            return self._process.ended.result() == 0 or self._asked is not None
        return self._heard.life.is_set()

    async def _fall_back(self, why: str) -> None:
        """Start the same guest again without KVM; once, because TCG is what it falls back to."""
        LOG.warning("guest %s: KVM does not work (%s); starting it again with TCG", self.spec.name, why)
        await self._kill()
        self.accelerator = Accelerator(TCG, f"KVM did not work: {why}", 0.0)
        self._process = QemuProcess(self.spec.name)
        self._process.tell_of_halt(self._on_halt)
        await self._launch()

    async def _watch_deadline(self) -> None:
        await asyncio.sleep(self.spec.deadline_s)
        self._asked = self._asked or Reason.TIMEOUT
        LOG.warning("guest %s: still running after %g s, ending it", self.spec.name, self.spec.deadline_s)
        await self._end_by_signal()

    def _reason(self, status: int) -> Reason:
        if self._asked is not None:
            return self._asked
        if self._process.panicked:
            return Reason.PANICKED
        if status != 0:
            return Reason.CRASHED
        return _REASONS.get(self._process.shutdown_reason or "", Reason.POWERED_OFF)

    # Ending.

    async def _end_gently(self, grace_s: float) -> None:
        for command, patience_s in (("system_powerdown", grace_s), ("quit", self._patience.quit_s)):
            if patience_s <= 0:
                continue
            with contextlib.suppress(QemuFailed):
                await self._process.execute(command, timeout_s=patience_s)
            if await self._ends_within(patience_s):
                return
        await self._end_by_signal()

    async def _end_by_signal(self) -> None:
        self._process.signal(signal.SIGTERM)
        if not await self._ends_within(self._patience.term_s):
            self._process.signal(signal.SIGKILL)

    async def _ends_within(self, seconds: float) -> bool:
        return bool((await asyncio.wait({self._process.ended}, timeout=seconds))[0])

    async def _kill(self) -> None:
        """End the process at once and wait for it and for what reads from it."""
        if self._process.started:
            self._process.signal(signal.SIGKILL)
            await self._ends_within(self._patience.term_s)
        home = self._keeping.home if self._keeping else None
        if home is not None and (who := guest_record.identity(home)) is not None:
            # A keeper that was killed takes QEMU along, a moment later: what follows counts on it to be gone.
            await asyncio.to_thread(guest_record.end, who, self.run.path, home)
        await self.channels.cut()

    async def _clear_away(self) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        await self._kill()
        self._heard.events.close()
        self.channels.close()
        await self._groups.remove(self.run.path.name)
        if self._keeping is not None:
            guest_record.forget(self._keeping.home)
        self.run.remove()


_REASONS = {
    "guest-shutdown": Reason.POWERED_OFF,
    "guest-reset": Reason.REBOOTED,
    "guest-panic": Reason.PANICKED,
    "host-signal": Reason.STOPPED,
    "host-qmp-quit": Reason.STOPPED,
}


async def _settled(home: Path, run: Path) -> bool:
    """Wait until it is plain whether a guest runs in `run`: its QEMU is there, or nobody holds the directory.

    A QEMU whose keeper is gone is ended: nobody would read what it says.
    """
    for _ in range(int(SETTLE_S / POLL_S)):
        who = guest_record.identity(home)
        found = who is not None and guest_record.open_process(who, run, home)
        if found:
            os.close(found)
        if not is_held(run):
            break
        if found:
            return True
        await asyncio.sleep(POLL_S)
    if who is not None:
        await asyncio.to_thread(guest_record.end, who, run, home)
    return False


def _netdev(attachment: Attachment, handed: Handover) -> str:
    """The value of -netdev, with the number under which QEMU finds an open tap."""
    if attachment.tap_fd is None:
        return attachment.netdev
    return f"{attachment.netdev},fd={handed.number_of(attachment.tap_fd)}"
