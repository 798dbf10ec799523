"""A cloud of one fake host that really listens, and callers of its API, who sign in or need not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from spawner import identity
from spawner.api.cloud import Cloud
from spawner.compute.fake_node import FakeNode
from spawner.identity import Identity
from spawner.service import open_cloud
from tests.listening import listening

PROJECTS = ("p1", "p2", "p3")


@asynccontextmanager
async def served(directory: Path, port: int, node: FakeNode | None = None) -> AsyncIterator[Cloud]:
    """The cloud, with the projects p1 to p3, on a port of the loopback."""
    nodes = [node or FakeNode("host-1")]
    opened = await open_cloud(directory / "cloud", nodes, f"http://127.0.0.1:{port}")
    async with opened.store.write() as connection:
        for project in PROJECTS:
            await identity.add_project(connection, project, project, 0.0)
    async with listening(opened):
        yield opened
        await opened.conductor.settled()
        await opened.volumes.settled()


class Caller:
    """Somebody with one role in one project, who need not sign in."""

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


class Api:
    """One who signs in: `call` gives status and document, `headers` what the last answer said."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str = "") -> None:
        self.session, self.url, self.token = session, url, token
        self.headers: dict[str, str] = {}

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        version: str = "",
        data: bytes | None = None,
        subject: str = "",
    ) -> tuple[int, Any]:
        """`version` is that of Nova's API, `subject` the token that Keystone is asked about."""
        headers = {"X-Auth-Token": self.token} if self.token else {}
        if version:
            headers["OpenStack-API-Version"] = f"compute {version}"
        if subject:
            headers["X-Subject-Token"] = subject
        if data is not None:
            headers["Content-Type"] = "application/octet-stream"
        url, form = f"{self.url}{path}", body if data is None else None
        async with self.session.request(method, url, json=form, data=data, headers=headers) as answer:
            self.headers = dict(answer.headers)
            return answer.status, await answer.json(content_type=None) if await answer.read() else None

    async def sign_in(self, user: str, password: str, project: str) -> tuple[int, Any]:
        """What Keystone answers; the token is in `headers`."""
        who = {"name": user, "domain": {"id": "default"}, "password": password}
        scope = {"project": {"name": project, "domain": {"id": "default"}}}
        method = {"methods": ["password"], "password": {"user": who}}
        body = {"auth": {"identity": method, "scope": scope}}
        return await self.call("POST", "/identity/v3/auth/tokens", body)

    async def as_user(self, user: str, password: str, project: str) -> Api:
        """Another caller, who is signed in."""
        other = Api(self.session, self.url)
        status, document = await other.sign_in(user, password, project)
        assert status == 201, document
        other.token = other.headers["X-Subject-Token"]
        return other
