"""The compute node that runs guests under libvirt, which keeps them while the spawner is away.

Every domain of ours carries our metadata element; its UUID is the server's id. So a new life of the spawner
finds each guest again: it listens on its metadata socket and connects to its agent, and the guest has
noticed nothing. Sockets and cables of a guest are in its run directory, its disk and console record in
`directory/ID/`.

The daemon's host needs no right on any path of ours: images are opened here and handed over (`fdgroup`).
Where the daemon is on another machine neither descriptors nor sockets reach it: paths must be the same there
(shared storage), metadata comes from the config drive, and network cards are closed to everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from metadata_server.access import AccessRecord
from spawner.compute import guest_plan
from spawner.compute.agent_events import AgentEvent
from spawner.compute.driver import Disk, VmSpec
from spawner.compute.guest_plan import PASSABLE, ROOT_DISK, GuestFiles, GuestPlan
from spawner.compute.libvirt import agent_port, cable, domain
from spawner.compute.libvirt.connection import Connection
from spawner.compute.libvirt.domain import DomainWiring
from spawner.compute.libvirt.domains import Domains, Monitor, Seen
from spawner.compute.libvirt.guest import RECORD_NAME, Guest, GuestConsole, console_record
from spawner.compute.libvirt.uri import ConnectionUri, Scope
from spawner.compute.measure import Measure
from spawner.compute.node import CommandAnswer, Console, OnEnd, OnHalt, OnReport, OnSignal
from spawner.compute.qemu import gauge, hotplug, run_directory
from spawner.compute.qemu.accelerator import Accelerator
from spawner.compute.qemu.handover import layers
from spawner.compute.qemu.node import only_one
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.compute.qemu.user import User
from spawner.devices import VOLUME_FILES, NicDevice, VolumeDevice
from spawner.errors import InvalidSpec, LibvirtFailed, NotFound, QemuFailed, SpawnerError
from spawner.images import ImageFiles
from spawner.network.backend import Attachment, Backend
from spawner.network.guest_networks import GuestNetworks, UserNetworks, netdev_arguments
from spawner.placement import MEMORY_MB, VCPU, Inventory
from spawner.qemu_img import qemu_img
from spawner.signals import Signal
from spawner.states import PowerState
from spawner.store import servers
from spawner.store.engine import Store
from spawner.store.servers import Server

LOG = logging.getLogger(__name__)
QEMU = "qemu-system-x86_64"
POWER_OFF_GRACE_S = 10.0
SHUT_DOWN_GRACE_S = 30.0
CAPABILITIES_S = 120.0
"""The daemon may have to try every QEMU of the host before it answers."""
RUNNING = frozenset({PowerState.RUNNING, PowerState.PAUSED, PowerState.SUSPENDED})


class LibvirtNode:
    """One host with libvirt. `open` it before anything else."""

    driver = "libvirt"

    def __init__(
        self,
        name: str,
        directory: Path,
        store: Store,
        images: ImageFiles,
        accelerator: Accelerator,
        backend: Backend,
        uri: ConnectionUri,
        *,
        outlive: bool = True,
    ) -> None:
        self.name = name
        self._files = GuestFiles(directory, images)
        self._store = store
        self._accelerator = accelerator
        self._networks: GuestNetworks = UserNetworks(backend)
        self._volumes = directory.parent / VOLUME_FILES
        self._uri = uri
        self._outlive = outlive
        self._lock: int | None = None
        self._connection = Connection(uri)
        self._domains = Domains(self._connection, str(directory))
        self._inventories = guest_plan.host_inventories(directory)
        self._label: str | None = None
        self._guests: dict[str, Guest] = {}
        self._asked: dict[str, deque[AccessRecord]] = {}
        self._checks: set[asyncio.Task[None]] = set()
        self.on_report: OnReport | None = None
        self.on_signal: OnSignal | None = None
        self.on_end: OnEnd | None = None
        self.on_halt: OnHalt | None = None

    async def open(self) -> None:
        """Connect to the daemon. Raises SpawnerError with what is missing."""
        require_fitting_user(self._uri, os.geteuid())
        await self._connection.open(self._note_lifecycle, self._look_again)
        capabilities = await self._connection.call(
            "asking for capabilities", self._connection.raw.getCapabilities, CAPABILITIES_S
        )
        self._label = domain.dac_label(capabilities, self._virt_type)
        if not self._uri.is_local:
            await asyncio.to_thread(self._share_files)
            _model, memory_mib, cpus, *_ = await self._connection.call(
                "asking for the host", self._connection.raw.getInfo
            )
            self._inventories = {
                **self._inventories,
                VCPU: replace(self._inventories[VCPU], total=cpus),
                MEMORY_MB: Inventory(memory_mib, reserved=memory_mib // 4),
            }

    def _share_files(self) -> None:
        """On another host QEMU opens our files by their paths: see to it that they let it pass."""
        self._files.open_to_qemu()
        self._volumes.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._volumes.chmod(PASSABLE)
        require_passable(self._files.directory, self._qemu_user, self._uri.host)

    async def close(self) -> None:
        """Let go of everything; guests are libvirt's and run on, unless they shall not outlive us."""
        part = self._leave if self._outlive else self._shut_down
        await asyncio.gather(*(part(server_id) for server_id in list(self._guests)))
        for check in list(self._checks):
            check.cancel()
        await asyncio.gather(*self._checks, return_exceptions=True)
        await self._networks.close()
        await self._connection.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _shut_down(self, server_id: str) -> None:
        await self._end(server_id, grace_s=SHUT_DOWN_GRACE_S)

    async def _leave(self, server_id: str) -> None:
        guest = self._guests.pop(server_id)
        await guest.let_go()
        guest.run.release()

    # --- what this host is ------------------------------------------------------------------------------

    @property
    def _virt_type(self) -> str:
        return "kvm" if self._accelerator.name == "kvm" else "qemu"

    @property
    def _user(self) -> User | None:
        """Who QEMU runs as, where libvirt changes user for it and what is theirs is ours to give."""
        return self._qemu_user if self._uri.is_local else None

    @property
    def _qemu_user(self) -> User | None:
        """Who QEMU runs as on the daemon's host, where libvirt changes user for it."""
        if self._label is None:
            return None
        uid, gid = (int(number.lstrip("+")) for number in self._label.split(":"))
        return User(uid, gid)

    def inventories(self) -> Mapping[str, Inventory]:
        """The host's processors, memory (a quarter kept for the host) and the disk that guests are on."""
        return self._inventories

    def traits(self) -> frozenset[str]:
        """Which accelerator guests get."""
        return frozenset({f"CUSTOM_ACCELERATOR_{self._accelerator.name.upper()}"})

    async def running(self) -> Mapping[str, PowerState]:
        """Guests that run now; a domain alone is no guest."""
        seen = await self._domains.seen()
        return {server_id: each.power for server_id, each in seen.items() if each.power in RUNNING}

    def console_output(self, server_id: str) -> bytes:
        """What libvirt recorded of the console, of this run and earlier ones."""
        return console_record(self._files.home(server_id))

    async def measures(self) -> Mapping[str, Measure]:
        """Of QMP and /proc; of a daemon on another machine nothing is told, for its /proc is not ours."""
        found = {}
        for server_id in list(self._guests) if self._uri.is_local else ():
            with contextlib.suppress(SpawnerError, OSError):
                found[server_id] = await gauge.measured(Monitor(self._connection, server_id).execute)
        return found

    def metadata_requests(self, server_id: str) -> Sequence[AccessRecord]:
        """Of the last run that this process saw."""
        return tuple(self._asked.get(server_id, ()))

    async def adopt(self) -> None:
        """Follow again the guests that libvirt kept, and clear away what is left of those that ended."""
        self._files.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = self._lock or only_one(self._files.directory)
        for server_id, each in (await self._domains.seen()).items():
            if server_id not in self._guests:
                await self._take_up(server_id, each)
        await asyncio.to_thread(run_directory.sweep)

    # --- a server's life --------------------------------------------------------------------------------

    async def spawn(self, server: Server) -> None:
        """A fresh disk, a domain, and a start. Raises SpawnerError."""
        if server.id in self._guests:
            return
        await self.destroy(server.id)
        self._files.home(server.id).mkdir(parents=True, mode=0o700)
        await self._start(server)

    async def destroy(self, server_id: str) -> None:
        """End the guest, remove its domain and its disk."""
        await self._end(server_id, grace_s=0)
        if await self._domains.look(server_id) is not None:
            await self._domains.forget(server_id)
        shutil.rmtree(self._files.home(server_id), ignore_errors=True)

    async def power_off(self, server_id: str) -> None:
        """The power button, then the plug; domain and disk stay."""
        await self._end(server_id, grace_s=POWER_OFF_GRACE_S)

    async def power_on(self, server: Server) -> None:
        """Start again on the disk that is there."""
        if server.id not in self._guests:
            await self._start(server)

    async def reboot(self, server: Server, *, hard: bool) -> None:
        """Off and on again: with the power button first, unless hard."""
        await self._end(server.id, grace_s=0 if hard else POWER_OFF_GRACE_S)
        await self._start(server)

    async def pause(self, server_id: str) -> None:
        """Stop the guest's processors."""
        await self._domains.suspend(server_id)

    async def unpause(self, server_id: str) -> None:
        """Let them go on."""
        await self._domains.resume(server_id)

    async def rebuild(self, server: Server) -> None:
        """A new disk from the server's image, and a start."""
        await self.destroy(server.id)
        await self.spawn(server)

    async def resize(self, server: Server) -> None:
        """Restart a guest that runs with its new flavor; its own disk grows, it never shrinks."""
        was_running = server.id in self._guests
        await self._end(server.id, grace_s=POWER_OFF_GRACE_S)
        if server.flavor.disk_gib and not server.boots_from_volume:
            own = self._files.home(server.id) / ROOT_DISK
            with contextlib.suppress(QemuFailed):  # smaller than it is: qemu-img refuses, and that is right
                await qemu_img("resize", "-q", "-f", "qcow2", str(own), f"{server.flavor.disk_gib}G")
        if was_running:
            await self._start(server)

    async def snapshot(self, server: Server, target: Path) -> None:
        """The disk with its base in one file, as a power cut at this moment would leave it."""
        own = self._files.home(server.id) / ROOT_DISK
        seen = await self._domains.look(server.id)
        pauses = seen is not None and seen.power is PowerState.RUNNING
        if pauses:
            await self._domains.suspend(server.id)
        try:
            await qemu_img("convert", "-q", "-U", "-f", "qcow2", "-O", "qcow2", str(own), str(target))
        finally:
            if pauses:
                await self._domains.resume(server.id)

    async def rescue(self, server: Server, image_id: str) -> None:  # noqa: ARG002 - the store says it too
        """Off, then on from the rescue disk: `_start` finds the rescue in the store."""
        await self.unrescue(server)

    async def unrescue(self, server: Server) -> None:
        """Off, then on from what the store says now."""
        await self._end(server.id, grace_s=POWER_OFF_GRACE_S)
        (self._files.home(server.id) / guest_plan.RESCUE_DISK).unlink(missing_ok=True)
        await self._start(server)

    # --- devices that come and go -----------------------------------------------------------------------

    async def attach_volume(self, server: Server, volume: VolumeDevice) -> None:
        """Hot-plug, where the guest runs."""
        if server.id not in self._guests:
            return
        disk = await self._volume_disk(server, volume)
        if disk.serial in await self._domains.disks(server.id):
            return
        if self._uri.is_local:
            await hotplug.plug_disk(Monitor(self._connection, server.id), disk)
        else:
            await self._domains.plug_disk(server.id, disk)

    async def detach_volume(self, server: Server, volume: VolumeDevice) -> None:
        """Hot-unplug, where the guest runs: from libvirt if it was there at the start, else over QMP."""
        if server.id not in self._guests:
            return
        disk = await self._volume_disk(server, volume)
        if disk.serial in await self._domains.disks(server.id):
            await self._domains.unplug_disk(server.id, disk)
        else:
            await hotplug.unplug_disk(Monitor(self._connection, server.id), disk.name)

    async def resize_volume(self, server: Server, volume: VolumeDevice, size_bytes: int) -> None:
        """By QEMU where the guest runs, for it holds the file; by qemu-img where it does not."""
        if server.id not in self._guests:
            await qemu_img("resize", "-q", "-f", "qcow2", str(volume.path), str(size_bytes))
            return
        disk = await self._volume_disk(server, volume)
        known = await self._domains.disks(server.id)
        if disk.serial in known:
            await self._domains.resize_disk(server.id, known[disk.serial], size_bytes)
        else:
            await hotplug.resize_disk(Monitor(self._connection, server.id), disk.name, size_bytes)

    async def _volume_disk(self, server: Server, volume: VolumeDevice) -> Disk:
        async with self._store.read() as connection:
            hardware = await guest_plan.hardware(connection, server)
        return guest_plan.volume_disk(volume, hardware.machine)

    async def attach_port(self, server: Server, nic: NicDevice) -> None:
        """Hot-plug, where the guest runs."""
        guest = self._guests.get(server.id)
        if guest is None:
            return
        async with self._store.read() as connection:
            port = await guest_plan.port_plan(connection, nic)
            hardware = await guest_plan.hardware(connection, server)
        monitor = Monitor(self._connection, server.id)
        others = [name for name in await hotplug.plugged(monitor) if name.startswith("dev-nic-")]
        attachment = await self._networks.connect(
            port, guest.run.metadata_socket, guest.run.path, is_first=self._uri.is_local and not others
        )
        if cable.needs_cable(attachment):
            socket = await asyncio.to_thread(cable.lay, guest.run, nic.slot, attachment, self._user, QEMU)
            backend = cable.netdev_add_to(socket)
        else:
            backend = netdev_arguments(attachment.netdev)
        await hotplug.plug_nic(monitor, guest_plan.card(nic, hardware), backend)

    async def detach_port(self, server: Server, nic: NicDevice) -> None:
        """Hot-unplug, where the guest runs."""
        guest = self._guests.get(server.id)
        if guest is not None:
            monitor = Monitor(self._connection, server.id)
            await hotplug.unplug_nic(monitor, guest_plan.device_name("nic", nic.port_id))
            await asyncio.to_thread(cable.cut, guest.run.path, nic.slot)
        await self._networks.disconnect(nic.port_id)

    async def refresh(self, server: Server) -> None:
        """New documents for the guest's metadata server; a config drive is made new at the next start."""
        guest = self._guests.get(server.id)
        if guest is not None:
            async with self._store.read() as connection:
                guest.put(await guest_plan.instance(connection, server, self._volumes))

    async def execute(self, server_id: str, command: str, timeout_s: float) -> CommandAnswer:
        """Over the agent's port, which is on the daemon's host."""
        guest = self._guest(server_id)
        if not self._uri.is_local:
            raise LibvirtFailed(f"guest {server_id}", f"commands reach no guest on {self._uri.host}")
        return await guest.commands.run(guest.tell_agent, command, timeout_s)

    def console(self, server_id: str) -> Console:
        """What the console's record kept, then what it says."""
        return GuestConsole(self._guest(server_id))

    def _guest(self, server_id: str) -> Guest:
        if server_id not in self._guests:
            raise LibvirtFailed(f"guest {server_id}", "it does not run")
        return self._guests[server_id]

    # --- starting a guest -------------------------------------------------------------------------------

    async def _start(self, server: Server) -> None:
        async with self._store.read() as connection:
            plan = await guest_plan.read(connection, server, self._volumes)
        guest = Guest(server.id, RunDirectory.create(), self._files.home(server.id))
        guest.on_signal = self._signalled
        # Before it starts: a guest that ends at once is then told of.
        self._guests[server.id] = guest
        try:
            await self._start_domain(server, plan, guest)
        except BaseException:
            self._guests.pop(server.id, None)
            await self._domains.end(server.id)
            await self._clear_away(guest)
            raise

    async def _start_domain(self, server: Server, plan: GuestPlan, guest: Guest) -> None:
        run = guest.run
        self._asked[server.id] = guest.asked
        await guest.serve(plan.instance, self._user)
        if self._uri.is_local:
            agent_port.make(run.path, self._user)
        attachments = [
            await self._networks.connect(
                port, run.metadata_socket, run.path, is_first=self._uri.is_local and number == 0
            )
            for number, port in enumerate(plan.ports)
        ]
        spec = await self._spec(server, plan, run)
        groups = self._fd_groups(spec.disks)
        slots = [nic.slot for nic in plan.devices.nics]
        # The domain first: by it a later life finds the run directory, and the cables laid in it.
        await self._domains.define(
            domain.domain_xml(spec, self._wiring(server.id, run, slots, attachments, groups))
        )
        cabled = [
            (slot, attachment)
            for slot, attachment in zip(slots, attachments, strict=True)
            if cable.needs_cable(attachment)
        ]
        if self._uri.is_local and not cabled:
            cabled = [cable.NOTHING_PLUGGED_IN]
        for slot, attachment in cabled:
            await asyncio.to_thread(cable.lay, run, slot, attachment, self._user, QEMU)
        await self._start_with_files(server.id, spec.disks, groups)
        for slot, _attachment in cabled:
            await asyncio.to_thread(cable.check, run.path, slot)
        if self._uri.is_local:
            await guest.follow(lambda event: self._report(server.id, event))

    async def _start_with_files(
        self, server_id: str, disks: Sequence[Disk], groups: Mapping[Path, str]
    ) -> None:
        try:
            await self._domains.start(server_id, disks, groups)
        except LibvirtFailed as error:
            state = self._files.directory.parent
            if self._uri.is_local or str(state) not in str(error):
                raise
            where = (
                f"{state} must be at the same path on {self._uri.host}, and its files QEMU's to open there"
            )
            raise LibvirtFailed(f"guest {server_id}", f"{where} ({error})", error.number) from error

    async def _spec(self, server: Server, plan: GuestPlan, run: RunDirectory) -> VmSpec:
        if not self._uri.is_local:
            home = self._files.home(server.id)
            (home / guest_plan.CONFIG_DRIVE).unlink(missing_ok=True)
            spec = await self._files.spec(replace(server, config_drive=True), plan, home)
            # libvirt gives each to QEMU's user there; nobody else shall read it in a passable directory.
            for disk in spec.disks:
                if disk.path.parent == home and disk.path.stat().st_uid == os.geteuid():
                    disk.path.chmod(0o600)
            home.chmod(PASSABLE)
            return spec
        spec = await self._files.spec(server, plan, run.path)
        kernel, initrd = (path and run.stage(path, self._user) for path in (spec.kernel, spec.initrd))
        return replace(spec, kernel=kernel, initrd=initrd)

    def _fd_groups(self, disks: Sequence[Disk]) -> dict[Path, str]:
        """A name for each image that is handed over; none on another host."""
        if not self._uri.is_local:
            return {}
        return {layer.path: f"{layer.path.parent.name}/{layer.path.name}" for layer in layers(disks)}

    def _wiring(
        self,
        server_id: str,
        run: RunDirectory,
        slots: Sequence[int],
        attachments: Sequence[Attachment],
        groups: Mapping[Path, str],
    ) -> DomainWiring:
        return DomainWiring(
            virt_type=self._virt_type,
            owner=str(self._files.directory),
            emulator=shutil.which(QEMU) or f"/usr/bin/{QEMU}",
            console_log=self._files.home(server_id) / RECORD_NAME,
            run=run.path if self._uri.is_local else None,
            netdevs=tuple(
                cable.netdev_to(cable.socket_of(run.path, slot))
                if cable.needs_cable(attachment)
                else attachment.netdev
                for slot, attachment in zip(slots, attachments, strict=True)
            ),
            fd_groups=groups,
            process_label=self._label if self._uri.is_local else None,
        )

    async def _report(self, server_id: str, event: AgentEvent) -> None:
        if self.on_report is not None:
            await self.on_report(server_id, event)

    async def _signalled(self, server_id: str, signal: Signal) -> None:
        if self.on_signal is not None:
            await self.on_signal(server_id, signal)

    # --- ending one -------------------------------------------------------------------------------------

    async def _end(self, server_id: str, *, grace_s: float) -> None:
        """End the guest, whoever started it, and what was laid for it."""
        guest = self._guests.pop(server_id, None)
        seen = await self._domains.look(server_id)
        if seen is not None:
            if grace_s > 0:
                await self._domains.press_power_button(server_id)
            if grace_s <= 0 or not await self._domains.ends_within(server_id, grace_s):
                await self._domains.end(server_id)
        if guest is not None:
            await self._clear_away(guest)
        elif seen is not None and seen.run is not None:
            await self._clear_away(Guest(server_id, RunDirectory.reopen(seen.run), seen.run))

    async def _clear_away(self, guest: Guest) -> None:
        await guest.let_go()
        await asyncio.to_thread(cable.cut, guest.run.path)
        guest.run.remove()

    # --- what libvirt tells -----------------------------------------------------------------------------

    def _note_lifecycle(self, server_id: str, event: int, detail: int) -> None:
        """A domain changed: one of ours may have ended, or halted, by itself."""
        library = self._connection.library
        if server_id not in self._guests:
            return
        if event in {library.VIR_DOMAIN_EVENT_STOPPED, library.VIR_DOMAIN_EVENT_CRASHED}:
            self._in_time(self._check(server_id), server_id)
        elif (event, detail) == (
            library.VIR_DOMAIN_EVENT_SUSPENDED,
            library.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR,
        ):
            self._in_time(self._tell_of_halt(server_id), server_id)

    async def _tell_of_halt(self, server_id: str) -> None:
        """SP-07: a disk cannot be written; the guest waits and can go on."""
        if self.on_halt is not None:
            await self.on_halt(server_id, await self._domains.disk_error(server_id))

    def _look_again(self) -> None:
        """The daemon was away: what ended meanwhile was not told of."""
        for server_id in list(self._guests):
            self._in_time(self._check(server_id), server_id)

    def _in_time(self, work: Coroutine[None, None, None], server_id: str) -> None:
        check = asyncio.create_task(work, name=f"look at {server_id}")
        self._checks.add(check)
        check.add_done_callback(self._checks.discard)

    async def _check(self, server_id: str) -> None:
        """Clear away a guest that has ended, and say so. Events may be old: the domain itself is asked."""
        guest = self._guests.get(server_id)
        try:
            if guest is None or await self._domains.is_active(server_id):
                return
            if self._guests.get(server_id) is not guest:
                return  # somebody ends it, or has started it anew
            del self._guests[server_id]
            await self._clear_away(guest)
            if self.on_end is not None:
                await self.on_end(server_id)
        except SpawnerError as error:
            LOG.warning("guest %s: %s", server_id, error)

    async def _take_up(self, server_id: str, seen: Seen) -> None:
        """A domain of an earlier life: one that runs is followed again, what another left is cleared away."""
        if seen.run is None:
            if seen.power in RUNNING:  # on another host, where nothing of it is ours to follow
                run = RunDirectory.create()
                self._guests[server_id] = Guest(server_id, run, self._files.home(server_id), adopted=True)
            return
        if seen.power not in RUNNING:
            await self._clear_away(Guest(server_id, RunDirectory.reopen(seen.run), seen.run))
            return
        guest = Guest(server_id, RunDirectory.reopen(seen.run), self._files.home(server_id), adopted=True)
        guest.on_signal = self._signalled
        try:
            async with self._store.read() as connection:
                server = await servers.get(connection, server_id)
                plan = await guest_plan.read(connection, server, self._volumes)
            await guest.serve(plan.instance, self._user)
            await guest.follow(lambda event: self._report(server_id, event))
        except NotFound:
            await guest.let_go()  # no server of ours any more: whoever asked ends it
            return
        except SpawnerError as error:
            LOG.warning("guest %s runs, and cannot be followed: %s", server_id, error)
        self._guests[server_id] = guest
        self._asked[server_id] = guest.asked
        for nic in plan.devices.nics[:1]:
            if not await asyncio.to_thread(cable.is_laid, guest.run.path, nic.slot):
                LOG.warning("guest %s runs without its network: restart it to have it again", server_id)
        LOG.info("guest %s: found running under libvirt, and taken up again", server_id)


def require_fitting_user(uri: ConnectionUri, uid: int) -> None:
    """Raise InvalidSpec where QEMU would be root, or could not be handed what belongs to us."""
    if not uri.is_local:
        return
    if uri.scope is Scope.SESSION and uid == 0:
        raise InvalidSpec("libvirt URI", "root's own session runs QEMU as root", "Use qemu:///system")
    if uri.scope is Scope.SYSTEM and uid != 0:
        why = "the system's daemon runs QEMU as another user, to whom only root can give its sockets"
        raise InvalidSpec("libvirt URI", why, "Run as root, or use qemu:///session")


def require_passable(directory: Path, user: User | None, host: str) -> None:
    """Raise InvalidSpec where QEMU on another host may not pass to our files."""
    obstacle = user.obstacle(directory / "file") if user is not None and user.uid != 0 else None
    if user is not None and obstacle is not None:
        why = f"QEMU on {host} runs as {user.uid}:{user.gid}, which may not pass {obstacle}"
        raise InvalidSpec("--state", why, f"chmod o+x {obstacle}, which must be at the same path there")
