"""What the store of a new cloud with one image on offer holds, by name: the order of its rows is not told."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner.store.tables import IMAGES, NETWORKS, PROJECTS


async def tiny_image(connection: AsyncConnection) -> str:
    return str((await connection.execute(select(IMAGES.c.id).where(IMAGES.c.name == "tiny"))).scalar_one())


async def project(connection: AsyncConnection) -> str:
    return str((await connection.execute(select(PROJECTS.c.id))).scalar_one())


async def private_network(connection: AsyncConnection) -> str:
    """The network of guests; the other one, `public`, is where floating addresses come from."""
    found = await connection.execute(select(NETWORKS.c.id).where(NETWORKS.c.name == "private"))
    return str(found.scalar_one())
