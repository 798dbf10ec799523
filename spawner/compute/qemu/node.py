"""The compute node that runs QEMU directly: server in, guest out, nothing left behind.

A guest's disk is a qcow2 overlay in the node's directory and outlives the process; the guest itself ends
with us (PR_SET_PDEATHSIG), so that a restart finds servers stopped, never orphans running.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
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
from spawner import networks
from spawner.compute.driver import Bus, Disk, Format, Nic, VmSpec
from spawner.compute.node import OnEnd, OnReport
from spawner.compute.qemu.accelerator import Accelerator
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.compute.qemu.vm import Vm
from spawner.errors import NotFound, QemuFailed
from spawner.images import ImageFiles
from spawner.instance_document import instance_of
from spawner.network.backend import Attachment, Backend
from spawner.network.namespace import Namespace
from spawner.placement import DISK_GB, MEMORY_MB, VCPU, Inventory
from spawner.states import PowerState
from spawner.store.engine import Store
from spawner.store.servers import Server
from spawner.store.tables import IMAGES, NETWORKS, SUBNETS

LOG = logging.getLogger(__name__)
QEMU = "qemu-system-x86_64"
RANDOM_SEED_BYTES = 512
# A server lives until it is ended; ten years stand for that where a deadline is needed.
NO_DEADLINE_S = 10 * 365 * 86400.0
VCPU_RATIO = 4.0
POWER_OFF_GRACE_S = 10.0
_BUSES = {"virtio": Bus.VIRTIO, "nvme": Bus.NVME, "scsi": Bus.VIRTIO, "sata": Bus.VIRTIO, "ide": Bus.VIRTIO}


@dataclass
class _Running:
    """A guest that runs: its machine, its metadata, and what follows it."""

    vm: Vm
    metadata: MetadataServer
    follower: asyncio.Task[None]
    paused: bool = False


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
        self._backend = backend
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
            own = self._directory / server.id / "root.qcow2"
            with contextlib.suppress(QemuFailed):  # smaller than it is: qemu-img refuses, and that is right
                await _qemu_img("resize", "-q", "-f", "qcow2", str(own), f"{server.flavor.disk_gib}G")
        if was_running:
            await self._start(server)

    async def snapshot(self, server: Server, target: Path) -> None:
        """The disk with its base in one file, as a power cut at this moment would leave it."""
        own = self._directory / server.id / "root.qcow2"
        guest = self._running.get(server.id)
        if guest is not None and not guest.paused:
            await guest.vm.execute("stop")
        try:
            await _qemu_img("convert", "-q", "-U", "-f", "qcow2", "-O", "qcow2", str(own), str(target))
        finally:
            if guest is not None and not guest.paused:
                await guest.vm.execute("cont")

    async def close(self) -> None:
        """End every guest; their disks stay."""
        await asyncio.gather(*(self._end(server_id, grace_s=0) for server_id in list(self._running)))

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
            image = await _image(connection, server)
            ports = await networks.ports_of_device(connection, server.id)
            subnets = {row.id: row for row in await connection.execute(select(SUBNETS))}
            mtu = {row.id: row.mtu for row in await connection.execute(select(NETWORKS))}
        try:
            instance = instance_of(server, networks.network_data(ports, subnets, mtu))
        except InvalidInstance as error:
            raise QemuFailed(server.name, f"cannot be given its metadata: {error}") from error
        run = RunDirectory.create()
        metadata = MetadataServer()
        try:
            metadata.instances.put(instance)
            listener = Listener(f"unix:{run.metadata_socket}", Mode.SOCKET, instance_id=instance.uuid)
            await metadata.listen(listener)
            attachment = _addressed(
                self._backend.attach(run.metadata_socket, run.path), self._backend, ports, subnets
            )
            spec = await self._spec(server, image, instance, ports, run.path)
            vm = Vm(spec, run, self._accelerator, [attachment], binary=QEMU)
            await vm.start()
        except BaseException:
            await metadata.close()
            run.remove()
            raise
        follower = asyncio.create_task(self._follow(server.id, vm), name=f"follow {server.id}")
        self._running[server.id] = _Running(vm, metadata, follower)

    async def _follow(self, server_id: str, vm: Vm) -> None:
        """Pass on what the agent says, and that the guest ended by itself."""
        async for event in vm.events():
            if self.on_report is not None:
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

    async def _spec(
        self, server: Server, image: Any, instance: Instance, ports: Sequence[Any], run: Path
    ) -> VmSpec:
        properties = image.properties
        kernel, initrd = (
            self._images.path(properties[name]) if name in properties else None
            for name in ("kernel_id", "ramdisk_id")
        )
        bus = _BUSES.get(properties.get("hw_disk_bus", ""), Bus.VIRTIO)
        disks = [await self._root_disk(server, image, bus)]
        if server.config_drive or properties.get("img_config_drive") == "mandatory":
            disks.append(_config_drive(instance, run, bus))
        return VmSpec(
            name=f"i-{server.id}",
            uuid=UUID(server.id),
            kernel=kernel,
            initrd=initrd,
            cmdline=properties.get("os_command_line", "console=ttyS0") if kernel else "",
            memory_mib=server.flavor.ram_mib,
            vcpus=server.flavor.vcpus,
            disks=tuple(disks),
            nics=tuple(Nic(port.mac_address) for port in ports[:1]),
            deadline_s=NO_DEADLINE_S,
        )

    async def _root_disk(self, server: Server, image: Any, bus: Bus) -> Disk:
        """The server's own layer over the image, as large as its flavor says; made at the first start."""
        base = self._images.path(image.id)
        kind = Format.QCOW2 if image.disk_format == "qcow2" else Format.RAW
        own = self._directory / server.id / "root.qcow2"
        if not own.exists():
            size = [f"{server.flavor.disk_gib}G"] if server.flavor.disk_gib else []
            await _qemu_img("create", "-q", "-f", "qcow2", "-F", kind.value, "-b", str(base), str(own), *size)
        return Disk(own, Format.QCOW2, bus, backing=Disk(base, kind, read_only=True))


async def _image(connection: AsyncConnection, server: Server) -> Any:
    row = (await connection.execute(select(IMAGES).where(IMAGES.c.id == server.image_id))).first()
    if row is None:
        raise NotFound("Image", str(server.image_id))
    return row


def _config_drive(instance: Instance, run: Path, bus: Bus) -> Disk:
    """The config drive, readable by nobody else at any instant."""
    files = documents.tree(
        instance, random_seed=os.urandom(RANDOM_SEED_BYTES), today=datetime.now(UTC).date()
    )
    path = run / "config-drive.iso"
    path.touch(0o600, exist_ok=False)
    path.write_bytes(builder.build(files, label="config-2"))
    return Disk(path, bus=bus, read_only=True)


def _addressed(
    attachment: Attachment, backend: Backend, ports: Sequence[Any], subnets: Mapping[str, Any]
) -> Attachment:
    """QEMU's user network with the address that the first port was given, where the backend can."""
    if not isinstance(backend, Namespace):
        return attachment
    for port in ports[:1]:
        for fixed in port.fixed_ips:
            subnet = subnets[fixed["subnet_id"]]
            if subnet.ip_version == 4:
                return replace(attachment, netdev=f"{attachment.netdev},{_user_network(subnet, fixed)}")
    return attachment


def _user_network(subnet: Any, fixed: Mapping[str, str]) -> str:
    network = ipaddress.ip_network(subnet.cidr)
    taken = {fixed["ip_address"], subnet.gateway_ip}
    spare = [str(network.broadcast_address - back) for back in range(1, 4)]
    host = subnet.gateway_ip or next(each for each in spare if each not in taken)
    dns = next(each for each in spare if each not in {*taken, host})
    return f"net={network},host={host},dns={dns},dhcpstart={fixed['ip_address']}"


async def _qemu_img(*arguments: str) -> None:
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
