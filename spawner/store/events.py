"""Events: every change of a server's state and every report of its guest, under Nova's notification names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner.store.tables import EVENTS

_RECORD = insert(EVENTS)


@dataclass(frozen=True)
class Event:
    """One event; `number` grows, so that a reader can go on after the last one it has seen."""

    number: int
    time: float
    type: str
    server_id: str | None
    project_id: str | None
    payload: Mapping[str, Any]


async def record(
    connection: AsyncConnection,
    now: float,
    kind: str,
    server_id: str | None,
    project_id: str | None,
    payload: Mapping[str, Any],
) -> None:
    """Store an event in the transaction of the change that it tells of."""
    row = {"time": now, "type": kind, "server_id": server_id, "project_id": project_id}
    await connection.execute(_RECORD, {**row, "payload": dict(payload)})


async def after(
    connection: AsyncConnection, number: int = 0, server_id: str | None = None, limit: int = 1000
) -> tuple[Event, ...]:
    """The events after a number, oldest first, at most `limit`."""
    query = select(EVENTS).where(EVENTS.c.number > number)
    if server_id is not None:
        query = query.where(EVENTS.c.server_id == server_id)
    rows = await connection.execute(query.order_by(EVENTS.c.number).limit(limit))
    return tuple(
        Event(row.number, row.time, row.type, row.server_id, row.project_id, row.payload) for row in rows
    )


async def last_number(connection: AsyncConnection) -> int:
    """The number of the latest event; 0 before the first."""
    return int((await connection.execute(select(func.max(EVENTS.c.number)))).scalar() or 0)


async def count_of_guest(connection: AsyncConnection, server_id: str, after_number: int) -> int:
    """How many reports of a server's guest were recorded after an event."""
    query = (
        select(func.count())
        .select_from(EVENTS)
        .where(
            EVENTS.c.server_id == server_id,
            EVENTS.c.number > after_number,
            EVENTS.c.type.startswith("guest."),
        )
    )
    return int((await connection.execute(query)).scalar() or 0)
