"""The compute node that runs QEMU directly: server in, guest out, nothing left behind.

A guest's disk is a qcow2 overlay in the node's directory. Each guest has a keeper; by the node's policy it
ends with us, so that a restart finds servers stopped, or it goes on and is taken over by `adopt`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metadata_server.access import AccessRecord
from metadata_server.app import MetadataServer, Settings
from metadata_server.listener import Listener, Mode
from metadata_server.passwords import DirectoryPasswords
from spawner import networks, signals
from spawner.compute import firmware, guest_plan
from spawner.compute.guest_commands import CommandChannel
from spawner.compute.guest_plan import ASKED_LIMIT, PASSWORDS, GuestFiles, GuestPlan
from spawner.compute.measure import Measure
from spawner.compute.node import CommandAnswer, Console, OnEnd, OnHalt, OnReport, OnSignal
from spawner.compute.qemu import cgroup, gauge, guest_record, hotplug, run_directory
from spawner.compute.qemu.accelerator import Accelerator
from spawner.compute.qemu.console import read_record
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.compute.qemu.user import unprivileged
from spawner.compute.qemu.vm import Keeping, Vm
from spawner.devices import VOLUME_FILES, NicDevice, VolumeDevice
from spawner.errors import HostInUse, QemuFailed, SpawnerError
from spawner.images import ImageFiles
from spawner.network.backend import Attachment, Backend
from spawner.network.guest_networks import GuestNetworks, UserNetworks, netdev_arguments
from spawner.placement import Inventory
from spawner.qemu_img import qemu_img
from spawner.states import PowerState
from spawner.store import events, servers
from spawner.store.engine import Store
from spawner.store.servers import Server

LOG = logging.getLogger(__name__)
QEMU = "qemu-system-x86_64"
POWER_OFF_GRACE_S = 10.0
SHUT_DOWN_GRACE_S = 30.0
"""What guests are given when the spawner itself ends (SP-23)."""
_PAUSED = ("paused", "io-error")


@dataclass
class _Running:
    """A guest that runs: its machine, its metadata, and what follows it."""

    vm: Vm
    metadata: MetadataServer
    follower: asyncio.Task[None]
    commands: CommandChannel
    paused: bool = False
    telling: asyncio.Future[None] | None = None


class QemuNode:
    """One host with QEMU. Guests live in `directory/ID/`; images come from the image store.

    `outlive`: guests go on when this process ends, however it does. `guest_networks` stand in for the user
    networks of `backend`.
    """

    driver = "qemu"

    def __init__(
        self,
        name: str,
        directory: Path,
        store: Store,
        images: ImageFiles,
        accelerator: Accelerator,
        backend: Backend,
        *,
        outlive: bool = False,
        guest_networks: GuestNetworks | None = None,
    ) -> None:
        self.name = name
        self._outlive = outlive
        self._lock: int | None = None
        self._files = GuestFiles(directory, images)
        self._store = store
        self._accelerator = accelerator
        self._networks: GuestNetworks = guest_networks or UserNetworks(backend)
        self._ports: dict[str, tuple[str, ...]] = {}
        self._volumes = directory.parent / VOLUME_FILES
        self._running: dict[str, _Running] = {}
        self._asked: dict[str, deque[AccessRecord]] = {}
        self.on_report: OnReport | None = None
        self.on_signal: OnSignal | None = None
        self.on_end: OnEnd | None = None
        self.on_halt: OnHalt | None = None

    # --- what this host is ------------------------------------------------------------------------------

    def inventories(self) -> Mapping[str, Inventory]:
        """The host's processors, memory (a quarter kept for the host) and free disk."""
        return guest_plan.host_inventories(self._files.directory)

    def traits(self) -> frozenset[str]:
        """Which accelerator guests get, and what of the host is bounded for each (see `cgroup`)."""
        bounded = {f"CUSTOM_CGROUP_{name.upper()}" for name in cgroup.here().controllers}
        return frozenset({f"CUSTOM_ACCELERATOR_{self._accelerator.name.upper()}", *bounded})

    async def running(self) -> Mapping[str, PowerState]:
        """Guests that run now; a disk alone is no guest."""
        return {
            server_id: PowerState.PAUSED if guest.paused else PowerState.RUNNING
            for server_id, guest in self._running.items()
        }

    def console_output(self, server_id: str) -> bytes:
        """What the console kept, of this run or the last one."""
        return read_record(self._files.home(server_id))[0]

    async def measures(self) -> Mapping[str, Measure]:
        """Of QMP and /proc."""
        found = {}
        for server_id, guest in list(self._running.items()):
            # A guest that ends while it is asked has nothing to say: that is no fault of the others.
            with contextlib.suppress(SpawnerError, OSError):
                found[server_id] = await gauge.measured(guest.vm.execute)
        return found

    def metadata_requests(self, server_id: str) -> Sequence[AccessRecord]:
        """Of the last run that this process saw."""
        return tuple(self._asked.get(server_id, ()))

    # --- a server's life --------------------------------------------------------------------------------

    async def spawn(self, server: Server) -> None:
        """A fresh disk, metadata, and a start. Raises SpawnerError."""
        if server.id in self._running:
            return
        home = self._files.home(server.id)
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True, mode=0o700)
        await self._start(server)

    async def destroy(self, server_id: str) -> None:
        """End the guest and remove its disk."""
        await self._end(server_id, grace_s=0)
        for port_id in self._ports.pop(server_id, ()):
            await self._networks.disconnect(port_id)
        self._asked.pop(server_id, None)
        shutil.rmtree(self._files.home(server_id), ignore_errors=True)

    async def power_off(self, server_id: str) -> None:
        """The power button, then the plug; the disk stays."""
        await self._end(server_id, grace_s=POWER_OFF_GRACE_S)

    async def power_on(self, server: Server) -> None:
        """Start again on the disk that is there."""
        if server.id not in self._running:
            await self._start(server)

    async def reboot(self, server: Server, *, hard: bool) -> None:
        """Off and on again: with the power button first, unless hard."""
        await self._end(server.id, grace_s=0 if hard else POWER_OFF_GRACE_S)
        await self._start(server)

    async def pause(self, server_id: str) -> None:
        """Stop the guest's processors."""
        await self._guest(server_id).vm.execute("stop")
        self._guest(server_id).paused = True

    async def unpause(self, server_id: str) -> None:
        """Let them go on."""
        await self._guest(server_id).vm.execute("cont")
        self._guest(server_id).paused = False

    async def rebuild(self, server: Server) -> None:
        """A new disk from the server's image, and a start."""
        await self.destroy(server.id)
        await self.spawn(server)

    async def resize(self, server: Server) -> None:
        """Restart a guest that runs with its new flavor; its own disk grows, it never shrinks."""
        was_running = server.id in self._running
        await self._end(server.id, grace_s=POWER_OFF_GRACE_S)
        if server.flavor.disk_gib and not server.boots_from_volume:
            own = self._files.home(server.id) / guest_plan.ROOT_DISK
            with contextlib.suppress(QemuFailed):  # smaller than it is: qemu-img refuses, and that is right
                await qemu_img("resize", "-q", "-f", "qcow2", str(own), f"{server.flavor.disk_gib}G")
        if was_running:
            await self._start(server)

    async def snapshot(self, server: Server, target: Path) -> None:
        """The disk with its base in one file, as a power cut at this moment would leave it."""
        own = self._files.home(server.id) / guest_plan.ROOT_DISK
        guest = self._running.get(server.id)
        if guest is not None and not guest.paused:
            await guest.vm.execute("stop")
        try:
            await qemu_img("convert", "-q", "-U", "-f", "qcow2", "-O", "qcow2", str(own), str(target))
        finally:
            if guest is not None and not guest.paused:
                await guest.vm.execute("cont")

    # --- devices that come and go -----------------------------------------------------------------------

    async def attach_volume(self, server: Server, volume: VolumeDevice) -> None:
        """Hot-plug, where the guest runs."""
        guest = self._running.get(server.id)
        if guest is not None:
            await hotplug.plug_disk(guest.vm, guest_plan.volume_disk(volume, guest.vm.spec.machine))

    async def detach_volume(self, server: Server, volume: VolumeDevice) -> None:
        """Hot-unplug, where the guest runs."""
        guest = self._running.get(server.id)
        if guest is not None:
            await hotplug.unplug_disk(guest.vm, guest_plan.device_name("vol", volume.volume_id))

    async def resize_volume(self, server: Server, volume: VolumeDevice, size_bytes: int) -> None:
        """By QEMU where the guest runs, for it holds the file; by qemu-img where it does not."""
        guest = self._running.get(server.id)
        if guest is not None:
            await hotplug.resize_disk(guest.vm, guest_plan.device_name("vol", volume.volume_id), size_bytes)
        else:
            await qemu_img("resize", "-q", "-f", "qcow2", str(volume.path), str(size_bytes))

    async def attach_port(self, server: Server, nic: NicDevice) -> None:
        """Hot-plug, where the guest runs."""
        guest = self._running.get(server.id)
        if guest is None:
            return
        async with self._store.read() as connection:
            plan = await guest_plan.port_plan(connection, nic)
            hardware = await guest_plan.hardware(connection, server)
        others = [name for name in await hotplug.plugged(guest.vm) if name.startswith("dev-nic-")]
        attachment = await self._networks.connect(
            plan, guest.vm.run.metadata_socket, guest.vm.run.path, is_first=not others
        )
        self._ports[server.id] = (*self._ports.get(server.id, ()), nic.port_id)
        card = guest_plan.card(nic, hardware)
        try:
            await hotplug.plug_nic(guest.vm, card, netdev_arguments(attachment.netdev), attachment.tap_fd)
        finally:
            _close_taps([attachment])

    async def detach_port(self, server: Server, nic: NicDevice) -> None:
        """Hot-unplug, where the guest runs."""
        guest = self._running.get(server.id)
        if guest is not None:
            await hotplug.unplug_nic(guest.vm, guest_plan.device_name("nic", nic.port_id))
        await self._networks.disconnect(nic.port_id)

    async def refresh(self, server: Server) -> None:
        """New documents for the guest's metadata server; a config drive is made new at the next start."""
        guest = self._running.get(server.id)
        if guest is not None:
            async with self._store.read() as connection:
                document = await guest_plan.instance(connection, server, self._volumes)
            guest.metadata.instances.put(document)

    # --- rescue, commands, console ----------------------------------------------------------------------

    async def rescue(self, server: Server, image_id: str) -> None:  # noqa: ARG002 - the store says it too
        """Off, then on from the rescue disk: `_start` finds the rescue in the store."""
        await self._end(server.id, grace_s=POWER_OFF_GRACE_S)
        (self._files.home(server.id) / guest_plan.RESCUE_DISK).unlink(missing_ok=True)
        await self._start(server)

    async def unrescue(self, server: Server) -> None:
        """Off, then on from its own disk."""
        await self._end(server.id, grace_s=POWER_OFF_GRACE_S)
        (self._files.home(server.id) / guest_plan.RESCUE_DISK).unlink(missing_ok=True)
        await self._start(server)

    async def execute(self, server_id: str, command: str, timeout_s: float) -> CommandAnswer:
        """Over the agent's port."""
        guest = self._guest(server_id)
        return await guest.commands.run(guest.vm.channels.tell_agent, command, timeout_s)

    def console(self, server_id: str) -> Console:
        """What the console kept, then what it says."""
        return _VmConsole(self._guest(server_id).vm)

    async def close(self, grace_s: float = SHUT_DOWN_GRACE_S) -> None:
        """Leave every guest to the next life, or end it in order; disks stay in both cases.

        `grace_s`: what a guest has to obey its power button.
        """
        guests = list(self._running)
        if self._outlive:
            await asyncio.gather(*(self._leave(server_id) for server_id in guests))
        else:
            await asyncio.gather(*(self._end(server_id, grace_s=grace_s) for server_id in guests))
        await self._networks.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _leave(self, server_id: str) -> None:
        guest = self._running.pop(server_id)
        guest.follower.cancel()
        await asyncio.gather(guest.follower, return_exceptions=True)
        await guest.vm.leave()
        await guest.metadata.close()

    def _guest(self, server_id: str) -> _Running:
        if server_id not in self._running:
            raise QemuFailed(server_id, "does not run")
        return self._running[server_id]

    async def _end(self, server_id: str, *, grace_s: float) -> None:
        guest = self._running.pop(server_id, None)
        if guest is None:
            return
        guest.follower.cancel()
        await asyncio.gather(guest.follower, return_exceptions=True)
        await guest.vm.stop(grace_s)
        await guest.metadata.close()

    # --- what an earlier life left ----------------------------------------------------------------------

    async def adopt(self) -> None:
        """Take over the guests that run, end those that no server of ours has, and clear away the rest."""
        self._files.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = self._lock or only_one(self._files.directory)
        await asyncio.gather(
            *(self._adopt(home) for home in self._files.directory.iterdir() if home.is_dir())
        )
        await self._networks.adopt({each for server_id in self._running for each in self._ports[server_id]})
        ours = {guest.vm.pid for guest in self._running.values()}
        for who, run, home in guest_record.all_in(self._files.directory):
            if who.pid not in ours:
                LOG.warning("QEMU %d of %s is on no record: ending it", who.pid, home.name)
                await asyncio.to_thread(guest_record.end, who, run, home)
                await cgroup.here().remove(run.name)
        await asyncio.to_thread(run_directory.sweep)
        cgroup.here().sweep(time.time())
        if why_not := cgroup.here().why_not:
            LOG.info("guests are not bounded in all that they take of this host: %s", why_not)

    async def _adopt(self, home: Path) -> None:
        try:
            vm = await Vm.adopt(home)
        except QemuFailed as error:
            LOG.warning("the guest in %s is ended: %s", home, error)
            vm = None
        async with self._store.read() as connection:
            is_ours, is_over = await servers.claim_of(connection, home.name, self.name)
        if not is_ours:
            LOG.warning("%s belongs to no server of this host", home)
            if vm is not None:
                await vm.stop(0)
        if is_over:
            shutil.rmtree(home, ignore_errors=True)
        elif vm is not None and is_ours:
            await self._go_on(home.name, vm)

    async def _go_on(self, server_id: str, vm: Vm) -> None:
        """Everything around a guest that ended with the earlier life."""
        async with self._store.read() as connection:
            server = await servers.get(connection, server_id)
            ports = await networks.ports_of_device(connection, server_id)
            self._ports[server_id] = tuple(port.id for port in ports)
            told = await events.count_of_guest(connection, server_id, vm.first_event)
            try:
                plan = await guest_plan.read(connection, server, self._volumes)
                metadata = await self._metadata(plan, vm.run)
            except SpawnerError as error:
                # An image that is gone, say: no reason to end a guest that runs.
                LOG.warning("the guest of %s goes on without metadata: %s", server_id, error)
                metadata = MetadataServer()
        vm.run.admit(unprivileged())
        await self._watch(server_id, vm, metadata, told)
        answer = await vm.execute("query-status")
        self._running[server_id].paused = isinstance(answer, dict) and answer.get("status") in _PAUSED
        LOG.info("took over the guest of %s, process %d", server_id, vm.pid)

    # --- starting a guest -------------------------------------------------------------------------------

    async def _start(self, server: Server) -> None:
        async with self._store.read() as connection:
            plan = await guest_plan.read(connection, server, self._volumes)
            keeping = Keeping(
                self._files.home(server.id), self._outlive, await events.last_number(connection)
            )
        keeping.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        run = RunDirectory.create()
        metadata: MetadataServer | None = None
        attachments: list[Attachment] = []
        try:
            metadata = await self._metadata(plan, run)
            self._ports[server.id] = tuple(port.port_id for port in plan.ports)
            for number, port in enumerate(plan.ports):
                attachments.append(
                    await self._networks.connect(port, run.metadata_socket, run.path, is_first=number == 0)
                )
            if not attachments:
                attachments.append(self._networks.confine(run.metadata_socket, run.path))
            spec = await self._files.spec(server, plan, run.path)
            if spec.firmware is not None:
                firmware.keep_variables(spec.firmware)
            vm = Vm(spec, run, self._accelerator, attachments, binary=QEMU, keeping=keeping)
            await vm.start()
        except BaseException:
            if metadata is not None:
                await metadata.close()
            run.remove()
            raise
        finally:
            _close_taps(attachments)
        await self._watch(server.id, vm, metadata, 0)

    async def _metadata(self, plan: GuestPlan, run: RunDirectory) -> MetadataServer:
        """The metadata service of one guest, on the socket that its network leads to."""
        passwords = DirectoryPasswords(self._files.home(plan.instance.uuid) / PASSWORDS)
        asked = self._asked[str(plan.instance.uuid)] = deque(maxlen=ASKED_LIMIT)
        metadata = MetadataServer(
            Settings(reports=True),
            passwords=passwords,
            on_request=asked.append,
            on_report=self._signalled,
        )
        metadata.instances.put(plan.instance)
        listener = Listener(f"unix:{run.metadata_socket}", Mode.SOCKET, instance_id=plan.instance.uuid)
        await metadata.listen(listener)
        return metadata

    async def _signalled(self, server_id: str, content: bytes) -> None:
        """Pass on what a guest posted, where it is a signal to those who wait for it."""
        signal = signals.parse(content)
        if signal is not None and self.on_signal is not None:
            await self.on_signal(server_id, signal)

    async def _watch(self, server_id: str, vm: Vm, metadata: MetadataServer, told: int) -> None:
        commands = CommandChannel(server_id)
        follow = self._follow(server_id, vm, commands, told)
        follower = asyncio.create_task(follow, name=f"follow {server_id}")
        self._running[server_id] = _Running(vm, metadata, follower, commands)
        vm.tell_of_halt(lambda why: self._halted(server_id, why))

    def _halted(self, server_id: str, why: str) -> None:
        guest = self._running.get(server_id)
        if guest is None or guest.paused:
            return
        guest.paused = True
        if self.on_halt is not None:
            guest.telling = asyncio.ensure_future(self.on_halt(server_id, why))

    async def _follow(self, server_id: str, vm: Vm, commands: CommandChannel, told: int) -> None:
        """Pass on what the agent says, and that the guest ended by itself. `told`: so much was passed on."""
        async for event in vm.events():
            if commands.take(event):
                continue
            if told:
                told -= 1
            elif self.on_report is not None:
                await self.on_report(server_id, event)
        await vm.wait()
        guest = self._running.pop(server_id, None)
        if guest is None:
            return
        await vm.stop(0)
        await guest.metadata.close()
        if self.on_end is not None:
            await self.on_end(server_id)


def _close_taps(attachments: list[Attachment]) -> None:
    """QEMU has its own copies."""
    for attachment in attachments:
        if attachment.tap_fd is not None:
            os.close(attachment.tap_fd)


def only_one(directory: Path) -> int:
    """Make sure that no other spawner runs guests in this directory. Raises HostInUse."""
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise HostInUse(directory) from None
    return lock


class _VmConsole:
    """One reader and writer of a guest's console."""

    def __init__(self, vm: Vm) -> None:
        self._vm = vm
        self._feed = vm.channels.open_console()

    async def read(self) -> bytes:
        """What came since the last time."""
        return await self._feed.read()

    async def write(self, data: bytes) -> None:
        """Type it."""
        await self._vm.channels.type_console(data)

    def close(self) -> None:
        """Read no more."""
        self._vm.channels.close_console(self._feed)
