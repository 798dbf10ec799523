"""Volumes: what may be done to one in which state, and its work; one qcow2 file each, named by its id.

A state is stored before anything is done, so that `recover` knows after a kill what was going on. Source:
Block Storage API v3 and its volume states.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import devices
from spawner.compute.node import ComputeNode
from spawner.conductor import Caller, Conductor
from spawner.devices import VolumeDevice
from spawner.empty_disk import empty_qcow2
from spawner.errors import Conflict, NotFound, SpawnerError
from spawner.image_cache import CONVERTED
from spawner.qemu_img import qemu_img
from spawner.root_volume import IN_MAKING
from spawner.store import servers
from spawner.store.engine import Store
from spawner.store.servers import Server
from spawner.store.tables import IMAGES, VOLUME_ATTACHMENTS
from spawner.store.tables import VOLUMES as ROWS

LOG = logging.getLogger(__name__)
GIB = 1 << 30
QEMU_NAMES = {"raw": "raw", "iso": "raw", "qcow2": "qcow2", **CONVERTED}
"""What qemu-img calls the formats of images that a volume can start from."""

DELETABLE = frozenset({"available", "error", "error_extending", "error_deleting"})


@dataclass(frozen=True)
class NewVolume:
    """A volume that is asked for; at most one of image and source volume is what it starts from."""

    size_gib: int
    name: str = ""
    description: str | None = None
    metadata: dict[str, str] | None = None
    image_id: str | None = None
    source_volume_id: str | None = None


class Volumes:
    """The volumes of one cloud. Requests return when they are stored; `settled` waits for the work."""

    def __init__(
        self,
        store: Store,
        conductor: Conductor,
        directory: Path,
        image_path: Callable[[str], Path],
        *,
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._conductor = conductor
        self._directory = directory
        self._image_path = image_path
        self._clock = clock
        self._new_id = new_id
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Finish what an earlier life left, and hear of servers that are deleted."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._conductor.on_deleted = self._server_gone
        await self.recover()

    async def close(self) -> None:
        """Stop working; what is unfinished is recovered at the next start."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def settled(self) -> None:
        """Wait until no volume is being worked on."""
        while self._tasks:
            await asyncio.gather(*tuple(self._tasks), return_exceptions=True)

    # --- a volume's life --------------------------------------------------------------------------------

    async def create(self, wish: NewVolume, caller: Caller) -> str:
        """Accept a new volume; its id. Raises NotFound, Conflict for what it shall start from."""
        async with self._store.write() as connection:
            volume_id = await self.add(connection, wish, caller)
        self.begin(volume_id)
        return volume_id

    async def add(self, connection: AsyncConnection, wish: NewVolume, caller: Caller) -> str:
        """The same for the request alone, in a transaction of somebody's who calls `begin` afterwards."""
        volume_id = self._new_id()
        values: dict[str, object] = {"bootable": False, "image_metadata": {}}
        if wish.image_id is not None:
            image = await _active_image(connection, wish.image_id)
            values = {"bootable": True, "image_metadata": {**image.properties, **_image_facts(image)}}
        if wish.source_volume_id is not None:
            source = await get(connection, wish.source_volume_id, caller.project_id)
            if source.status != "available":
                raise Conflict(f"Invalid volume: status must be available, it is {source.status}.")
            values = {"bootable": source.bootable, "image_metadata": source.image_metadata}
        await connection.execute(
            insert(ROWS).values(
                id=volume_id,
                name=wish.name,
                description=wish.description,
                project_id=caller.project_id,
                user_id=caller.user_id,
                status="downloading" if wish.image_id else "creating",
                size_gib=wish.size_gib,
                image_id=wish.image_id,
                source_volume_id=wish.source_volume_id,
                metadata=wish.metadata or {},
                created_at=self._clock(),
                **values,
            )
        )
        return volume_id

    def begin(self, volume_id: str) -> None:
        """Make a volume that was added."""
        self._work(volume_id, "error", self._make(volume_id))

    async def _make(self, volume_id: str) -> None:
        async with self._store.read() as connection:
            row = await get(connection, volume_id)
            image = None
            if row.image_id is not None:
                image = await _active_image(connection, row.image_id)
        path = self._directory / volume_id
        if image is not None:
            name = QEMU_NAMES[image.disk_format]
            await _copy(self._image_path(image.id), name, path, row.size_gib)
        elif row.source_volume_id is not None:
            await _copy(self._directory / row.source_volume_id, "qcow2", path, row.size_gib)
        else:
            await asyncio.to_thread(_write, path, empty_qcow2(row.size_gib * GIB))
        await self._set(volume_id, status="available")

    async def delete(self, volume_id: str, project_id: str | None) -> None:
        """Accept a delete. Raises NotFound, Conflict."""
        async with self._store.write() as connection:
            row = await get(connection, volume_id, project_id)
            if row.status not in DELETABLE or await attachment(connection, volume_id) is not None:
                raise Conflict(
                    "Invalid volume: Volume status must be available or error or error_extending"
                    f" and it must not be attached, it is {row.status}."
                )
            await _change(connection, volume_id, self._clock(), status="deleting")
        self._work(volume_id, "error_deleting", self._remove(volume_id))

    async def _remove(self, volume_id: str) -> None:
        (self._directory / volume_id).unlink(missing_ok=True)
        async with self._store.write() as connection:
            await connection.execute(delete(ROWS).where(ROWS.c.id == volume_id))

    async def extend(self, volume_id: str, size_gib: int, caller: Caller, project_id: str | None) -> None:
        """Accept more room. Raises NotFound, Conflict."""
        async with self._store.write() as connection:
            row = await get(connection, volume_id, project_id)
            if row.status not in {"available", "in-use"}:
                raise Conflict(f"Invalid volume: a volume that is {row.status} cannot be extended.")
            await _change(connection, volume_id, self._clock(), status="extending")
        self._work(volume_id, "error_extending", self._extend(volume_id, size_gib, row.status, caller))

    async def _extend(self, volume_id: str, size_gib: int, before: str, caller: Caller) -> None:
        async with self._store.read() as connection:
            plugged = await attachment(connection, volume_id)
        if plugged is None:
            await qemu_img("resize", "-q", "-f", "qcow2", str(self._directory / volume_id), f"{size_gib}G")
        else:

            async def grow(node: ComputeNode, server: Server) -> None:
                async with self._store.read() as connection:
                    device = await self._device(connection, server.id, volume_id)
                await node.resize_volume(server, device, size_gib * GIB)

            await self._conductor.reconfigure(plugged.server_id, "extend_volume", caller, grow)
        await self._set(volume_id, status=before, size_gib=size_gib)

    # --- in and out of servers --------------------------------------------------------------------------

    async def attach(
        self, server: Server, volume_id: str, caller: Caller, *, tag: str = "", delete_with: bool = False
    ) -> Any:
        """Plug a volume into a server; its attachment's row when the guest has it.

        Raises NotFound, Conflict, and what the node does; the volume is available again then.
        """
        await self._reserve(server, volume_id, tag, delete_with)

        async def plug(node: ComputeNode, current: Server) -> None:
            async with self._store.read() as connection:
                device = await self._device(connection, server.id, volume_id)
            await node.attach_volume(current, device)
            await node.refresh(current)

        try:
            await self._conductor.reconfigure(server.id, "attach_volume", caller, plug)
        except BaseException:
            await self._release(server.id, volume_id)
            raise
        async with self._store.write() as connection:
            await _change(connection, volume_id, self._clock(), status="in-use")
            return await attachment(connection, volume_id)

    async def _reserve(self, server: Server, volume_id: str, tag: str, delete_with: bool) -> None:
        async with self._store.write() as connection:
            row = await get(connection, volume_id, server.project_id)
            if row.status != "available":
                raise Conflict(
                    f"Invalid volume: volume {volume_id} status must be available, it is {row.status}."
                )
            query = select(VOLUME_ATTACHMENTS.c.device).where(VOLUME_ATTACHMENTS.c.server_id == server.id)
            taken = list((await connection.execute(query)).scalars())
            await devices.plug(connection, server.id, volume_id, tag)
            await connection.execute(
                insert(VOLUME_ATTACHMENTS).values(
                    id=self._new_id(),
                    volume_id=volume_id,
                    server_id=server.id,
                    device=devices.free_name(taken),
                    delete_on_termination=delete_with,
                    created_at=self._clock(),
                )
            )
            await _change(connection, volume_id, self._clock(), status="attaching")

    async def _release(self, server_id: str, volume_id: str) -> None:
        """The volume is in no server any more."""
        async with self._store.write() as connection:
            await devices.unplug(connection, server_id, volume_id)
            await connection.execute(
                delete(VOLUME_ATTACHMENTS).where(VOLUME_ATTACHMENTS.c.volume_id == volume_id)
            )
            await _change(connection, volume_id, self._clock(), status="available")

    async def begin_detach(self, server: Server, volume_id: str, caller: Caller) -> None:
        """Accept that a volume is taken out of a server. Raises NotFound, Conflict."""
        async with self._store.write() as connection:
            row = await get(connection, volume_id, server.project_id)
            found = await attachment(connection, volume_id)
            if found is None or found.server_id != server.id:
                raise NotFound("volume_id", volume_id)
            if found.device == devices.ROOT_NAME:
                raise Conflict("Cannot detach a root device volume")
            if row.status != "in-use":
                raise Conflict(f"Invalid volume: volume {volume_id} is {row.status}, not in-use.")
            await _change(connection, volume_id, self._clock(), status="detaching")
        self._work(volume_id, "in-use", self._detach(server.id, volume_id, caller))

    async def _detach(self, server_id: str, volume_id: str, caller: Caller) -> None:
        async def unplug(node: ComputeNode, server: Server) -> None:
            async with self._store.read() as connection:
                device = await self._device(connection, server_id, volume_id)
            await node.detach_volume(server, device)
            await self._release(server_id, volume_id)
            await node.refresh(server)

        await self._conductor.reconfigure(server_id, "detach_volume", caller, unplug)

    async def _device(self, connection: AsyncConnection, server_id: str, volume_id: str) -> VolumeDevice:
        found = await devices.of_server(connection, server_id, self._directory)
        for device in (*found.volumes, found.root):
            if device is not None and device.volume_id == volume_id:
                return device
        raise NotFound("volume_id", volume_id)

    async def _server_gone(self, server_id: str) -> None:
        """Its volumes are available again, or go with it; one that is still being made stays in any case."""
        async with self._store.write() as connection:
            query = select(VOLUME_ATTACHMENTS).where(VOLUME_ATTACHMENTS.c.server_id == server_id)
            found = (await connection.execute(query)).all()
            await connection.execute(
                delete(VOLUME_ATTACHMENTS).where(VOLUME_ATTACHMENTS.c.server_id == server_id)
            )
            made = [row for row in found if not await _is_in_making(connection, row.volume_id)]
            for row in made:
                status = "deleting" if row.delete_on_termination else "available"
                await _change(connection, row.volume_id, self._clock(), status=status)
        for row in made:
            if row.delete_on_termination:
                self._work(row.volume_id, "error_deleting", self._remove(row.volume_id))

    # --- after a restart --------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Finish what a killed spawner left.

        | state | then |
        |---|---|
        | creating, downloading | it is made again |
        | deleting | the delete is finished |
        | extending | it is what its attachment says; an extend can be asked for again |
        | reserved | the build of its server goes on; without that server it is available |
        | attaching, detaching | its server is there: it is plugged in again; else it is available |
        """
        async with self._store.read() as connection:
            rows = (await connection.execute(select(ROWS).where(ROWS.c.status != "available"))).all()
            alive = {server.id for server in await servers.listed(connection)}
            places = {row.volume_id: row for row in await connection.execute(select(VOLUME_ATTACHMENTS))}
        for row in rows:
            place = places.get(row.id)
            if row.status in IN_MAKING:
                if place is not None and place.server_id not in alive:
                    await self._server_gone(place.server_id)
                self.begin(row.id)
            elif row.status == "deleting":
                self._work(row.id, "error_deleting", self._remove(row.id))
            elif row.status in {"extending", "attaching", "detaching", "in-use", "reserved"}:
                if place is None:
                    await self._set(row.id, status="available")
                elif place.server_id not in alive:
                    await self._server_gone(place.server_id)
                elif row.status not in {"in-use", "reserved"}:
                    await self._plug_again(place, row.status)

    async def _plug_again(self, place: Any, status: str) -> None:
        """What was being plugged in or out is in, as the store says: its node is asked to see to it."""
        await self._set(place.volume_id, status="in-use")
        if status == "extending":
            return
        caller = Caller("", "", f"req-{self._new_id()}")

        async def plug(node: ComputeNode, server: Server) -> None:
            async with self._store.read() as connection:
                device = await self._device(connection, server.id, place.volume_id)
            await node.attach_volume(server, device)

        async def work() -> None:
            await self._conductor.settled(place.server_id)
            await self._conductor.reconfigure(place.server_id, "attach_volume", caller, plug)

        self._work(place.volume_id, "in-use", work())

    # --- what all of them do ----------------------------------------------------------------------------

    async def _set(self, volume_id: str, **changes: object) -> None:
        async with self._store.write() as connection:
            await _change(connection, volume_id, self._clock(), **changes)

    def _work(self, volume_id: str, state_on_failure: str, work: Awaitable[None]) -> None:
        async def run() -> None:
            try:
                await work
            except (SpawnerError, OSError) as error:
                LOG.warning("volume %s is %s: %s", volume_id, state_on_failure, error)
                await self._set(volume_id, status=state_on_failure)

        task = asyncio.create_task(run(), name=f"volume {volume_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def get(connection: AsyncConnection, volume_id: str, project_id: str | None = None) -> Any:
    """A volume's row. Raises NotFound, also for another project's."""
    row = (await connection.execute(select(ROWS).where(ROWS.c.id == volume_id))).first()
    if row is None or project_id not in {None, row.project_id}:
        raise NotFound("Volume", volume_id)
    return row


async def attachment(connection: AsyncConnection, volume_id: str) -> Any:
    """The row that says which server a volume is in, or None."""
    query = select(VOLUME_ATTACHMENTS).where(VOLUME_ATTACHMENTS.c.volume_id == volume_id)
    return (await connection.execute(query)).first()


async def of_servers(connection: AsyncConnection, server_ids: Sequence[str]) -> dict[str, list[Any]]:
    """Server -> its attachments, in the order in which they came; none for one that has none."""
    query = (
        select(VOLUME_ATTACHMENTS)
        .where(VOLUME_ATTACHMENTS.c.server_id.in_(server_ids))
        .order_by(VOLUME_ATTACHMENTS.c.created_at, VOLUME_ATTACHMENTS.c.id)
    )
    found: dict[str, list[Any]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.server_id, []).append(row)
    return found


async def _change(connection: AsyncConnection, volume_id: str, now: float, **changes: object) -> None:
    await connection.execute(update(ROWS).where(ROWS.c.id == volume_id).values(updated_at=now, **changes))


async def _is_in_making(connection: AsyncConnection, volume_id: str) -> bool:
    return (await get(connection, volume_id)).status in IN_MAKING


async def _active_image(connection: AsyncConnection, image_id: str) -> Any:
    row = (await connection.execute(select(IMAGES).where(IMAGES.c.id == image_id))).first()
    if row is None:
        raise NotFound("Image", image_id)
    if row.status != "active" or row.disk_format not in QEMU_NAMES:
        raise Conflict(f"Image {image_id} is not active, or no disk.")
    return row


def _image_facts(image: Any) -> dict[str, str]:
    """What Cinder keeps of the image beside its properties."""
    return {
        "image_id": image.id,
        "image_name": image.name or "",
        "checksum": image.checksum or "",
        "disk_format": image.disk_format,
        "container_format": image.container_format or "bare",
        "min_disk": str(image.min_disk),
        "min_ram": str(image.min_ram),
        "size": str(image.size),
    }


async def _copy(source: Path, disk_format: str, target: Path, size_gib: int) -> None:
    """A file of its own, as large as the volume is said to be."""
    partial = target.with_suffix(".part")
    try:
        await qemu_img("convert", "-q", "-U", "-f", disk_format, "-O", "qcow2", str(source), str(partial))
        await qemu_img("resize", "-q", "-f", "qcow2", str(partial), f"{size_gib}G")
        partial.chmod(0o600)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    path.touch(0o600)
    path.write_bytes(content)
