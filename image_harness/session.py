"""A guest that stays up after its boot and carries out commands: what the fixture `guest` is made of.

One thread runs the event loop of all guests of a test run, so that a guest is followed also while a test
computes, and tests with loops of their own are not in the way.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from image_harness import boot, guest_template
from image_harness.errors import BootFailed, GuestBroken, HostStoodStill
from image_harness.guest_shell import protocol
from image_harness.host_watch import HostWatch
from image_harness.progress import Ended, Requested, Restored, Said, Starting, Tell
from image_harness.report import private
from metadata_server.access import AccessRecord
from spawner.compute.agent_events import Finished, Ready, Result
from spawner.compute.driver import Ending
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.compute.qemu.template import Template
from spawner.compute.qemu.vm import Vm

T = TypeVar("T")
# Beyond a command's own limit, which the guest holds: for a guest that is slow, or does not hold it.
GRACE_S = 15.0
POWER_OFF_S = 5.0


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="guests", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[object, object, T]) -> T:
        """What `work` gives or raises; it is cancelled when the caller is interrupted."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Stop the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


class Session:
    """One guest, from `start` to `close`; the methods are called in the loop's thread, one at a time.

    `no_commands`: why the image of `overlay.with_shell` takes none; the guest is then up when its agent has
    said how it went.
    """

    def __init__(
        self, order: boot.Order, host: boot.Host, tell: Tell, *, no_commands: str | None = None
    ) -> None:
        self._no_commands = no_commands
        self.result: Result | None = None
        self._order, self._host, self._tell = order, host, tell
        self._requests: list[AccessRecord] = []
        self._stack = AsyncExitStack()
        self._vm: Vm | None = None
        self._run: RunDirectory | None = None
        self._up = False
        self._asked = 0
        self._started_s = 0.0
        self._watch = HostWatch()

    async def start(self, timeout_s: float, template: Template | None = None) -> None:
        """Boot, until the guest takes commands or has said how it went and is gone.

        `template`: a saved guest from which this one goes on.
        Raises BootFailed when it does neither in time, SpawnerError when it cannot be started.
        """
        for _ in range(boot.ATTEMPTS):
            await self._start_once(timeout_s, template)
            if self._up or self.result is not None:
                return
            if not boot.mistook_its_disks(self._order, self.console()):
                break
            await self._stack.aclose()
        raise self._failed("ended without a word of its agent")

    def _failed(self, why: str) -> BootFailed:
        """A boot that failed, or a host that did (SP-25)."""
        name = self._order.instance.name
        if self._watch.spoils:
            return HostStoodStill(name, why, self._watch.lost_s)
        return BootFailed(f"{name}: {why}")

    async def _start_once(self, timeout_s: float, template: Template | None) -> None:
        run = self._run = RunDirectory.create()
        self._stack.callback(run.remove)
        self._watch = await self._stack.enter_async_context(HostWatch())
        # The same machine and the same metadata service that a boot without tests gets.
        await self._stack.enter_async_context(
            boot.metadata(self._order, run.metadata_socket, self._on_request)
        )
        vm = boot.machine(self._order, self._host, run, self._tell, template=template)
        self._tell(Starting())
        self._started_s = time.monotonic()
        self._vm = await self._stack.enter_async_context(vm)
        if template is not None:
            await guest_template.go_on(vm, self._order.instance.macs[0])
            self._tell(Restored())
        try:
            await asyncio.wait_for(self._follow(vm), timeout_s)
        except TimeoutError:
            raise self._failed(f"not up after {timeout_s:g} s") from None

    async def run(self, command: str, timeout_s: float) -> protocol.Answer:
        """Carry out a command line of /bin/sh in the guest, as root. Raises GuestBroken."""
        if self._no_commands is not None:
            raise GuestBroken(f"its image cannot take commands: {self._no_commands.rstrip('.')}")
        if self._vm is None or not self._up:
            raise GuestBroken("it is not up, so that it cannot carry out commands")
        self._asked += 1
        asked_s = time.monotonic()
        await self._vm.channels.tell_agent(protocol.request(self._asked, command, timeout_s))
        wait_s = timeout_s + GRACE_S
        try:
            event = await asyncio.wait_for(_answer(self._vm, protocol.name_of(self._asked)), wait_s)
        except TimeoutError:
            self._up = False
            raise GuestBroken(f"no answer to {command!r} within {wait_s:g} s") from None
        if event is None:
            self._up = False
            raise GuestBroken(f"it ended while it carried out {command!r}")
        return protocol.answer(command, event, time.monotonic() - asked_s)

    def console(self) -> bytes:
        """What the serial console showed so far; also after the end."""
        return self._vm.channels.console_output() if self._vm else b""

    def requests(self) -> tuple[AccessRecord, ...]:
        """What the guest asked the metadata service so far."""
        return tuple(self._requests)

    @property
    def is_up(self) -> bool:
        """Whether it takes commands."""
        return self._up

    async def ended(self) -> None:
        """Returns when the guest has ended by itself."""
        if self._vm is not None:
            await self._vm.wait()

    async def close(self, disk: Path | None = None) -> boot.Outcome | None:
        """End the guest and remove its traces. None when it never ran.

        `disk`: where to keep what it wrote to its disk, a layer over the image's.
        """
        try:
            if self._vm is None or self._run is None:
                return None
            with _kept(self._run.path / boot.ROOT_LAYER, disk):
                return await self._outcome(self._vm)
        finally:
            await self._stack.aclose()

    async def _outcome(self, vm: Vm) -> boot.Outcome:
        ending = await self._end(vm)
        self._tell(Ended(ending))
        took_s = time.monotonic() - self._started_s
        lost_s = self._watch.lost_s
        return boot.Outcome(
            self.result, ending, self.requests(), vm.channels.console_output(), took_s, lost_s
        )

    async def _end(self, vm: Vm) -> Ending:
        if self._up and self._order.image.disk is None:
            # The program that answers is all that keeps /init from switching the guest off.
            await vm.channels.tell_agent(protocol.END)
            self._up = False
            try:
                return await asyncio.wait_for(vm.wait(), POWER_OFF_S)
            except TimeoutError:
                pass
        return await vm.stop(grace_s=0)

    async def _follow(self, vm: Vm) -> None:
        async for event in vm.events():
            self._tell(Said(event))
            if isinstance(event, Result):
                self.result = event
                if self._no_commands is not None:
                    return
            elif isinstance(event, Ready):
                self._up = True
                return

    def _on_request(self, record: AccessRecord) -> None:
        self._requests.append(record)
        self._tell(Requested(record))


@contextmanager
def _kept(layer: Path, to: Path | None) -> Iterator[None]:
    """Have a guest's layer outlive it: it goes with the guest, so it is opened before and copied after."""
    if to is None or not layer.exists():
        yield
        return
    with layer.open("rb") as source:
        yield
        with private(to) as target:
            shutil.copyfileobj(source, target)


async def _answer(vm: Vm, name: str) -> Finished | None:
    """The event that answers; None when the guest ends first."""
    async for event in vm.events():
        if isinstance(event, Finished) and event.name == name:
            return event
    return None
