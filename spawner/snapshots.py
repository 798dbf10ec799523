"""A server's disk as a new image: the row first, then the bytes, then the checksums (Nova's createImage)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, update

from spawner.compute.node import ComputeNode
from spawner.conductor import Caller
from spawner.errors import SpawnerError
from spawner.store.servers import Server
from spawner.store.tables import IMAGES
from spawner.work import Work

if TYPE_CHECKING:
    from spawner.api.cloud import Cloud

DISK_FORMAT = "qcow2"


async def snapshot(cloud: Cloud, server: Server, name: str, metadata: dict[str, str], caller: Caller) -> str:
    """Accept a snapshot; the id of the image that becomes active when it is done.

    Raises NotFound, Conflict. An image whose snapshot failed is taken away again.
    """
    image_id = cloud.new_id()

    async def work(node: ComputeNode, current: Server) -> None:
        try:
            await node.snapshot(current, cloud.images.partial(image_id))
            await _activate(cloud, image_id)
        except (SpawnerError, OSError):
            cloud.images.partial(image_id).unlink(missing_ok=True)
            async with cloud.store.write() as connection:
                await connection.execute(delete(IMAGES).where(IMAGES.c.id == image_id))
            raise

    await cloud.conductor.act(server.id, "snapshot", caller, Work(work, breaks=False))
    await _add_row(cloud, server, image_id, name, metadata)
    return image_id


async def _add_row(cloud: Cloud, server: Server, image_id: str, name: str, metadata: dict[str, str]) -> None:
    """The new image, with the properties of the one that the server was made from."""
    async with cloud.store.write() as connection:
        query = select(IMAGES.c.properties).where(IMAGES.c.id == server.image_id)
        inherited = (await connection.execute(query)).scalar() or {}
        now = cloud.clock()
        await connection.execute(
            insert(IMAGES).values(
                id=image_id,
                name=name,
                status="queued",
                owner=server.project_id,
                disk_format=DISK_FORMAT,
                container_format="bare",
                min_disk=server.flavor.disk_gib,
                properties={
                    **inherited,
                    **metadata,
                    "image_type": "snapshot",
                    "instance_uuid": server.id,
                    "base_image_ref": server.image_id or "",
                },
                tags=[],
                created_at=now,
                updated_at=now,
            )
        )


async def _activate(cloud: Cloud, image_id: str) -> None:
    taken = await asyncio.to_thread(cloud.images.adopt, image_id, DISK_FORMAT)
    async with cloud.store.write() as connection:
        await connection.execute(
            update(IMAGES).where(IMAGES.c.id == image_id).values(updated_at=cloud.clock(), **taken.columns())
        )
