"""The store on SQLite and on a real PostgreSQL: documents, passwords, changes told, an outage."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from instance_metadata.errors import InvalidInstance
from metadata_server.app import MetadataServer
from metadata_server.errors import BadListener, StoreUnavailable
from metadata_server.listener import Listener, Mode
from metadata_server.store import Store, StorePasswords, async_url
from metadata_server.stored_instances import StoredInstances
from tests.contract.metadata.postgres import PostgreSQL, postgresql

UUID = "aaaaaaaa-0000-4000-8000-000000000001"
OTHER = "bbbbbbbb-0000-4000-8000-000000000002"
CLAIM = ("ip", "", "10.0.0.1")
DOCUMENT: dict[str, object] = {"uuid": UUID, "name": "first", "identity": {"source_ips": ["10.0.0.1"]}}


@pytest.fixture(scope="module")
def database() -> Iterator[PostgreSQL]:
    with postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    server = request.getfixturevalue("database")
    assert isinstance(server, PostgreSQL)
    return server.url


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    made = Store(url)
    await made.open()
    for uuid in (UUID, OTHER):
        await made.delete(uuid)
    yield made
    await made.close()


async def test_documents_are_kept_found_and_removed(store: Store) -> None:
    await store.write(UUID, DOCUMENT)
    assert await store.read(UUID) == DOCUMENT
    assert await store.find(CLAIM) == UUID
    assert await store.find(("id", UUID)) == UUID
    await store.write(UUID, {"uuid": UUID})
    assert await store.find(CLAIM) is None
    assert await store.delete(UUID)
    assert not await store.delete(UUID)
    assert await store.read(UUID) is None


async def test_a_claim_of_two_instances_is_refused(store: Store) -> None:
    await store.write(UUID, DOCUMENT)
    with pytest.raises(InvalidInstance, match="another instance"):
        await store.write(OTHER, {"uuid": OTHER, "identity": {"source_ips": ["10.0.0.1"]}})
    assert await store.find(CLAIM) == UUID
    assert await store.read(OTHER) is None


async def test_ms_d04_one_of_many_passwords_wins(store: Store, url: str) -> None:
    """Two servers on one store, many posts at once."""
    second = Store(url)
    stores = (StorePasswords(store), StorePasswords(second))
    results = await asyncio.gather(*(stores[i % 2].store_once(UUID, f"p{i}".encode()) for i in range(20)))
    assert sum(results) == 1
    winner = f"p{results.index(True)}".encode()
    assert await stores[0].read(UUID) == await stores[1].read(UUID) == winner
    await stores[1].clear(UUID)
    assert await stores[0].read(UUID) == b""
    await second.close()


class Running:
    """A server that follows a store, and the guest's answer from it."""

    def __init__(self, url: str, socket: Path) -> None:
        self.server = MetadataServer()
        self.stored = StoredInstances(Store(url), self.server.instances, 49_149)
        self.server.services.fetch = self.stored.fetch
        self.server.services.passwords = StorePasswords(self.stored.store)
        self.socket = socket

    async def start(self) -> None:
        await self.stored.start()
        self.task = asyncio.create_task(self.stored.follow())
        await self.server.listen(Listener(f"unix:{self.socket}", Mode.SOCKET, instance_id=UUID))

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.server.close(timeout_s=1)
        await self.stored.store.close()

    async def get(self, path: str) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_unix_connection(self.socket)
        writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return int(head.split(b" ")[1]), body

    async def name_within(self, name: bytes, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while (  # noqa: ASYNC110  # the change is seen from outside only
                b'"name": "' + name + b'"' not in (await self.get("/openstack/latest/meta_data.json"))[1]
            ):
                await asyncio.sleep(0.02)


async def test_several_servers_are_told_within_a_second(store: Store, url: str, tmp_path: Path) -> None:
    servers = [Running(url, tmp_path / str(i)) for i in range(3)]
    for server in servers:
        await server.start()
        assert (await server.get("/openstack"))[0] == 404
    await store.write(UUID, DOCUMENT)
    await asyncio.gather(*(server.name_within(b"first", 2.0) for server in servers))
    for name in ("second", "third"):
        await store.write(UUID, {**DOCUMENT, "name": name})
        await asyncio.gather(*(server.name_within(name.encode(), 1.0) for server in servers))
    await store.delete(UUID)
    await asyncio.sleep(1.0)
    assert [(await server.get("/openstack"))[0] for server in servers] == [404] * 3
    for server in servers:
        await server.stop()


async def test_known_instances_are_served_while_postgresql_is_away(tmp_path: Path) -> None:
    with postgresql() as database:
        running = Running(database.url, tmp_path / "s")
        await running.start()
        await running.stored.store.write(UUID, DOCUMENT)
        await running.name_within(b"first", 2.0)
        database.stop()
        await asyncio.sleep(0.7)
        assert (await running.get("/openstack/latest/meta_data.json"))[0] == 200
        assert (await running.get("/openstack/latest/password"))[0] == 503
        with pytest.raises(StoreUnavailable):
            await running.stored.fetch(("ip", "", "10.9.9.9"))
        database.start()
        second = Store(database.url)
        await second.write(UUID, {**DOCUMENT, "name": "after"})
        await running.name_within(b"after", 5.0)
        await second.close()
        await running.stop()


async def test_memory_is_bounded(tmp_path: Path) -> None:
    running = Running(f"sqlite:///{tmp_path}/store.db", tmp_path / "s")
    await running.stored.start()
    running.stored.kept = 3
    for i in range(6):
        uuid = f"aaaaaaaa-0000-4000-8000-00000000000{i}"
        await running.stored.store.write(uuid, {"uuid": uuid})
        await running.stored.fetch(("id", uuid))
    assert len(running.server.instances) == 3
    await running.stored.store.close()


async def test_an_unknown_claim_is_not_asked_for_again_at_once(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/store.db")
    now = [0.0]
    stored = StoredInstances(store, MetadataServer().instances, 49_149, now=lambda: now[0])
    await stored.start()
    await stored.fetch(CLAIM)
    await store.write(UUID, DOCUMENT)
    await stored.fetch(CLAIM)
    assert len(stored.catalogue) == 0
    now[0] = 2.0
    await stored.fetch(CLAIM)
    assert len(stored.catalogue) == 1
    await store.close()


async def test_ms_d07_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = Store(f"sqlite:///{path}")
    await store.open()
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE guestling_schema SET version = 99")
    connection.close()
    newer = Store(f"sqlite:///{path}")
    with pytest.raises(BadListener, match="schema 99"):
        await newer.open()
    await newer.close()


async def test_ms_d07_a_damaged_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"not a database at all, but long enough to be taken for one" * 50)
    before = path.read_bytes()
    store = Store(f"sqlite:///{path}")
    with pytest.raises(StoreUnavailable):
        await store.open()
    await store.close()
    assert path.read_bytes() == before


def test_other_databases_are_refused() -> None:
    with pytest.raises(BadListener, match="not a store"):
        async_url("mysql://host/name")
