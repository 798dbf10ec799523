"""A compute node that runs nothing: for tests of everything above it, and for trying the API without QEMU."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from spawner.compute.node import OnEnd, OnReport
from spawner.errors import SpawnerError
from spawner.placement import DISK_GB, MEMORY_MB, VCPU, Inventory
from spawner.states import PowerState
from spawner.store.servers import Server

# The header of a 1 MiB qcow2 disk, version 3, without a base.
EMPTY_QCOW2 = (
    b"QFI\xfb"
    + (3).to_bytes(4)
    + bytes(12)
    + (16).to_bytes(4)
    + (1 << 20).to_bytes(8)
    + bytes(68)
    + (104).to_bytes(4)
).ljust(65536, b"\0")


class FakeNodeFailed(SpawnerError):
    """The fake node was told to fail."""

    code = "fake-node"


class FakeNode:
    """Guests are entries of a dictionary. `fail_spawn` makes every spawn fail with these words."""

    driver = "fake"

    def __init__(self, name: str, *, vcpus: int = 64, memory_mib: int = 65536, disk_gib: int = 1000) -> None:
        self.name = name
        self.guests: dict[str, PowerState] = {}
        self.fail_spawn = ""
        self.spawn_takes_s = 0.0
        self.on_report: OnReport | None = None
        self.on_end: OnEnd | None = None
        self._has = {
            VCPU: Inventory(vcpus, allocation_ratio=4.0),
            MEMORY_MB: Inventory(memory_mib, reserved=512),
            DISK_GB: Inventory(disk_gib),
        }

    def inventories(self) -> Mapping[str, Inventory]:
        """As given."""
        return self._has

    def traits(self) -> frozenset[str]:
        """A fake node has none."""
        return frozenset()

    async def spawn(self, server: Server) -> None:
        """Note the guest as running."""
        await asyncio.sleep(self.spawn_takes_s)
        if self.fail_spawn:
            raise FakeNodeFailed(self.fail_spawn)
        self.guests[server.id] = PowerState.RUNNING

    async def destroy(self, server_id: str) -> None:
        """Forget the guest."""
        self.guests.pop(server_id, None)

    async def power_off(self, server_id: str) -> None:
        """Note it as off."""
        self._set(server_id, PowerState.SHUTDOWN)

    async def power_on(self, server: Server) -> None:
        """Note it as running."""
        self._set(server.id, PowerState.RUNNING)

    async def reboot(self, server: Server, *, hard: bool) -> None:
        """Note it as running; a hard reboot also brings back one that is off."""
        if not hard and self.guests.get(server.id) is not PowerState.RUNNING:
            raise FakeNodeFailed("a guest that does not run cannot be asked to reboot")
        self._set(server.id, PowerState.RUNNING)

    async def pause(self, server_id: str) -> None:
        """Note it as paused."""
        self._set(server_id, PowerState.PAUSED)

    async def unpause(self, server_id: str) -> None:
        """Note it as running."""
        self._set(server_id, PowerState.RUNNING)

    async def rebuild(self, server: Server) -> None:
        """Note it as running."""
        self._set(server.id, PowerState.RUNNING)

    async def resize(self, server: Server) -> None:
        """A guest that runs goes on running."""
        self._set(server.id, self.guests[server.id])

    async def snapshot(self, server: Server, target: Path) -> None:
        """An empty qcow2 disk."""
        if server.id not in self.guests:
            raise FakeNodeFailed(f"there is no guest {server.id}")
        await asyncio.to_thread(target.write_bytes, EMPTY_QCOW2)

    async def running(self) -> Mapping[str, PowerState]:
        """What was noted."""
        return dict(self.guests)

    def console_output(self, server_id: str) -> bytes:
        """A line that says so."""
        return f"fake console of {server_id}\n".encode()

    def _set(self, server_id: str, state: PowerState) -> None:
        if server_id not in self.guests:
            raise FakeNodeFailed(f"there is no guest {server_id}")
        self.guests[server_id] = state
