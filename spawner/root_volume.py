"""The volume that a server boots from, where it has no disk of its own.

It is the attachment that has the first disk's name, and is stored with the request for the server: whoever
finishes what a killed spawner left finds it there. Source: Compute API, block device mapping v2.
"""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import devices
from spawner.errors import Conflict, NotFound
from spawner.store.engine import Store
from spawner.store.servers import Server
from spawner.store.tables import VOLUME_ATTACHMENTS, VOLUMES

IN_MAKING = frozenset({"creating", "downloading"})
POLL_S = 0.2


async def of_server(connection: AsyncConnection, server_id: str) -> Any:
    """The row of the volume that a server boots from, or None."""
    query = (
        select(VOLUMES)
        .join(VOLUME_ATTACHMENTS, VOLUME_ATTACHMENTS.c.volume_id == VOLUMES.c.id)
        .where(VOLUME_ATTACHMENTS.c.server_id == server_id)
        .where(VOLUME_ATTACHMENTS.c.device == devices.ROOT_NAME)
    )
    return (await connection.execute(query)).first()


async def attach(
    connection: AsyncConnection,
    server_id: str,
    volume_id: str,
    project_id: str,
    *,
    attachment_id: str,
    delete_with: bool,
    now: float,
) -> None:
    """Keep a volume for a server that shall boot from it; it may still be in the making.

    Raises NotFound, Conflict for one that cannot be booted from or is in use.
    """
    row = (await connection.execute(select(VOLUMES).where(VOLUMES.c.id == volume_id))).first()
    if row is None or row.project_id != project_id:
        raise NotFound("Volume", volume_id)
    if not row.bootable:
        raise Conflict(f"Volume {volume_id} is not bootable.")
    if row.status not in {"available", *IN_MAKING}:
        raise Conflict(f"Volume {volume_id} status must be available, it is {row.status}.")
    taken = select(VOLUME_ATTACHMENTS.c.id).where(VOLUME_ATTACHMENTS.c.volume_id == volume_id)
    if (await connection.execute(taken)).first() is not None:
        raise Conflict(f"Volume {volume_id} is kept for another server.")
    await connection.execute(
        insert(VOLUME_ATTACHMENTS).values(
            id=attachment_id,
            volume_id=volume_id,
            server_id=server_id,
            device=devices.ROOT_NAME,
            delete_on_termination=delete_with,
            created_at=now,
        )
    )
    await devices.plug_root(connection, server_id, volume_id)
    if row.status == "available":
        await _change(connection, volume_id, "reserved", now)


async def take_when_made(store: Store, server: Server, now: float) -> None:
    """Wait until a server's volume has been made, and say that it is in use; without one it is done at once.

    Raises Conflict when it cannot be made.
    """
    if not server.boots_from_volume:
        return
    while True:
        async with store.read() as connection:
            row = await of_server(connection, server.id)
        if row is None or row.status not in IN_MAKING:
            break
        await asyncio.sleep(POLL_S)
    if row is None or row.status == "in-use":
        return
    if row.status not in {"available", "reserved"}:
        raise Conflict(f"Volume {row.id} did not finish being created: its status is {row.status}.")
    async with store.write() as connection:
        await _change(connection, row.id, "in-use", now)


async def _change(connection: AsyncConnection, volume_id: str, status: str, now: float) -> None:
    await connection.execute(
        update(VOLUMES).where(VOLUMES.c.id == volume_id).values(status=status, updated_at=now)
    )
