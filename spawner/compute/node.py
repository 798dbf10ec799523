"""A compute node: the host that runs servers, as the conductor sees it.

Each method is safe to repeat: the conductor may have been killed between asking and hearing the answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from metadata_server.access import AccessRecord
from spawner.compute.agent_events import AgentEvent
from spawner.compute.measure import Measure
from spawner.devices import NicDevice, VolumeDevice
from spawner.placement import Inventory
from spawner.signals import Signal
from spawner.states import PowerState
from spawner.store.servers import Server

OnReport = Callable[[str, AgentEvent], Awaitable[None]]
OnSignal = Callable[[str, Signal], Awaitable[None]]
OnEnd = Callable[[str], Awaitable[None]]
OnHalt = Callable[[str, str], Awaitable[None]]


@dataclass(frozen=True)
class CommandAnswer:
    """How a command in a guest ended; `cut` when there may have been more output than the guest sends.

    `timed_out`: the guest ended it when its time was up; the outputs are what it had said by then.
    """

    status: int
    stdout: bytes
    stderr: bytes
    cut: bool = False
    timed_out: bool = False


class Console(Protocol):
    """One reader's and writer's connection to a guest's serial console."""

    async def read(self) -> bytes:
        """The next bytes: first what is kept, then as they come; empty when the guest has ended."""

    async def write(self, data: bytes) -> None:
        """Type something. Raises SpawnerError when the guest does not run."""

    def close(self) -> None:
        """Read no more."""


@runtime_checkable
class NoticesHalts(Protocol):
    """A node that tells when a guest was paused because its disk cannot be written (SP-07), and why."""

    on_halt: OnHalt | None


class ComputeNode(Protocol):
    """Runs servers by their id. Every method raises a SpawnerError with the reason when it cannot.

    The conductor sets `on_report`, which is told what a guest's agent says, `on_signal`, which is told of a
    guest's signals to those who wait for it, and `on_end`, which is told that
    a guest ended by itself.
    """

    on_report: OnReport | None
    on_signal: OnSignal | None
    on_end: OnEnd | None

    @property
    def name(self) -> str:
        """The host's name."""

    @property
    def driver(self) -> str:
        """qemu, libvirt or fake."""

    def inventories(self) -> Mapping[str, Inventory]:
        """What this host has."""

    def traits(self) -> frozenset[str]:
        """What this host can do, in os-traits' names."""

    async def adopt(self) -> None:
        """Take over what an earlier life of the spawner left running, and clear away what is no server's.

        Asked once, before anything else.
        """

    async def spawn(self, server: Server) -> None:
        """Make and start the server's guest; when it is there already, make sure that it runs."""

    async def destroy(self, server_id: str) -> None:
        """End the guest and remove all that it left; nothing there is fine."""

    async def power_off(self, server_id: str) -> None:
        """End the guest, keep its disk."""

    async def power_on(self, server: Server) -> None:
        """Start the guest on the disk it has."""

    async def reboot(self, server: Server, *, hard: bool) -> None:
        """Restart the guest: soft asks it to, hard does not."""

    async def pause(self, server_id: str) -> None:
        """Stop the guest's processors."""

    async def unpause(self, server_id: str) -> None:
        """Let them go on."""

    async def rebuild(self, server: Server) -> None:
        """A new disk from the server's image, and a start."""

    async def resize(self, server: Server) -> None:
        """The server's flavor has changed: a guest that runs is restarted with it, its disk grown."""

    async def snapshot(self, server: Server, target: Path) -> None:
        """The server's disk as one qcow2 file without a base; a guest that runs is paused meanwhile."""

    async def running(self) -> Mapping[str, PowerState]:
        """Every guest on this host, with its power state; what it once ran and forgot is not among them."""

    def console_output(self, server_id: str) -> bytes:
        """What the serial console kept."""

    async def measures(self) -> Mapping[str, Measure]:
        """What each guest that runs has used in this run; one that ends meanwhile is left out."""

    def metadata_requests(self, server_id: str) -> Sequence[AccessRecord]:
        """What the guest asked its metadata service for since its last start, the newest few hundred."""

    # --- devices that come and go -----------------------------------------------------------------------

    async def attach_volume(self, server: Server, volume: VolumeDevice) -> None:
        """Plug a volume in. A guest that runs sees it now, one that is off at its next start."""

    async def detach_volume(self, server: Server, volume: VolumeDevice) -> None:
        """Take a volume out; returns when a guest that runs has let go of it. Nothing there is fine."""

    async def resize_volume(self, server: Server, volume: VolumeDevice, size_bytes: int) -> None:
        """Make a volume that is plugged in larger; a guest that runs sees its new size."""

    async def attach_port(self, server: Server, nic: NicDevice) -> None:
        """Plug a network card in; as with volumes."""

    async def detach_port(self, server: Server, nic: NicDevice) -> None:
        """Take a network card out; as with volumes."""

    async def refresh(self, server: Server) -> None:
        """The server's documents have changed: what its guest reads of its metadata from now on."""

    # --- rescue, commands, console ----------------------------------------------------------------------

    async def rescue(self, server: Server, image_id: str) -> None:
        """Restart the guest from a fresh disk of this image, its own disk as the second one."""

    async def unrescue(self, server: Server) -> None:
        """Restart the guest from its own disk, and remove the rescue disk."""

    async def execute(self, server_id: str, command: str, timeout_s: float) -> CommandAnswer:
        """Carry out a command line of /bin/sh in the guest, as root, over its agent's channel."""

    def console(self, server_id: str) -> Console:
        """A connection to the guest's serial console. Raises SpawnerError when it does not run."""
