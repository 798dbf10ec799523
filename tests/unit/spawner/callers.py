"""A cloud of one fake host that really listens, and callers of its API who need not sign in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from spawner import identity
from spawner.api.app import make_app
from spawner.api.cloud import Cloud
from spawner.compute.fake_node import FakeNode
from spawner.identity import Identity
from spawner.service import open_cloud

PROJECTS = ("p1", "p2", "p3")


@asynccontextmanager
async def served(directory: Path, port: int) -> AsyncIterator[Cloud]:
    """The cloud, with the projects p1 to p3, on a port of the loopback."""
    opened = await open_cloud(directory / "cloud", [FakeNode("host-1")], f"http://127.0.0.1:{port}")
    async with opened.store.write() as connection:
        for project in PROJECTS:
            await identity.add_project(connection, project, project, 0.0)
    runner = web.AppRunner(make_app(opened), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield opened
    await opened.conductor.settled()
    await opened.volumes.settled()
    await runner.cleanup()
    await opened.conductor.close()
    await opened.store.close()


class Caller:
    """Somebody with one role in one project."""

    def __init__(self, session: aiohttp.ClientSession, cloud: Cloud, project: str, role: str) -> None:
        self._session, self._url = session, cloud.url
        now, user = cloud.clock(), f"{role}-{project}"
        roles = identity.implied(frozenset({role}))
        who = Identity(user, user, project, project, roles, ("password",), now, now + 3600)
        self._token = cloud.tokens.mint(who)

    async def call(
        self, method: str, path: str, body: object = None, version: str = "2.96", data: bytes | None = None
    ) -> tuple[int, Any]:
        """Status and document of the answer; `version` is that of Nova's API."""
        headers = {"X-Auth-Token": self._token, "OpenStack-API-Version": f"compute {version}"}
        url, form = f"{self._url}{path}", body if data is None else None
        async with self._session.request(method, url, json=form, data=data, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None) if await answer.read() else None
