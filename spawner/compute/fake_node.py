"""A compute node that runs nothing: for tests of everything above it, and for trying the API without QEMU."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from metadata_server.access import AccessRecord
from spawner.compute.measure import Measure
from spawner.compute.node import CommandAnswer, OnEnd, OnReport, OnSignal
from spawner.devices import NicDevice, VolumeDevice
from spawner.empty_disk import empty_qcow2
from spawner.errors import CommandOverdue, SpawnerError
from spawner.placement import DISK_GB, MEMORY_MB, VCPU, Inventory
from spawner.states import PowerState
from spawner.store.servers import Server


class FakeNodeFailed(SpawnerError):
    """The fake node was told to fail."""

    code = "fake-node"


class FakeConsole:
    """Says one line, then hands back what is typed."""

    def __init__(self, greeting: bytes) -> None:
        self._said: asyncio.Queue[bytes] = asyncio.Queue()
        self._said.put_nowait(greeting)

    async def read(self) -> bytes:
        """What was said or typed."""
        return await self._said.get()

    async def write(self, data: bytes) -> None:
        """Type it back."""
        self._said.put_nowait(data)

    def close(self) -> None:
        """Whoever still reads sees the end."""
        self._said.put_nowait(b"")


class FakeNode:
    """Guests are entries of a dictionary, and what is plugged into each is a set of ids.

    `told`: each server as its guest would read it since something changed.

    `fail_spawn` makes every spawn fail with these words, `fail_plug` everything that plugs a device.
    """

    driver = "fake"

    def __init__(self, name: str, *, vcpus: int = 64, memory_mib: int = 65536, disk_gib: int = 1000) -> None:
        self.name = name
        self.guests: dict[str, PowerState] = {}
        self.plugged: dict[str, set[str]] = {}
        self.asked: dict[str, list[AccessRecord]] = {}
        self.said: dict[str, bytes] = {}
        self.used: dict[str, Measure] = {}
        self.told: dict[str, Server] = {}
        self.fail_spawn = ""
        self.fail_plug = ""
        self.spawn_takes_s = 0.0
        self.command_takes_s = 0.0
        self.answers_commands = True
        self.on_report: OnReport | None = None
        self.on_signal: OnSignal | None = None
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

    async def adopt(self) -> None:
        """Nothing: the dictionary is what it is."""

    async def spawn(self, server: Server) -> None:
        """Note the guest as running."""
        await asyncio.sleep(self.spawn_takes_s)
        if self.fail_spawn:
            raise FakeNodeFailed(self.fail_spawn)
        self.guests[server.id] = PowerState.RUNNING

    async def destroy(self, server_id: str) -> None:
        """Forget the guest."""
        self.guests.pop(server_id, None)
        self.plugged.pop(server_id, None)

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
        """An empty qcow2 disk of a MiB."""
        if server.id not in self.guests:
            raise FakeNodeFailed(f"there is no guest {server.id}")
        await asyncio.to_thread(target.write_bytes, empty_qcow2(1 << 20))

    async def running(self) -> Mapping[str, PowerState]:
        """What was noted."""
        return dict(self.guests)

    def console_output(self, server_id: str) -> bytes:
        """A line that says so, or what a test put there."""
        return self.said.get(server_id, f"fake console of {server_id}\n".encode())

    async def attach_volume(self, server: Server, volume: VolumeDevice) -> None:
        """Note it as plugged in."""
        self._plug(server.id, volume.volume_id)

    async def detach_volume(self, server: Server, volume: VolumeDevice) -> None:
        """Forget it."""
        self._unplug(server.id, volume.volume_id)

    async def resize_volume(self, server: Server, volume: VolumeDevice, size_bytes: int) -> None:
        """Nothing has a size here."""

    async def attach_port(self, server: Server, nic: NicDevice) -> None:
        """Note it as plugged in."""
        self._plug(server.id, nic.port_id)

    async def detach_port(self, server: Server, nic: NicDevice) -> None:
        """Forget it."""
        self._unplug(server.id, nic.port_id)

    async def refresh(self, server: Server) -> None:
        """Remember what its guest would read now."""
        if server.id in self.guests:
            self.told[server.id] = server

    async def rescue(self, server: Server, image_id: str) -> None:  # noqa: ARG002 - the interface
        """Note it as running."""
        self._set(server.id, PowerState.RUNNING)

    async def unrescue(self, server: Server) -> None:
        """Note it as running."""
        self._set(server.id, PowerState.RUNNING)

    async def execute(self, server_id: str, command: str, timeout_s: float) -> CommandAnswer:
        """The command itself, as its output, when `command_takes_s` are over or the limit is."""
        if self.guests.get(server_id) is not PowerState.RUNNING:
            raise FakeNodeFailed("the guest does not run")
        await asyncio.sleep(min(self.command_takes_s, timeout_s))
        if not self.answers_commands:
            raise CommandOverdue(server_id, command, timeout_s, "it was told to be silent", "Ask again")
        timed_out = self.command_takes_s > timeout_s
        return CommandAnswer(124 if timed_out else 0, f"{command}\n".encode(), b"", timed_out=timed_out)

    def console(self, server_id: str) -> FakeConsole:
        """A console that types back."""
        if self.guests.get(server_id) is not PowerState.RUNNING:
            raise FakeNodeFailed("the guest does not run")
        return FakeConsole(self.console_output(server_id))

    def _plug(self, server_id: str, device_id: str) -> None:
        if self.fail_plug:
            raise FakeNodeFailed(self.fail_plug)
        self.plugged.setdefault(server_id, set()).add(device_id)

    def _unplug(self, server_id: str, device_id: str) -> None:
        if self.fail_plug:
            raise FakeNodeFailed(self.fail_plug)
        self.plugged.get(server_id, set()).discard(device_id)

    async def measures(self) -> Mapping[str, Measure]:
        """What a test said that they used."""
        return {server_id: found for server_id, found in self.used.items() if server_id in self.guests}

    def metadata_requests(self, server_id: str) -> Sequence[AccessRecord]:
        """What a test said that the guest asked."""
        return tuple(self.asked.get(server_id, ()))

    def _set(self, server_id: str, state: PowerState) -> None:
        if server_id not in self.guests:
            raise FakeNodeFailed(f"there is no guest {server_id}")
        self.guests[server_id] = state
