"""A server of the OpenStack API is a real guest: created, configured, stopped, started, deleted."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from image_harness import boot, store
from image_harness.cloud import offer
from spawner.api.app import make_app
from spawner.compute.qemu import node as qemu_node
from spawner.compute.qemu.node import QEMU, QemuNode
from spawner.images import ImageFiles
from spawner.service import open_cloud
from spawner.store.engine import open_store

pytestmark = [pytest.mark.boot, pytest.mark.timeout(300)]

USER_DATA = b"#cloud-config\nhostname: from-the-api\nruncmd:\n  - echo said-by-$(hostname)\n"
PROMPT = "/ # "


class Client:
    """What a client of the API does: a token, then requests with it."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def sign_in(self, password: str) -> None:
        user = {"name": "admin", "domain": {"id": "default"}, "password": password}
        identity = {"methods": ["password"], "password": {"user": user}}
        body = {
            "auth": {
                "identity": identity,
                "scope": {"project": {"name": "demo", "domain": {"id": "default"}}},
            }
        }
        async with self._session.post(f"{self._url}/identity/v3/auth/tokens", json=body) as answer:
            assert answer.status == 201
            self._session.headers["X-Auth-Token"] = answer.headers["X-Subject-Token"]

    async def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        async with self._session.request(method, f"{self._url}{path}", json=body) as answer:
            text = await answer.read()
            return answer.status, await answer.json() if text else None

    async def until(self, server: str, status: str) -> dict[str, Any]:
        for _try in range(600):
            _code, found = await self.call("GET", f"/compute/v2.1/servers/{server}")
            if found["server"]["status"] in {status, "ERROR"}:
                assert found["server"]["status"] == status, found["server"].get("fault")
                return dict(found["server"])
            await asyncio.sleep(0.1)
        raise AssertionError(f"{server} does not become {status}")

    async def console(self, server: str) -> str:
        action: dict[str, object] = {"os-getConsoleOutput": {}}
        _code, found = await self.call("POST", f"/compute/v2.1/servers/{server}/action", action)
        return str(found["output"])


@pytest.fixture
async def client(
    tmp_path: Path, tiny: store.Image, host: boot.Host, unused_tcp_port: int
) -> AsyncIterator[Client]:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    opened = await open_store(str(tmp_path / "spawner.db"))
    files = ImageFiles(tmp_path / "images")
    assert QEMU == boot.QEMU
    node = QemuNode("host-1", tmp_path / "instances", opened, files, host.accelerator, host.network.backend)
    cloud = await open_cloud(tmp_path, [node], url, opened)
    await offer(cloud, tiny, print)
    runner = web.AppRunner(make_app(cloud))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    clouds = yaml.safe_load((tmp_path / "clouds.yaml").read_text())
    async with aiohttp.ClientSession() as session:
        connected = Client(session, url)
        await connected.sign_in(clouds["clouds"]["guestling"]["auth"]["password"])
        yield connected
    await runner.cleanup()
    await cloud.conductor.close()
    await node.close(grace_s=0)
    await opened.close()


async def test_a_server_is_made_configured_restarted_and_deleted(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _code, found = await client.call("GET", "/image/v2/images?name=tiny")
    body = {
        "server": {
            "name": "web-1",
            "imageRef": found["images"][0]["id"],
            "flavorRef": "2",
            "user_data": base64.b64encode(USER_DATA).decode(),
        }
    }
    code, made = await client.call("POST", "/compute/v2.1/servers", body)
    assert code == 202
    server = made["server"]["id"]
    shown = await client.until(server, "ACTIVE")
    assert shown["addresses"]["private"][0]["addr"] == "10.0.2.15"

    for _try in range(600):
        if "said-by-from-the-api" in await client.console(server):
            break
        await asyncio.sleep(0.1)
    assert "said-by-from-the-api" in await client.console(server)
    for _try in range(600):
        if PROMPT in await client.console(server):
            break
        await asyncio.sleep(0.1)
    assert PROMPT in await client.console(server)

    # It is the guest that ends, when its power button is pressed: nothing else would end it in time.
    monkeypatch.setattr(qemu_node, "POWER_OFF_GRACE_S", 600.0)
    assert (await client.call("POST", f"/compute/v2.1/servers/{server}/action", {"os-stop": None}))[0] == 202
    await client.until(server, "SHUTOFF")
    assert "said-by-from-the-api" in await client.console(server)
    assert (await client.call("POST", f"/compute/v2.1/servers/{server}/action", {"os-start": None}))[0] == 202
    await client.until(server, "ACTIVE")
    assert (await client.call("DELETE", f"/compute/v2.1/servers/{server}"))[0] == 204
    for _try in range(300):
        if (await client.call("GET", f"/compute/v2.1/servers/{server}"))[0] == 404:
            break
        await asyncio.sleep(0.1)
    assert list((tmp_path / "instances").iterdir()) == []
