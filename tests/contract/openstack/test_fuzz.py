"""schemathesis drives every operation of our own OpenAPI document with what no client would send."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from spawner.api import openapi, server_actions
from spawner.api.app import make_app
from spawner.api.cloud import Cloud
from spawner.identity import Identity
from spawner.store.tables import PROJECTS, USERS

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
)


async def _token(cloud: Cloud) -> str:
    async with cloud.store.read() as connection:
        user = (await connection.execute(select(USERS))).one()
        project = (await connection.execute(select(PROJECTS))).one()
    now = time.time()
    roles = ("admin", "member", "reader")
    identity = Identity(user.id, user.name, project.id, project.name, roles, ("password",), now, now + 3600)
    return cloud.tokens.mint(identity)


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_no_input_makes_a_server_error(cloud: Cloud, tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file=/dev/null",
        "run",
        f"{cloud.url}{openapi.PATH}",
        "--header",
        f"X-Auth-Token:{await _token(cloud)}",
        "--phases=coverage,fuzzing",
        "--max-examples=3",
        f"--checks={','.join(CHECKS)}",
        "--seed=1",
        "--no-color",
        "--warnings=off",
    ]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=tmp_path,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    cases = re.search(r"(\d+) generated, (\d+) passed", output)
    assert cases is not None, output
    assert int(cases[1]) > 2000


async def test_the_document_holds_every_route_with_its_role_and_body(cloud: Cloud) -> None:
    document = openapi.document(openapi.routes_of(make_app(cloud)), cloud.url, "1")
    operations = {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert len(operations) > 120
    create = operations["post", "/compute/v2.1/servers"]
    assert create["x-policy"] == "compute:server"
    reference = create["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    assert "server" in schema["properties"]
    bare = [
        key
        for key, operation in operations.items()
        if key[0] in {"post", "patch"} and "requestBody" not in operation
    ]
    assert bare == []


async def test_the_document_names_every_action(cloud: Cloud) -> None:
    assert set(server_actions.action_table(cloud)) == set(server_actions.NAMES)
