"""A compute node: the host that runs servers, as the conductor sees it.

Each method is safe to repeat: the conductor may have been killed between asking and hearing the answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

from spawner.compute.agent_events import AgentEvent
from spawner.placement import Inventory
from spawner.states import PowerState
from spawner.store.servers import Server

OnReport = Callable[[str, AgentEvent], Awaitable[None]]
OnEnd = Callable[[str], Awaitable[None]]


class ComputeNode(Protocol):
    """Runs servers by their id. Every method raises a SpawnerError with the reason when it cannot.

    The conductor sets `on_report`, which is told what a guest's agent says, and `on_end`, which is told that
    a guest ended by itself.
    """

    on_report: OnReport | None
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
