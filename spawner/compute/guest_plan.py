"""What a server's guest is made of, whichever hypervisor runs it: from the store's rows to a `VmSpec`.

`read` takes from the store what is needed, at one moment. `GuestFiles` keeps a server's own files, which are
its disk's layer over the image, and the drive with its metadata.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
from spawner import devices, floating_ips, image_fit, image_properties, networks, pci, root_volume
from spawner.compute import firmware
from spawner.compute.driver import Bus, Disk, Format, Nic, VmSpec
from spawner.devices import Devices, NicDevice, VolumeDevice
from spawner.errors import InvalidSpec, NotFound, QemuFailed
from spawner.image_cache import CONVERTED, ImageCache
from spawner.image_properties import Hardware
from spawner.images import ImageFiles
from spawner.instance_document import instance_of
from spawner.network.guest_networks import PortPlan
from spawner.placement import DISK_GB, MEMORY_MB, VCPU, Inventory
from spawner.qemu_img import qemu_img
from spawner.store.servers import Server
from spawner.store.tables import IMAGES, NETWORKS, RESCUES, SUBNETS

RANDOM_SEED_BYTES = 512
# A server lives until it is ended; ten years stand for that where a deadline is needed.
NO_DEADLINE_S = 10 * 365 * 86400.0
VCPU_RATIO = 4.0
ROOT_DISK, RESCUE_DISK, CONFIG_DRIVE = "root.qcow2", "rescue.qcow2", "config-drive.iso"
PASSWORDS = "passwords"
PASSABLE = 0o711
"""A directory whose files can be reached by name, and not be listed."""
# Metadata requests that are kept of a guest's run, for its user to see.
ASKED_LIMIT = 300
# The first slots of the PCI bus; `devices` deals out 3 and those from 8 on, QEMU takes what is left.
CONFIG_DRIVE_SLOT, SECOND_ROOT_SLOT = 5, 7
NAME_DIGITS = 24
BOOT_FILES = ("kernel_id", "ramdisk_id")
"""Properties of an image that name other images."""


@dataclass(frozen=True)
class GuestPlan:
    """What the store says of a server's guest. `rescue_image` is None but during a rescue."""

    image: Any
    rescue_image: Any
    instance: Instance
    devices: Devices
    ports: tuple[PortPlan, ...]


async def read(connection: AsyncConnection, server: Server, volumes_in: Path) -> GuestPlan:
    """The plan as the store stands now. Raises NotFound, QemuFailed."""
    own, rescue = await images(connection, server)
    found = await devices.of_server(connection, server.id, volumes_in)
    return GuestPlan(
        image=own,
        rescue_image=rescue,
        instance=await instance(connection, server, volumes_in),
        devices=found,
        ports=tuple([await port_plan(connection, nic) for nic in found.nics]),
    )


async def instance(connection: AsyncConnection, server: Server, volumes_in: Path) -> Instance:
    """The server's documents as the store stands now. Raises QemuFailed."""
    ports = await networks.ports_of_device(connection, server.id)
    subnets = {row.id: row for row in await connection.execute(select(SUBNETS))}
    mtu = {row.id: row.mtu for row in await connection.execute(select(NETWORKS))}
    found = await devices.of_server(connection, server.id, volumes_in)
    addresses = networks.addresses(ports, await floating_ips.in_front_of(connection, ports))
    # A guest whose image is gone runs on; what machine it has nobody knows then.
    machine = "pc"
    with contextlib.suppress(NotFound, InvalidSpec):
        machine = (await hardware(connection, server)).machine
    network_data = networks.network_data(ports, subnets, mtu)
    try:
        return instance_of(server, network_data, found, addresses, machine)
    except InvalidInstance as error:
        raise QemuFailed(server.name, f"cannot be given its metadata: {error}") from error


async def images(connection: AsyncConnection, server: Server) -> tuple[Any, Any]:
    """A server's image, and the one that it is rescued with, or None. Raises NotFound."""
    own = await _bootable(connection, server, await _boot_source(connection, server))
    if not server.is_in_rescue:
        return own, None
    query = select(RESCUES.c.image_id).where(RESCUES.c.server_id == server.id)
    rescue_id = (await connection.execute(query)).scalar()
    if rescue_id is None:
        return own, None
    return own, await _bootable(connection, server, await _image(connection, rescue_id))


@dataclass(frozen=True)
class _VolumeSource:
    """What a volume kept of the image that it was made from, and whose it is."""

    properties: Mapping[str, str]
    owner: str


async def _boot_source(connection: AsyncConnection, server: Server) -> Any:
    """A server's image, or what the volume that it boots from knows of one. Raises NotFound."""
    if server.boots_from_volume:
        volume = await root_volume.of_server(connection, server.id)
        if volume is not None:
            return _VolumeSource(volume.image_metadata, volume.project_id)
    return await _image(connection, server.image_id)


async def _bootable(connection: AsyncConnection, server: Server, image: Any) -> Any:
    """An image whose kernel and ramdisk its project may read: any user can name some in a property.

    Raises NotFound.
    """
    for name in BOOT_FILES:
        if name in image.properties:
            part = await _image(connection, image.properties[name])
            if part.visibility == "private" and part.owner not in {server.project_id, image.owner}:
                raise NotFound("Image", image.properties[name])
    return image


async def _image(connection: AsyncConnection, image_id: str | None) -> Any:
    row = (await connection.execute(select(IMAGES).where(IMAGES.c.id == image_id))).first()
    if row is None:
        raise NotFound("Image", str(image_id))
    return row


async def port_plan(connection: AsyncConnection, nic: NicDevice) -> PortPlan:
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


def device_name(kind: str, owner_id: str) -> str:
    """What QEMU calls a volume or card: made from its id alone, and short enough for a node."""
    return f"{kind}-{owner_id.replace('-', '')[:NAME_DIGITS]}"


def volume_disk(volume: VolumeDevice, machine: str) -> Disk:
    """A volume as a disk of a guest on this machine."""
    return Disk(
        volume.path,
        Format.QCOW2,
        serial=volume.volume_id,
        name=device_name("vol", volume.volume_id),
        slot=volume.slot,
        behind=pci.bus_of(machine, volume.slot),
    )


def card(nic: NicDevice, hardware: Hardware) -> Nic:
    """A port as a network card of a guest, of the kind that its image asks for."""
    return Nic(
        nic.mac,
        hardware.nic_model,
        name=device_name("nic", nic.port_id),
        slot=nic.slot,
        behind=pci.bus_of(hardware.machine, nic.slot),
    )


async def hardware(connection: AsyncConnection, server: Server) -> Hardware:
    """The machine that a server's image asks for. Raises NotFound, InvalidSpec."""
    return image_properties.read((await _boot_source(connection, server)).properties)


def host_inventories(directory: Path) -> Mapping[str, Inventory]:
    """This host's processors, memory (a quarter kept for the host) and the disk that `directory` is on."""
    memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    existing = next(parent for parent in (directory, *directory.parents) if parent.exists())
    disk_gib = shutil.disk_usage(existing).total >> 30
    return {
        VCPU: Inventory(os.cpu_count() or 1, allocation_ratio=VCPU_RATIO),
        MEMORY_MB: Inventory(memory_mib, reserved=memory_mib // 4),
        DISK_GB: Inventory(max(disk_gib, 1)),
    }


class GuestFiles:
    """The files of a node's guests, in `directory/ID/`; images come from the image store."""

    def __init__(self, directory: Path, image_files: ImageFiles) -> None:
        self.directory = directory
        self._images = image_files
        self._cache = ImageCache(directory.parent / "image-cache")

    def open_to_qemu(self) -> None:
        """Let another user's QEMU pass to the files that it is given by path; each keeps its own mode."""
        for own in (self.directory, self._images.directory, self._cache.directory):
            own.mkdir(parents=True, exist_ok=True, mode=0o700)
            own.chmod(PASSABLE)

    def home(self, server_id: str) -> Path:
        """Where a server's own files are."""
        return self.directory / server_id

    async def spec(self, server: Server, plan: GuestPlan, drive_in: Path) -> VmSpec:
        """The machine, its disks made where they are not there yet; a config drive goes to `drive_in`."""
        image = plan.rescue_image or plan.image
        properties = image.properties
        kernel, initrd = (
            self._images.path(properties[name]) if name in properties else None for name in BOOT_FILES
        )
        hardware = image_properties.read(properties)
        bus = hardware.disk_bus
        disks = [await self._boot_disk(server, plan, hardware)]
        if plan.rescue_image is not None:
            rescue = await self._root_disk(server, plan.rescue_image, RESCUE_DISK, bus)
            disks = [replace(rescue, slot=pci.ROOT_SLOT), replace(disks[0], slot=SECOND_ROOT_SLOT)]
        if server.config_drive or hardware.config_drive:
            disks.append(
                replace(_config_drive(plan.instance, drive_in, hardware.cdrom_bus), slot=CONFIG_DRIVE_SLOT)
            )
        disks += [volume_disk(volume, hardware.machine) for volume in plan.devices.volumes]
        return VmSpec(
            name=f"i-{server.id}",
            uuid=UUID(server.id),
            kernel=kernel,
            initrd=initrd,
            cmdline=properties.get("os_command_line", "console=ttyS0") if kernel else "",
            memory_mib=server.flavor.ram_mib,
            vcpus=server.flavor.vcpus,
            machine=hardware.machine,
            firmware=firmware.uefi(self.home(server.id)) if hardware.uefi else None,
            disks=tuple(disks),
            nics=tuple(card(nic, hardware) for nic in plan.devices.nics),
            root_ports=pci.root_ports(hardware.machine),
            deadline_s=NO_DEADLINE_S,
            reboots=True,
        )

    async def _boot_disk(self, server: Server, plan: GuestPlan, hardware: Hardware) -> Disk:
        """A volume, or the server's own layer over its image."""
        if plan.devices.root is not None:
            return replace(volume_disk(plan.devices.root, hardware.machine), bus=hardware.disk_bus)
        own = await self._root_disk(server, plan.image, ROOT_DISK, hardware.disk_bus)
        return replace(own, slot=pci.ROOT_SLOT)

    async def _root_disk(self, server: Server, image: Any, name: str, bus: Bus) -> Disk:
        """The server's own layer over the image, as large as its flavor says; made at the first start.

        Raises InvalidSpec when that would cut the image off.
        """
        needs = image_fit.ImageNeeds(image.min_ram, image.min_disk, image.virtual_size)
        if too_small := image_fit.why_too_small(server.flavor, needs):
            raise InvalidSpec("flavor", too_small.removesuffix("."), "Take a larger one")
        base = self._images.path(image.id)
        kind = Format.QCOW2 if image.disk_format == "qcow2" else Format.RAW
        if image.disk_format in CONVERTED:
            base, kind = await self._cache.get(image.id, base, image.disk_format), Format.QCOW2
        own = self.home(server.id) / name
        if not own.exists():
            size = [f"{server.flavor.disk_gib}G"] if server.flavor.disk_gib else []
            await qemu_img("create", "-q", "-f", "qcow2", "-F", kind.value, "-b", str(base), str(own), *size)
        return Disk(own, Format.QCOW2, bus, backing=Disk(base, kind, read_only=True))


def _config_drive(instance: Instance, directory: Path, bus: Bus) -> Disk:
    """The config drive, readable by nobody else at any instant."""
    files = documents.tree(
        instance, random_seed=os.urandom(RANDOM_SEED_BYTES), today=datetime.now(UTC).date()
    )
    path = directory / CONFIG_DRIVE
    path.touch(0o600, exist_ok=False)
    path.write_bytes(builder.build(files, label="config-2"))
    return Disk(path, bus=bus, read_only=True)
