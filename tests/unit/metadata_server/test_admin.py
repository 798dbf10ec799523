"""The admin socket: documents, passwords, reports, health, metrics (X-3, MS-D15)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from metadata_server.admin import Admin, merge_patch
from metadata_server.app import MetadataServer
from metadata_server.errors import BadListener
from metadata_server.http import Request
from metadata_server.instance_files import InstanceFiles
from metadata_server.listener import Listener
from tests.unit.metadata_server.asking import DOCUMENT, UUID

TARGET = f"/instances/{UUID}"


@pytest.fixture
def server() -> MetadataServer:
    return MetadataServer()


@pytest.fixture
def admin(tmp_path: Path, server: MetadataServer) -> Admin:
    (tmp_path / "bad.yaml").write_text("uuid: 1\n")
    files = InstanceFiles(tmp_path, server.instances)
    files.load()
    return Admin(server.services, files)


async def ask(admin: Admin, method: str, target: str, document: object = None) -> tuple[int, object]:
    body = b"" if document is None else json.dumps(document).encode()
    answer = await admin.answer(Request(method, target, body=body))
    return answer.status, json.loads(answer.body) if answer.body.startswith(b"{") else answer.body


async def test_x_3_put_get_patch_list_delete(admin: Admin, server: MetadataServer) -> None:
    assert await ask(admin, "PUT", TARGET, DOCUMENT) == (200, {"warnings": []})
    assert await ask(admin, "GET", TARGET) == (200, DOCUMENT)
    assert await ask(admin, "GET", "/instances") == (200, {"instances": [UUID]})
    assert (await ask(admin, "PATCH", TARGET, {"name": "patched", "user_data": None}))[0] == 200
    instance = server.instances.get(UUID)
    assert instance is not None
    assert (instance.name, instance.user_data) == ("patched", None)
    assert (await ask(admin, "DELETE", TARGET))[0] == 204
    assert len(server.instances) == 0
    assert (await ask(admin, "DELETE", TARGET))[0] == 404
    assert (await ask(admin, "GET", TARGET))[0] == 404
    assert (await ask(admin, "PATCH", TARGET, {}))[0] == 404


@pytest.mark.parametrize("document", [{"uuid": "x"}, {"uuid": UUID, "meta": None}, [], {"uuid": UUID[::-1]}])
async def test_x_3_bad_documents_are_refused_with_their_faults(admin: Admin, document: object) -> None:
    status, body = await ask(admin, "PUT", TARGET, document)
    assert status == 400
    assert isinstance(body, dict)
    assert body["faults"]


async def test_x_3_another_uuid_than_the_path(admin: Admin) -> None:
    other = {**DOCUMENT, "uuid": "11111111-2222-4333-8444-555555555555"}
    assert (await ask(admin, "PUT", TARGET, other))[0] == 400


async def test_bad_02_health_shows_the_broken_document(admin: Admin) -> None:
    status, body = await ask(admin, "GET", "/healthz")
    assert isinstance(body, dict)
    assert (status, body["status"], body["instances"]) == (200, "degraded", 0)
    assert "bad.yaml:1: uuid" in body["faults"][0]


async def test_os_15_os_16_passwords(admin: Admin, server: MetadataServer) -> None:
    await server.services.passwords.store_once(UUID, b"secret")
    assert await ask(admin, "GET", f"{TARGET}/password") == (200, b"secret")
    assert (await ask(admin, "POST", f"{TARGET}/rebuild"))[0] == 204
    assert (await ask(admin, "GET", f"{TARGET}/password"))[0] == 404


async def test_x_2_reports_are_read_here(admin: Admin, server: MetadataServer) -> None:
    server.services.reports[UUID] = [b'{"done": true}']
    assert await ask(admin, "GET", f"{TARGET}/reports") == (200, {"reports": [{"done": True}]})


@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/"), ("GET", "/instances/x"), ("GET", f"{TARGET}/a/b")]
)
async def test_unknown_targets(admin: Admin, method: str, target: str) -> None:
    assert (await ask(admin, method, target))[0] == 404


async def test_unknown_method(admin: Admin) -> None:
    assert (await ask(admin, "POST", TARGET))[0] == 405


async def test_metrics(admin: Admin, server: MetadataServer) -> None:
    server.services.answered[404] += 3
    answer = await admin.answer(Request("GET", "/metrics"))
    assert b'guestling_metadata_responses_total{status="404"} 3.0' in answer.body


async def test_ms_d15_only_on_a_unix_socket(admin: Admin, server: MetadataServer, tmp_path: Path) -> None:
    with pytest.raises(BadListener, match="unix socket"):
        await server.listen_admin(Listener("127.0.0.1:0"), admin)
    path = tmp_path / "admin"
    await server.listen_admin(Listener(f"unix:{path}"), admin)
    assert path.stat().st_mode & 0o777 == 0o600
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert b'"degraded"' in await reader.read()
    writer.close()
    await server.close(timeout_s=1)


async def test_ms_d15_nothing_of_it_on_a_guest_listener(server: MetadataServer) -> None:
    address = await server.listen(Listener("127.0.0.1:0"))
    for target in ("/healthz", "/metrics", "/instances"):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
        writer.write(f"GET {target} HTTP/1.0\r\n\r\n".encode())
        assert b" 404 " in await reader.read()
        writer.close()
    await server.close(timeout_s=1)


@pytest.mark.parametrize(
    ("document", "patch", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": 1}, ["c"], ["c"]),
    ],
)
def test_x_3_merge_patch(document: object, patch: object, merged: object) -> None:
    from instance_metadata.fields import as_json

    assert merge_patch(as_json(document), as_json(patch)) == merged
