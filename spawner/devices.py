"""What is plugged into a server besides its own disk: volumes and network cards, each in a PCI slot.

The slot is stored, so that a device is found again at the same address after a restart of the guest or of
the spawner, and so that the metadata can say where it is. A tag is what its user calls it; both show in
`devices` of meta_data.json. Source: Nova's device role tagging; metadata-service.md 4.3.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, delete, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import networks, pci
from spawner.errors import Conflict, NotFound
from spawner.pci import FIRST_NIC_SLOT, HOT_SLOTS, ROOT_SLOT
from spawner.store.tables import DEVICE_SLOTS, PORTS, VOLUME_ATTACHMENTS

VOLUME_FILES = "volumes"
"""The directory of volume files, below the cloud's own."""
OWNER = "compute:nova"
"""The `device_owner` of a port that is in a server."""
ROOT_NAME = "/dev/vda"
"""The name of the disk that a server boots from; a volume has it where the server has no disk of its own."""
DISK_LETTERS = "bcdefghijklmnopqrstuvwxyz"
_SLOTS = select(DEVICE_SLOTS).where(DEVICE_SLOTS.c.server_id == bindparam("server_id"))
_PLUG = insert(DEVICE_SLOTS)
_WITHOUT_SLOT = (
    select(PORTS.c.id)
    .where(PORTS.c.device_id == bindparam("server_id"))
    .where(
        ~exists().where(DEVICE_SLOTS.c.server_id == PORTS.c.device_id, DEVICE_SLOTS.c.owner_id == PORTS.c.id)
    )
    .order_by(PORTS.c.created_at, PORTS.c.id)
)


@dataclass(frozen=True)
class VolumeDevice:
    """A volume in a server: its qcow2 file, the name that the API shows (`/dev/vdb`), where it is plugged in.

    Its serial number is the volume's id.
    """

    volume_id: str
    path: Path
    name: str
    slot: int
    tag: str = ""


@dataclass(frozen=True)
class NicDevice:
    """A port in a server. `fixed_ips`: `{"subnet_id": ..., "ip_address": ...}` of each address."""

    port_id: str
    network_id: str
    mac: str
    slot: int
    fixed_ips: tuple[Mapping[str, str], ...] = ()
    tag: str = ""


@dataclass(frozen=True)
class Devices:
    """Everything that is plugged into one server: volumes as they came, cards by slot.

    `root`: the volume that it boots from, where it has no disk of its own; it is none of `volumes`.
    """

    volumes: tuple[VolumeDevice, ...] = ()
    nics: tuple[NicDevice, ...] = ()
    root: VolumeDevice | None = None


async def of_server(connection: AsyncConnection, server_id: str, volumes_in: Path) -> Devices:
    """The devices of a server; `volumes_in` is the directory of volume files."""
    places = await _places(connection, server_id)
    query = (
        select(VOLUME_ATTACHMENTS)
        .where(VOLUME_ATTACHMENTS.c.server_id == server_id)
        .order_by(VOLUME_ATTACHMENTS.c.created_at, VOLUME_ATTACHMENTS.c.id)
    )
    volumes = [
        VolumeDevice(row.volume_id, volumes_in / row.volume_id, row.device, place.slot, place.tag)
        for row in await connection.execute(query)
        if (place := places.get(row.volume_id)) is not None
    ]
    query = select(PORTS).where(PORTS.c.device_id == server_id).order_by(PORTS.c.created_at, PORTS.c.id)
    nics = [
        nic_of(row, place.slot, place.tag)
        for row in await connection.execute(query)
        if (place := places.get(row.id)) is not None
    ]
    root = next((volume for volume in volumes if volume.name == ROOT_NAME), None)
    return Devices(
        tuple(volume for volume in volumes if volume is not root),
        tuple(sorted(nics, key=lambda nic: nic.slot)),
        root,
    )


def nic_of(port: Any, slot: int, tag: str = "") -> NicDevice:
    """A port's row as a device."""
    return NicDevice(port.id, port.network_id, port.mac_address, slot, tuple(port.fixed_ips), tag)


async def plug(connection: AsyncConnection, server_id: str, owner_id: str, tag: str = "") -> int:
    """The slot of a volume or port in a server; taken now when it has none. Raises Conflict when all are."""
    places = await _places(connection, server_id)
    if owner_id in places:
        return int(places[owner_id].slot)
    slot = free_slot({place.slot for place in places.values()})
    await connection.execute(
        insert(DEVICE_SLOTS).values(server_id=server_id, owner_id=owner_id, slot=slot, tag=tag)
    )
    return slot


async def plug_root(connection: AsyncConnection, server_id: str, volume_id: str) -> None:
    """Give the volume that a server boots from the place of its first disk."""
    await connection.execute(
        insert(DEVICE_SLOTS).values(server_id=server_id, owner_id=volume_id, slot=ROOT_SLOT, tag="")
    )


async def plug_port(
    connection: AsyncConnection,
    server_id: str,
    port_id: str,
    tag: str = "",
    *,
    was_there_before: bool = False,
) -> int:
    """The slot of a port in a server: the first one the place where guests expect it. Raises Conflict."""
    places = await _places(connection, server_id)
    if port_id in places:
        return int(places[port_id].slot)
    taken = {place.slot for place in places.values()}
    slot = FIRST_NIC_SLOT if FIRST_NIC_SLOT not in taken else free_slot(taken)
    row = {"server_id": server_id, "owner_id": port_id, "slot": slot, "tag": tag}
    await connection.execute(_PLUG, {**row, "was_there_before": was_there_before})
    return slot


async def plug_ports(connection: AsyncConnection, server_id: str) -> None:
    """Give every port of a server that has no slot yet one, in the order in which they were made."""
    for port_id in (await connection.execute(_WITHOUT_SLOT, {"server_id": server_id})).scalars().all():
        await plug_port(connection, server_id, port_id)


async def is_kept(connection: AsyncConnection, server_id: str, port_id: str) -> bool:
    """Whether a port stays when its server lets go of it."""
    place = (await _places(connection, server_id)).get(port_id)
    return place is not None and bool(place.was_there_before)


async def unplug(connection: AsyncConnection, server_id: str, owner_id: str | None = None) -> None:
    """Give a slot back; without an owner, all of the server's."""
    query = delete(DEVICE_SLOTS).where(DEVICE_SLOTS.c.server_id == server_id)
    if owner_id is not None:
        query = query.where(DEVICE_SLOTS.c.owner_id == owner_id)
    await connection.execute(query)


def free_slot(taken: Collection[int]) -> int:
    """The lowest hot-plug slot that nobody has. Raises Conflict when there is none."""
    for slot in HOT_SLOTS:
        if slot not in taken:
            return slot
    raise Conflict(f"The server has {len(HOT_SLOTS)} volumes and ports already: there is no free PCI slot.")


def free_name(taken: Sequence[str]) -> str:
    """The next name for a disk after the root disk's /dev/vda. Raises Conflict after /dev/vdz."""
    for letter in DISK_LETTERS:
        if f"/dev/vd{letter}" not in taken:
            return f"/dev/vd{letter}"
    raise Conflict("The server has a disk of every name up to /dev/vdz already.")


def metadata_entries(devices: Devices, machine: str) -> list[dict[str, object]]:
    """`devices` of the instance document: cards first, then volumes; the address is that on `machine`."""
    nics: list[dict[str, object]] = [
        {"type": "nic", **_address(machine, nic.slot), "mac": nic.mac, **_tags(nic.tag)}
        for nic in devices.nics
    ]
    disks: list[dict[str, object]] = [
        {"type": "disk", **_address(machine, volume.slot), "serial": volume.volume_id, **_tags(volume.tag)}
        for volume in devices.volumes
    ]
    return nics + disks


def _address(machine: str, slot: int) -> dict[str, str]:
    return {"bus": "pci", "address": pci.address(machine, slot)}


def _tags(tag: str) -> dict[str, list[str]]:
    return {"tags": [tag]} if tag else {}


async def _places(connection: AsyncConnection, server_id: str) -> dict[str, Any]:
    rows = await connection.execute(_SLOTS, {"server_id": server_id})
    return {row.owner_id: row for row in rows}


# --- ports of servers ----------------------------------------------------------------------------------


async def bind(
    connection: AsyncConnection, server_id: str, project_id: str, port_id: str, tag: str = ""
) -> None:
    """Make a port that is there the server's. Raises NotFound, Conflict."""
    port = await networks.get(connection, PORTS, "Port", port_id)
    if port.project_id != project_id:
        raise NotFound("Port", port_id)
    if port.device_id:
        raise Conflict(f"Port {port_id} is still in use.")
    await connection.execute(
        update(PORTS)
        .where(PORTS.c.id == port_id)
        .values(device_id=server_id, device_owner=OWNER, status="ACTIVE")
    )
    await plug_port(connection, server_id, port_id, tag, was_there_before=True)


async def let_go(connection: AsyncConnection, server_id: str, port_id: str) -> None:
    """The server has the port no more: it goes, or is free again when it was there before the server."""
    if await is_kept(connection, server_id, port_id):
        free = {"device_id": "", "device_owner": "", "status": "DOWN"}
        await connection.execute(update(PORTS).where(PORTS.c.id == port_id).values(**free))
    else:
        await networks.remove_port(connection, port_id)
    await unplug(connection, server_id, port_id)


async def let_go_of_all(connection: AsyncConnection, server_id: str) -> None:
    """A server that is gone has no ports."""
    for port in await networks.ports_of_device(connection, server_id):
        await let_go(connection, server_id, port.id)
    await unplug(connection, server_id)
