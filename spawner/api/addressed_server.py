"""The server that a request's path names, as far as the caller may see it, and a change of it."""

from __future__ import annotations

from aiohttp import web

from spawner.api.cloud import Cloud
from spawner.api.requests import IDENTITY, may
from spawner.store import servers
from spawner.store.servers import Server


async def addressed(request: web.Request, cloud: Cloud) -> Server:
    """The server of the path: one of the caller's project, any for who may see all. Raises NotFound."""
    own = None if may(request, "compute:all-projects") else request[IDENTITY].project_id
    async with cloud.store.read() as connection:
        return await servers.get(connection, request.match_info["id"], own)


async def change(cloud: Cloud, server: Server, **changes: object) -> None:
    """Change a server, and what its guest reads of it: the metadata service is never behind the API."""
    async with cloud.store.write() as connection:
        await servers.change(connection, server.id, cloud.clock(), **changes)
    await cloud.conductor.refresh(server.id)
