"""Instance documents and passwords in a database: SQLite for one machine, PostgreSQL for many servers.

Every change gets a number; servers follow the numbers, on PostgreSQL woken by NOTIFY. A server keeps what it
has read in memory, so guests it knows are served while the database is away.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    delete,
    event,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from instance_metadata.errors import Fault, InvalidInstance
from instance_metadata.fields import Json, as_json
from instance_metadata.instance import parse
from metadata_server.caller import Claim
from metadata_server.catalogue import claims_of
from metadata_server.errors import BadListener, DamagedStore, StoreUnavailable

LOG = logging.getLogger("metadata_server")
SCHEMA_VERSION = 1
CHANNEL = "guestling_instances"
CHANGES_KEPT = 10_000

_META = MetaData()
_SCHEMA = Table("guestling_schema", _META, Column("version", Integer, primary_key=True))
_INSTANCES = Table(
    "instances", _META, Column("uuid", String(36), primary_key=True), Column("document", Text, nullable=False)
)
_CLAIMS = Table(
    "claims",
    _META,
    Column("claim", String(512), primary_key=True),
    Column("uuid", String(36), nullable=False, index=True),
)
_PASSWORDS = Table(
    "passwords",
    _META,
    Column("uuid", String(36), primary_key=True),
    Column("password", LargeBinary, nullable=False),
    Column("checksum", String(64), nullable=False),
)
# SQLite counts by itself only in a column that is exactly INTEGER.
_CHANGES = Table(
    "changes",
    _META,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("uuid", String(36), nullable=False),
)


def async_url(url: str) -> str:
    """The URL with the driver we use. Raises BadListener for another database."""
    scheme, _, rest = url.partition("://")
    drivers = {
        "sqlite": "sqlite+aiosqlite",
        "postgresql": "postgresql+asyncpg",
        "postgres": "postgresql+asyncpg",
    }
    if scheme not in drivers:
        raise BadListener(f"{scheme}://: not a store. Use sqlite:///PATH or postgresql://USER@HOST/NAME.")
    return f"{drivers[scheme]}://{rest}"


class Store:
    """The database. Methods raise StoreUnavailable while it cannot be reached."""

    def __init__(self, url: str) -> None:
        self._engine: AsyncEngine = create_async_engine(async_url(url), pool_pre_ping=True)
        self._is_sqlite = self._engine.dialect.name == "sqlite"
        if self._is_sqlite:
            event.listen(self._engine.sync_engine, "connect", _prepare_sqlite)

    async def open(self) -> None:
        """Make the tables where there are none. Raises BadListener when a newer version made them."""
        async with self.transaction() as connection:
            if not self._is_sqlite:
                # One of several servers that start at once makes the tables.
                await connection.execute(text("SELECT pg_advisory_xact_lock(4757457)"))
            await connection.run_sync(_META.create_all)
            version = await connection.scalar(select(func.max(_SCHEMA.c.version)))
            if version is None:
                await connection.execute(insert(_SCHEMA).values(version=SCHEMA_VERSION))
            elif version > SCHEMA_VERSION:
                raise BadListener(f"the store has schema {version}. Use the newer guestling that made it.")

    async def close(self) -> None:
        await self._engine.dispose()

    async def read(self, uuid: str) -> Json:
        """The document of an instance, None when there is none."""
        async with self.transaction() as connection:
            found = await connection.scalar(select(_INSTANCES.c.document).where(_INSTANCES.c.uuid == uuid))
        return None if found is None else as_json(json.loads(found))

    async def find(self, claim: Claim) -> str | None:
        """The uuid of the instance a claim belongs to."""
        table, column = (_INSTANCES, _INSTANCES.c.uuid) if claim[0] == "id" else (_CLAIMS, _CLAIMS.c.claim)
        key = claim[1] if claim[0] == "id" else _key(claim)
        async with self.transaction() as connection:
            found: str | None = await connection.scalar(select(table.c.uuid).where(column == key))
        return found

    async def write(self, uuid: str, document: object) -> None:
        """Add or replace a document. Raises InvalidInstance when another instance has a claim of it."""
        instance = parse(document, uuid)
        rows = [{"claim": _key(claim), "uuid": uuid} for claim in claims_of(instance)]
        try:
            async with self.transaction() as connection:
                await connection.execute(delete(_CLAIMS).where(_CLAIMS.c.uuid == uuid))
                await connection.execute(delete(_INSTANCES).where(_INSTANCES.c.uuid == uuid))
                await connection.execute(insert(_INSTANCES).values(uuid=uuid, document=json.dumps(document)))
                await connection.execute(insert(_CLAIMS), rows)
                await self._note_change(connection, uuid)
        except IntegrityError as conflict:
            taken = Fault(uuid, None, "identity", "belongs to another instance", "Give each its own")
            raise InvalidInstance([taken]) from conflict

    async def delete(self, uuid: str) -> bool:
        """Remove an instance, its claims and its password; False when there was none."""
        async with self.transaction() as connection:
            await connection.execute(delete(_CLAIMS).where(_CLAIMS.c.uuid == uuid))
            await connection.execute(delete(_PASSWORDS).where(_PASSWORDS.c.uuid == uuid))
            gone = await connection.execute(delete(_INSTANCES).where(_INSTANCES.c.uuid == uuid))
            await self._note_change(connection, uuid)
        return gone.rowcount > 0

    async def _note_change(self, connection: AsyncConnection, uuid: str) -> None:
        done = await connection.execute(insert(_CHANGES).values(uuid=uuid))
        key = done.inserted_primary_key
        if key is not None:
            await connection.execute(delete(_CHANGES).where(_CHANGES.c.number <= key[0] - CHANGES_KEPT))
        if not self._is_sqlite:
            await connection.execute(
                text("SELECT pg_notify(:channel, :uuid)"), {"channel": CHANNEL, "uuid": uuid}
            )

    async def last_change(self) -> int:
        """The number of the newest change, 0 when there is none."""
        async with self.transaction() as connection:
            return int(await connection.scalar(select(func.max(_CHANGES.c.number))) or 0)

    async def changes_since(self, number: int) -> tuple[list[str], int, bool]:
        """Instances changed after `number`, the newest number, and whether older changes are forgotten."""
        async with self.transaction() as connection:
            rows = (
                await connection.execute(
                    select(_CHANGES.c.number, _CHANGES.c.uuid)
                    .where(_CHANGES.c.number > number)
                    .order_by(_CHANGES.c.number)
                )
            ).all()
        newest = rows[-1][0] if rows else number
        return list(dict.fromkeys(row[1] for row in rows)), newest, len(rows) >= CHANGES_KEPT

    @contextlib.asynccontextmanager
    async def notices(self, told: Callable[[], None]) -> AsyncIterator[None]:
        """Call `told` when another server changed something (PostgreSQL; SQLite has no such thing)."""
        if self._is_sqlite:
            yield
            return
        try:
            raw = await self._engine.raw_connection()
        except (SQLAlchemyError, OSError) as error:
            raise StoreUnavailable("notices", type(error).__name__) from error
        driver: Any = raw.driver_connection

        def on_notice(*_: object) -> None:
            told()

        try:
            await driver.add_listener(CHANNEL, on_notice)
            yield
        finally:
            # Never back into the pool: it listens, and it may be broken, which is why we are here.
            raw.detach()
            driver.terminate()

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except (DBAPIError, SQLAlchemyError, OSError, TimeoutError) as error:
            reason = type(getattr(error, "orig", None) or error).__name__
            raise StoreUnavailable(self._engine.url.render_as_string(hide_password=True), reason) from error


class StorePasswords:
    """Passwords in the store: the primary key lets exactly one of many posts win, on any server."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, instance_id: str) -> bytes:
        async with self._store.transaction() as connection:
            query = select(_PASSWORDS.c.password, _PASSWORDS.c.checksum).where(
                _PASSWORDS.c.uuid == instance_id
            )
            row = (await connection.execute(query)).first()
        if row is None:
            return b""
        if hashlib.sha256(row[0]).hexdigest() != row[1]:
            raise DamagedStore(f"password of {instance_id}")
        return bytes(row[0])

    async def store_once(self, instance_id: str, password: bytes) -> bool:
        values = {
            "uuid": instance_id,
            "password": password,
            "checksum": hashlib.sha256(password).hexdigest(),
        }
        try:
            async with self._store.transaction() as connection:
                await connection.execute(insert(_PASSWORDS).values(**values))
        except IntegrityError:
            return False
        return True

    async def clear(self, instance_id: str) -> None:
        async with self._store.transaction() as connection:
            await connection.execute(delete(_PASSWORDS).where(_PASSWORDS.c.uuid == instance_id))


def _key(claim: Claim) -> str:
    return "|".join(claim)


def _prepare_sqlite(connection: Any, _: object) -> None:
    """Readers beside a writer, a writer that waits, and a write that is on the disk when it is confirmed."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "busy_timeout=5000", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
