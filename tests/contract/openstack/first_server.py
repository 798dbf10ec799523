"""The one server of the tests that need a server and no client to ask for it."""

from __future__ import annotations

from sqlalchemy import select

from spawner.api.cloud import Cloud
from spawner.conductor import Caller
from spawner.store.servers import Flavor, Server
from spawner.store.tables import PROJECTS

SERVER = "11111111-2222-4333-8444-555555555555"


async def make(cloud: Cloud) -> str:
    """Make `web-1` in the cloud's first project, whose id this gives, and wait until it stands."""
    async with cloud.store.read() as connection:
        project = str((await connection.execute(select(PROJECTS.c.id))).scalar_one())
    flavor = Flavor("1", "m1.nano", vcpus=1, ram_mib=64, disk_gib=0)
    server = Server(SERVER, "web-1", "web-1", project, "user-1", flavor, created_at=1.0)
    await cloud.conductor.create(server, Caller(project, "user-1", "req-1"))
    await cloud.conductor.settled()
    return project
