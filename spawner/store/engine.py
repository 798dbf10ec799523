"""Open the store: SQLite by default, PostgreSQL by URL, the schema brought up to date on the way.

Source: faults-and-threats SP-18 (busy, durable, newer schema), design section 7.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from spawner.errors import StoreTooNew, StoreUnusable
from spawner.store import sqlite
from spawner.store.tables import METADATA

SCHEMA_VERSION = 4
"""2: volumes, their attachments, device slots, rescues. 3: details of users, revocations, quotas of projects,
descriptions of servers, access to flavors, members of images. 4: floating IPs. Nothing that was there before
has changed."""
BUSY_TIMEOUT_MS = 30_000
ALONE_KEY = 0x67756573746C6E67
"""The number of our lock in a PostgreSQL database: "guestlng"."""


class Store:
    """The database. `write()` is one transaction that nobody else's write can come between."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for queries."""
        async with self.engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed at the end of the block, rolled back when it raises.

        On SQLite it takes the write lock at once, so that what it reads stays true until it commits.
        """
        async with self.engine.connect() as connection:
            if self._is_sqlite:
                await connection.exec_driver_sql("BEGIN IMMEDIATE")
            async with connection.begin() if not self._is_sqlite else _already_begun(connection):
                yield connection

    @asynccontextmanager
    async def write_alone(self) -> AsyncIterator[AsyncConnection]:
        """The same, one at a time on PostgreSQL too: for what is made once, because it is not there yet.

        There two transactions may both find it missing. On SQLite no two write at once anyway.
        """
        async with self.write() as connection:
            if not self._is_sqlite:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ALONE_KEY})
            yield connection

    async def close(self) -> None:
        """Give all connections back."""
        await self.engine.dispose()


@asynccontextmanager
async def _already_begun(connection: AsyncConnection) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        await connection.rollback()
        raise
    await connection.commit()


def _pragmas(busy_timeout_ms: int) -> Callable[[Any, object], None]:
    """What is set on every new connection."""

    def set_them(connection: Any, _record: object) -> None:
        # The driver's own BEGIN is switched off: `Store.write` says when, and that it is IMMEDIATE.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={busy_timeout_ms}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return set_them


async def open_store(url: str, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> Store:
    """Open a store by file path or SQLAlchemy URL (`sqlite+aiosqlite:///FILE`, `postgresql+asyncpg://...`).

    Makes the tables where there are none. Raises StoreTooNew for one that a newer release made, and
    StoreUnusable for one that is damaged, locked, read-only or on a full disk; nothing of it is changed then.
    """
    if "://" not in url:
        try:
            Path(url).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # User data and password hashes are in it: SQLite gives its other files the mode of this one.
            os.close(os.open(url, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            raise StoreUnusable(url, error.strerror or str(error)) from error
        url = f"sqlite+aiosqlite:///{Path(url).absolute()}"
    if url.startswith("sqlite"):
        engine = create_async_engine(url, module=sqlite.Driver())
        event.listen(engine.sync_engine, "connect", _pragmas(busy_timeout_ms))
    else:
        engine = create_async_engine(url)
    store = Store(engine)
    try:
        await _bring_up_to_date(store)
    except DBAPIError as error:
        await store.close()
        raise StoreUnusable(engine.url.render_as_string(), str(error.orig)) from error
    except BaseException:
        await store.close()
        raise
    return store


async def _bring_up_to_date(store: Store) -> None:
    async with store.write_alone() as connection:
        await connection.execute(text("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"))
        found = (await connection.execute(text("SELECT version FROM schema_version"))).scalar()
        if found is not None and found > SCHEMA_VERSION:
            raise StoreTooNew(str(store.engine.url), found, SCHEMA_VERSION)
        if found == SCHEMA_VERSION:
            return
        # So far every version only added tables: making those that are missing is the whole way up.
        await connection.run_sync(METADATA.create_all)
        change = "INSERT INTO schema_version (version) VALUES (:version)"
        if found is not None:
            change = "UPDATE schema_version SET version = :version"
        await connection.execute(text(change), {"version": SCHEMA_VERSION})
