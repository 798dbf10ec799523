"""A cloud of a fake host with its page on loopback, and browsers of its users without a browser's window."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from guestling.api import lint
from spawner import identity
from spawner.api.app import make_app
from spawner.api.cloud import Cloud
from spawner.compute.fake_node import FakeNode
from spawner.service import open_cloud
from tests.listening import listening

PASSWORD = "correct horse"
ROLES = ("admin", "member", "reader")


@dataclass(frozen=True)
class Site:
    """The cloud and its one host. Users are named as their roles, `stranger` has a project of their own."""

    cloud: Cloud
    node: FakeNode

    async def image(self, name: str = "tiny") -> str:
        """An image that servers can be made of."""
        from image_harness.cloud import add_image

        async def chunks() -> AsyncIterator[bytes]:
            yield bytes(4096)

        return await add_image(self.cloud, name, "raw", "bare", chunks(), {}, "p-demo")


@pytest.fixture
async def site(tmp_path: Path, unused_tcp_port: int) -> AsyncIterator[Site]:
    """A cloud with a user of each role."""
    node = FakeNode("host-1")
    opened = await open_cloud(tmp_path / "cloud", [node], f"http://127.0.0.1:{unused_tcp_port}")
    async with opened.store.write() as connection:
        for project in ("p-demo", "p-other"):
            await identity.add_project(connection, project, project, 0.0)
        for name, project in (*((role, "p-demo") for role in ROLES), ("stranger", "p-other")):
            user = f"u-{name}"
            known = name if name != "admin" else "root"
            await identity.add_user(connection, user, known, PASSWORD, b"salt", project, 0.0)
            await identity.assign(connection, user, project, "member" if name == "stranger" else name)
    async with listening(opened, make_app(opened, lint), shutdown_s=0.1):
        yield Site(opened, node)


class Visitor:
    """Somebody at the page: keeps cookies, knows the form value of the page last seen."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url
        self.headers: dict[str, str] = {}
        self.csrf = ""

    async def get(self, path: str) -> tuple[int, str]:
        """A page; redirects are not followed."""
        return await self._ask("GET", path, None, {})

    async def post(
        self, path: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """A form, as this session's page has it."""
        return await self._ask("POST", path, {"csrf": self.csrf, **(form or {})}, headers or {})

    async def sign_in(self, name: str, password: str = PASSWORD) -> int:
        """The status of the answer."""
        status, _text = await self.post("/page/sign-in", {"name": name, "password": password})
        if status == 303:
            await self.get("/page/servers")
        return status

    async def _ask(
        self, method: str, path: str, form: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> tuple[int, str]:
        async with self._session.request(
            method, f"{self.url}{path}", data=form, headers=headers, allow_redirects=False
        ) as answer:
            self.headers = {**answer.headers}
            text = await answer.text()
            if 'name="csrf" value="' in text:
                self.csrf = text.partition('name="csrf" value="')[2].partition('"')[0]
            return answer.status, text


@pytest.fixture
async def visitor(site: Site) -> AsyncIterator[Visitor]:
    """Somebody who has not signed in."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        yield Visitor(session, site.cloud.url)
