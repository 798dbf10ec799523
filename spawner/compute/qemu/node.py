"""The compute node that runs QEMU directly: server in, guest out, nothing left behind.

A guest's disk is a qcow2 overlay in the node's directory and outlives the process; the guest itself ends
with us (PR_SET_PDEATHSIG), so that a restart finds servers stopped, never orphans running.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from configdrive import builder
from instance_metadata import documents
from instance_metadata.errors import InvalidInstance
from instance_metadata.instance import Instance
from metadata_server.app import MetadataServer
from metadata_server.listener import Listener, Mode
from spawner import devices, networks
from spawner.compute import guest_commands
from spawner.compute.agent_events import AgentEvent, Finished, Ready
from spawner.compute.driver import Bus, Disk, Format, Nic, VmSpec
from spawner.compute.node import CommandAnswer, Console, OnEnd, OnReport
from spawner.compute.qemu import hotplug
from spawner.compute.qemu.accelerator import Accelerator
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.compute.qemu.vm import Vm
from spawner.devices import Devices, NicDevice, VolumeDevice
from spawner.errors import NotFound, QemuFailed
from spawner.images import ImageFiles
from spawner.instance_document import instance_of
from spawner.network.backend import Backend
from spawner.network.guest_networks import GuestNetworks, PortPlan, UserNetworks, netdev_arguments
from spawner.placement import DISK_GB, MEMORY_MB, VCPU, Inventory
from spawner.states import PowerState
from spawner.store.engine import Store
from spawner.store.servers import Server
from spawner.store.tables import IMAGES, NETWORKS, RESCUES, SUBNETS
from spawner.volumes import VOLUMES

LOG = logging.getLogger(__name__)
QEMU = "qemu-system-x86_64"
RANDOM_SEED_BYTES = 512
# A server lives until it is ended; ten years stand for that where a deadline is needed.
NO_DEADLINE_S = 10 * 365 * 86400.0
VCPU_RATIO = 4.0
POWER_OFF_GRACE_S = 10.0
ANSWER_GRACE_S = 15.0
ROOT_DISK, RESCUE_DISK = "root.qcow2", "rescue.qcow2"
# The first slots of the PCI bus; `devices` deals out 3 and those from 8 on, QEMU takes what is left.
ROOT_SLOT, CONFIG_DRIVE_SLOT, SECOND_ROOT_SLOT = 4, 5, 7
NAME_DIGITS = 24
_NIC_MODELS = {"virtio": "virtio-net-pci", "e1000": "e1000", "e1000e": "e1000e", "rtl8139": "rtl8139"}
_BUSES = {"virtio": Bus.VIRTIO, "nvme": Bus.NVME, "scsi": Bus.VIRTIO, "sata": Bus.VIRTIO, "ide": Bus.VIRTIO}


@dataclass
class _Running:
    """A guest that runs: its machine, its metadata, and what follows it."""

    vm: Vm
    metadata: MetadataServer
    follower: asyncio.Task[None]
    paused: bool = False
    takes_commands: asyncio.Event = field(default_factory=asyncio.Event)
    one_command: asyncio.Lock = field(default_factory=asyncio.Lock)
    answers: dict[str, asyncio.Future[Finished]] = field(default_factory=dict)


class QemuNode:
    """One host with QEMU. Guests live in `directory/ID/`; images come from the image store."""

    driver = "qemu"

    def __init__(
        self,
        name: str,
        directory: Path,
        store: Store,
        images: ImageFiles,
        accelerator: Accelerator,
        backend: Backend,
    ) -> None:
        self.name = name
        self._directory = directory
        self._store = store
        self._images = images
        self._accelerator = accelerator
        self._networks: GuestNetworks = UserNetworks(backend)
        self._volumes = directory.parent / VOLUMES
        self._running: dict[str, _Running] = {}
        self.on_report: OnReport | None = None
        self.on_end: OnEnd | None = None

    # --- what this host is ------------------------------------------------------------------------------

    def inventories(self) -> Mapping[str, Inventory]:
        """The host's processors, memory (a quarter kept for the host) and free disk."""
        memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
        disk_gib = shutil.disk_usage(self._existing(self._directory)).total >> 30
        return {
            VCPU: Inventory(os.cpu_count() or 1, allocation_ratio=VCPU_RATIO),
            MEMORY_MB: Inventory(memory_mib, reserved=memory_mib // 4),
            DISK_GB: Inventory(max(disk_gib, 1)),
        }

    @staticmethod
    def _existing(path: Path) -> Path:
        return next(parent for parent in (path, *path.parents) if parent.exists())

    def traits(self) -> frozenset[str]:
        """Which accelerator guests get."""
        return frozenset({f"CUSTOM_ACCELERATOR_{self._accelerator.name.upper()}"})

    async def running(self) -> Mapping[str, PowerState]:
        """Guests that run now; a disk alone is no guest."""
        return {
            server_id: PowerState.PAUSED if guest.paused else PowerState.RUNNING
            for server_id, guest in self._running.items()
        }

    def console_output(self, server_id: str) -> bytes:
        """What the console kept, of this run or the last one."""
        guest = self._running.get(server_id)
        if guest is not None:
            return guest.vm.console_output()
        with contextlib.suppress(OSError):
            return (self._directory / server_id / "console.log").read_bytes()
        return b""

    # --- a server's life --------------------------------------------------------------------------------

    async def spawn(self, server: Server) -> None:
        """A fresh disk, metadata, and a start. Raises SpawnerError."""
        if server.id in self._running:
            return
        home = self._directory / server.id
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True, mode=0o700)
        await self._start(server)

    async def destroy(self, server_id: str) -> None:
        """End the guest and remove its disk."""
        await self._end(server_id, grace_s=0)
        shutil.rmtree(self._directory / server_id, ignore_errors=True)

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
        """Restart a guest that runs with its new flavor; the disk grows, it never shrinks."""
        was_running = server.id in self._running
        await self._end(server.id, grace_s=POWER_OFF_GRACE_S)
        if server.flavor.disk_gib:
            own = self._directory / server.id / ROOT_DISK
            with contextlib.suppress(QemuFailed):  # smaller than it is: qemu-img refuses, and that is right
                await qemu_img("resize", "-q", "-f", "qcow2", str(own), f"{server.flavor.disk_gib}G")
        if was_running:
            await self._start(server)

    async def snapshot(self, server: Server, target: Path) -> None:
        """The disk with its base in one file, as a power cut at this moment would leave it."""
        own = self._directory / server.id / ROOT_DISK
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
            await hotplug.plug_disk(guest.vm, _volume_disk(volume))

    async def detach_volume(self, server: Server, volume: VolumeDevice) -> None:
        """Hot-unplug, where the guest runs."""
        guest = self._running.get(server.id)
        if guest is not None:
            await hotplug.unplug_disk(guest.vm, _device_name("vol", volume.volume_id))

    async def resize_volume(self, server: Server, volume: VolumeDevice, size_bytes: int) -> None:
        """By QEMU where the guest runs, for it holds the file; by qemu-img where it does not."""
        guest = self._running.get(server.id)
        if guest is not None:
            await hotplug.resize_disk(guest.vm, _device_name("vol", volume.volume_id), size_bytes)
        else:
            await qemu_img("resize", "-q", "-f", "qcow2", str(volume.path), str(size_bytes))

    async def attach_port(self, server: Server, nic: NicDevice) -> None:
        """Hot-plug, where the guest runs."""
        guest = self._running.get(server.id)
        if guest is None:
            return
        async with self._store.read() as connection:
            plan = await _port_plan(connection, nic)
            model = _nic_model((await _images(connection, server))[0])
        others = [name for name in await hotplug.plugged(guest.vm) if name.startswith("dev-nic-")]
        attachment = await self._networks.connect(
            plan, guest.vm.run.metadata_socket, guest.vm.run.path, is_first=not others
        )
        await hotplug.plug_nic(guest.vm, _nic(nic, model), netdev_arguments(attachment.netdev))

    async def detach_port(self, server: Server, nic: NicDevice) -> None:
        """Hot-unplug, where the guest runs."""
        guest = self._running.get(server.id)
        if guest is not None:
            await hotplug.unplug_nic(guest.vm, _device_name("nic", nic.port_id))
        await self._networks.disconnect(nic.port_id)

    async def refresh(self, server: Server) -> None:
        """New documents for the guest's metadata server; a config drive is made new at the next start."""
        guest = self._running.get(server.id)
        if guest is not None:
            async with self._store.read() as connection:
                guest.metadata.instances.put(await self._instance(connection, server))

    # --- rescue, commands, console ----------------------------------------------------------------------

    async def rescue(self, server: Server, image_id: str) -> None:  # noqa: ARG002 - the store says it too
        """Off, then on from the rescue disk: `_start` finds the rescue in the store."""
        await self._end(server.id, grace_s=POWER_OFF_GRACE_S)
        (self._directory / server.id / RESCUE_DISK).unlink(missing_ok=True)
        await self._start(server)

    async def unrescue(self, server: Server) -> None:
        """Off, then on from its own disk."""
        await self._end(server.id, grace_s=POWER_OFF_GRACE_S)
        (self._directory / server.id / RESCUE_DISK).unlink(missing_ok=True)
        await self._start(server)

    async def execute(self, server_id: str, command: str, timeout_s: float) -> CommandAnswer:
        """One command at a time: the program in the guest takes them in order."""
        guest = self._guest(server_id)
        try:
            await asyncio.wait_for(guest.takes_commands.wait(), timeout_s)
        except TimeoutError:
            raise QemuFailed(
                server_id, "runs a guest that takes no commands: its image has no program that answers them"
            ) from None
        number = os.urandom(6).hex()
        answered: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
        async with guest.one_command:
            guest.answers[f"{guest_commands.PREFIX}{number}"] = answered
            try:
                await guest.vm.tell_agent(guest_commands.request(number, command, timeout_s))
                event = await asyncio.wait_for(answered, timeout_s + ANSWER_GRACE_S)
            except TimeoutError:
                raise QemuFailed(server_id, "runs a guest that gave no answer to a command") from None
            finally:
                guest.answers.clear()
        return guest_commands.answer(server_id, event)

    def console(self, server_id: str) -> Console:
        """What the console kept, then what it says."""
        return _VmConsole(self._guest(server_id).vm)

    async def close(self) -> None:
        """End every guest; their disks stay."""
        await asyncio.gather(*(self._end(server_id, grace_s=0) for server_id in list(self._running)))
        await self._networks.close()

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
        self._keep_console(server_id, guest)
        await guest.metadata.close()

    def _keep_console(self, server_id: str, guest: _Running) -> None:
        with contextlib.suppress(OSError):
            (self._directory / server_id / "console.log").write_bytes(guest.vm.console_output())

    # --- starting a guest -------------------------------------------------------------------------------

    async def _start(self, server: Server) -> None:
        async with self._store.read() as connection:
            images = await _images(connection, server)
            found = await devices.of_server(connection, server.id, self._volumes)
            instance = await self._instance(connection, server)
            plans = [await _port_plan(connection, nic) for nic in found.nics]
        run = RunDirectory.create()
        metadata = MetadataServer()
        try:
            metadata.instances.put(instance)
            listener = Listener(f"unix:{run.metadata_socket}", Mode.SOCKET, instance_id=instance.uuid)
            await metadata.listen(listener)
            attachments = [
                await self._networks.connect(plan, run.metadata_socket, run.path, is_first=number == 0)
                for number, plan in enumerate(plans)
            ] or [self._networks.confine(run.metadata_socket, run.path)]
            spec = await self._spec(server, images, instance, found, run.path)
            vm = Vm(spec, run, self._accelerator, attachments, binary=QEMU)
            await vm.start()
        except BaseException:
            await metadata.close()
            run.remove()
            raise
        follower = asyncio.create_task(self._follow(server.id, vm), name=f"follow {server.id}")
        self._running[server.id] = _Running(vm, metadata, follower)

    async def _instance(self, connection: AsyncConnection, server: Server) -> Instance:
        """The server's documents as the store stands now. Raises QemuFailed."""
        ports = await networks.ports_of_device(connection, server.id)
        subnets = {row.id: row for row in await connection.execute(select(SUBNETS))}
        mtu = {row.id: row.mtu for row in await connection.execute(select(NETWORKS))}
        found = await devices.of_server(connection, server.id, self._volumes)
        try:
            return instance_of(server, networks.network_data(ports, subnets, mtu), found)
        except InvalidInstance as error:
            raise QemuFailed(server.name, f"cannot be given its metadata: {error}") from error

    async def _follow(self, server_id: str, vm: Vm) -> None:
        """Pass on what the agent says, and that the guest ended by itself."""
        async for event in vm.events():
            if not self._is_of_commands(server_id, event) and self.on_report is not None:
                await self.on_report(server_id, event)
        await vm.wait()
        guest = self._running.pop(server_id, None)
        if guest is None:
            return
        await vm.stop(0)
        self._keep_console(server_id, guest)
        await guest.metadata.close()
        if self.on_end is not None:
            await self.on_end(server_id)

    def _is_of_commands(self, server_id: str, event: AgentEvent) -> bool:
        """Hand the answer to a command to who waits for it; no event of the server's."""
        guest = self._running.get(server_id)
        if guest is not None and isinstance(event, Ready):
            guest.takes_commands.set()
        if not guest_commands.is_answer(event):
            return False
        if guest is not None and isinstance(event, Finished):
            waiting = guest.answers.get(event.name)
            if waiting is not None and not waiting.done():
                waiting.set_result(event)
        return True

    async def _spec(
        self, server: Server, images: tuple[Any, Any], instance: Instance, found: Devices, run: Path
    ) -> VmSpec:
        """The machine. `images`: what its own disk was made from, then the rescue's, where there is one."""
        own_image, rescue_image = images
        image = rescue_image or own_image
        properties = image.properties
        kernel, initrd = (
            self._images.path(properties[name]) if name in properties else None
            for name in ("kernel_id", "ramdisk_id")
        )
        bus = _BUSES.get(properties.get("hw_disk_bus", ""), Bus.VIRTIO)
        disks = [replace(await self._root_disk(server, own_image, ROOT_DISK, bus), slot=ROOT_SLOT)]
        if rescue_image is not None:
            rescue = await self._root_disk(server, rescue_image, RESCUE_DISK, bus)
            disks = [replace(rescue, slot=ROOT_SLOT), replace(disks[0], slot=SECOND_ROOT_SLOT)]
        if server.config_drive or properties.get("img_config_drive") == "mandatory":
            disks.append(replace(_config_drive(instance, run, bus), slot=CONFIG_DRIVE_SLOT))
        disks += [_volume_disk(volume) for volume in found.volumes]
        return VmSpec(
            name=f"i-{server.id}",
            uuid=UUID(server.id),
            kernel=kernel,
            initrd=initrd,
            cmdline=properties.get("os_command_line", "console=ttyS0") if kernel else "",
            memory_mib=server.flavor.ram_mib,
            vcpus=server.flavor.vcpus,
            disks=tuple(disks),
            nics=tuple(_nic(nic, _nic_model(image)) for nic in found.nics),
            deadline_s=NO_DEADLINE_S,
        )

    async def _root_disk(self, server: Server, image: Any, name: str, bus: Bus) -> Disk:
        """The server's own layer over the image, as large as its flavor says; made at the first start."""
        base = self._images.path(image.id)
        kind = Format.QCOW2 if image.disk_format == "qcow2" else Format.RAW
        own = self._directory / server.id / name
        if not own.exists():
            size = [f"{server.flavor.disk_gib}G"] if server.flavor.disk_gib else []
            await qemu_img("create", "-q", "-f", "qcow2", "-F", kind.value, "-b", str(base), str(own), *size)
        return Disk(own, Format.QCOW2, bus, backing=Disk(base, kind, read_only=True))


class _VmConsole:
    """One reader and writer of a guest's console."""

    def __init__(self, vm: Vm) -> None:
        self._vm = vm
        self._feed = vm.open_console()

    async def read(self) -> bytes:
        """What came since the last time."""
        return await self._feed.read()

    async def write(self, data: bytes) -> None:
        """Type it."""
        await self._vm.type_console(data)

    def close(self) -> None:
        """Read no more."""
        self._vm.close_console(self._feed)


async def _image(connection: AsyncConnection, image_id: str | None) -> Any:
    row = (await connection.execute(select(IMAGES).where(IMAGES.c.id == image_id))).first()
    if row is None:
        raise NotFound("Image", str(image_id))
    return row


async def _images(connection: AsyncConnection, server: Server) -> tuple[Any, Any]:
    """A server's image, and the one that it is rescued with, or None."""
    query = select(RESCUES.c.image_id).where(RESCUES.c.server_id == server.id)
    rescue_id = (await connection.execute(query)).scalar()
    own = await _image(connection, server.image_id)
    return own, await _image(connection, rescue_id) if rescue_id else None


async def _port_plan(connection: AsyncConnection, nic: NicDevice) -> PortPlan:
    """A port with the first of its IPv4 addresses."""
    for fixed in nic.fixed_ips:
        subnet = (await connection.execute(select(SUBNETS).where(SUBNETS.c.id == fixed["subnet_id"]))).first()
        if subnet is not None and subnet.ip_version == 4:
            return PortPlan(
                nic.port_id,
                nic.network_id,
                nic.mac,
                address=IPv4Address(fixed["ip_address"]),
                subnet=IPv4Network(subnet.cidr),
                gateway=IPv4Address(subnet.gateway_ip) if subnet.gateway_ip else None,
            )
    return PortPlan(nic.port_id, nic.network_id, nic.mac)


def _device_name(kind: str, owner_id: str) -> str:
    """What QEMU calls a volume or card: made from its id alone, and short enough for a node."""
    return f"{kind}-{owner_id.replace('-', '')[:NAME_DIGITS]}"


def _volume_disk(volume: VolumeDevice) -> Disk:
    return Disk(
        volume.path,
        Format.QCOW2,
        serial=volume.volume_id,
        name=_device_name("vol", volume.volume_id),
        slot=volume.slot,
    )


def _nic(nic: NicDevice, model: str) -> Nic:
    return Nic(nic.mac, model, name=_device_name("nic", nic.port_id), slot=nic.slot)


def _nic_model(image: Any) -> str:
    model = image.properties.get("hw_vif_model", "virtio")
    return _NIC_MODELS.get(model, "virtio-net-pci")


def _config_drive(instance: Instance, run: Path, bus: Bus) -> Disk:
    """The config drive, readable by nobody else at any instant."""
    files = documents.tree(
        instance, random_seed=os.urandom(RANDOM_SEED_BYTES), today=datetime.now(UTC).date()
    )
    path = run / "config-drive.iso"
    path.touch(0o600, exist_ok=False)
    path.write_bytes(builder.build(files, label="config-2"))
    return Disk(path, bus=bus, read_only=True)


async def qemu_img(*arguments: str) -> None:
    """Run qemu-img. Raises QemuFailed with its last words."""
    process = await asyncio.create_subprocess_exec(
        "qemu-img",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    errors = (await process.communicate())[1]
    if process.returncode:
        raise QemuFailed("disk", f"could not make it (qemu-img exit status {process.returncode})", errors)
