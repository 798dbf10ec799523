"""The cloud's store on a real PostgreSQL, which several processes share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.schema import Table

from spawner.api import quotas
from spawner.api.cloud import Cloud
from spawner.compute.fake_node import FakeNode
from spawner.conductor import Caller
from spawner.service import open_cloud
from spawner.states import VmState
from spawner.store import servers
from spawner.store.engine import open_store
from spawner.store.tables import FLAVORS, NETWORKS, USERS
from tests.contract.metadata.postgres import PostgreSQL, postgresql
from tests.contract.openstack import first_server
from tests.contract.openstack.first_server import SERVER

PROCESSES = 4


@pytest.fixture
def database() -> Iterator[PostgreSQL]:
    with postgresql() as server:
        yield server


async def test_processes_that_start_at_once_on_an_empty_database_make_everything_once(
    database: PostgreSQL, tmp_path: Path
) -> None:
    url = database.url.replace("postgresql://", "postgresql+asyncpg://")

    async def begin(number: int) -> Cloud:
        store = await open_store(url)
        nodes = [FakeNode(f"host-{number}")]
        return await open_cloud(tmp_path / str(number), nodes, "http://127.0.0.1:1", store)

    clouds = await asyncio.gather(*map(begin, range(PROCESSES)))
    try:
        assert await _names(clouds[0], NETWORKS) == ["private", "public"]
        assert await _names(clouds[0], USERS) == ["admin"]
        flavors = await _names(clouds[0], FLAVORS)
        assert len(flavors) == len(set(flavors))
        # The password is with the one that made the admin.
        assert len(list(tmp_path.glob("*/clouds.yaml"))) == 1
        await _is_served(clouds[-1])
    finally:
        for cloud in clouds:
            await cloud.volumes.close()
            await cloud.conductor.close()
            await cloud.store.close()


async def _names(cloud: Cloud, table: Table) -> list[str]:
    async with cloud.store.read() as connection:
        return sorted((await connection.execute(select(table.c.name))).scalars())


async def _is_served(cloud: Cloud) -> None:
    """A server from its request to its end."""
    project = await first_server.make(cloud)
    async with cloud.store.read() as connection:
        found = await servers.get(connection, SERVER)
        used = await quotas.used_of_compute(connection, project)
        await quotas.check_ports_of_server(connection, project, 1)
    assert (found.vm_state, found.fault) == (VmState.ACTIVE, None)
    assert used == {"instances": 1, "cores": 1, "ram": 64, "server_groups": 0}
    await cloud.conductor.delete(SERVER, Caller(project, "user-1", "req-2"))
    await cloud.conductor.settled()
