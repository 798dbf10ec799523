"""Another project's things are not there, and each role does what the policy table says: every operation.

The operations come from the route table, so that one which is added later is tested as well.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from spawner import identity
from spawner.api import openapi, policy
from spawner.api.app import make_app
from spawner.api.cloud import Cloud
from spawner.identity import Identity

LIFE_S = 3600.0
# Bodies that are right, for operations that read theirs before they look for the thing.
BODIES: dict[str, Any] = {
    "put /compute/v2.1/servers/{id}": {"server": {"name": "mine"}},
    "post /compute/v2.1/servers/{id}/action": {"os-stop": None},
    "post /compute/v2.1/servers/{id}/metadata": {"metadata": {}},
    "put /compute/v2.1/servers/{id}/metadata": {"metadata": {}},
    "put /compute/v2.1/servers/{id}/metadata/{key}": {"meta": {"a": "b"}},
    "put /compute/v2.1/servers/{id}/tags": {"tags": []},
    "patch /image/v2/images/{id}": [],
    "post /image/v2/images/{id}/members": {"member": "p2"},
    "put /image/v2/images/{id}/members/{member}": {"status": "accepted"},
    "put /network/v2.0/networks/{id}": {"network": {"name": "mine"}},
    "put /network/v2.0/subnets/{id}": {"subnet": {"name": "mine"}},
    "put /network/v2.0/ports/{id}": {"port": {"name": "mine"}},
    "put /network/v2.0/security-groups/{id}": {"security_group": {"name": "mine"}},
    "put /network/v2.0/floatingips/{id}": {"floatingip": {"description": "mine"}},
    "post /compute/v2.1/servers/{id}/remote-consoles": {
        "remote_console": {"protocol": "vnc", "type": "novnc"}
    },
    "post /compute/v2.1/servers/{id}/os-interface": {"interfaceAttachment": {}},
    "post /compute/v2.1/servers/{id}/os-volume_attachments": {"volumeAttachment": {"volumeId": "x"}},
    "put /compute/v2.1/servers/{id}/os-volume_attachments/{volume}": {"volumeAttachment": {"volumeId": "x"}},
    "post /compute/v2.1/servers/{id}/x-exec": {"command": "id"},
    "post /compute/v2.1/servers/{id}/x-console": {"data": "id"},
    "put /volume/v3/volumes/{id}": {"volume": {"name": "mine"}},
    "post /volume/v3/volumes/{id}/action": {"os-extend": {"new_size": 2}},
    "post /volume/v3/volumes/{id}/metadata": {"metadata": {}},
    "put /volume/v3/volumes/{id}/metadata": {"metadata": {}},
    "post /identity/v3/users/{id}/password": {"user": {"original_password": "x", "password": "y"}},
    "post /identity/v3/users/{id}/application_credentials": {"application_credential": {"name": "x"}},
}
# Path -> why a foreign id is answered otherwise than with 404.
SHARED = {
    "/compute/v2.1/flavors/": "flavors belong to nobody; changing them needs the role admin",
    "/compute/v2.1/os-hypervisors/": "for admins, whatever the id",
    "/compute/v2.1/os-services/": "for admins, whatever the id",
    "/compute/v2.1/os-quota-sets/": "Nova says 403 for another project's quota",
    "/compute/v2.1/os-quota-class-sets/": "the defaults, the same for everybody",
    "/volume/v3/os-quota-class-sets/": "the defaults, the same for everybody",
    "/compute/v2.1/os-simple-tenant-usage/": "Nova says 403 for another project's usage",
    "/volume/v3/snapshots/": "there are none, of nobody",
    "/volume/v3/backups/": "there are none, of nobody",
    "/identity/v3/regions/": "there is one region, and it is everybody's",
    "/identity/v3/roles/": "roles belong to nobody",
    "/identity/v3/domains/": "there is one domain, and it is everybody's",
    "/image/v2/schemas/": "says nothing of any project",
    "/network/v2.0/quotas/": "403 for another project's quota",
    "/network/v2.0/extensions/": "says nothing of any project",
    "/volume/v3/types/": "types belong to nobody",
    "/volume/v3/os-quota-sets/": "Cinder says 403 for another project's quota",
    "/placement/": "for admins, whatever the id",
}


class Caller:
    """Somebody with a token of their own making: one role in one project."""

    def __init__(self, session: aiohttp.ClientSession, cloud: Cloud, project: str, role: str) -> None:
        self._session, self._cloud = session, cloud
        self.user, self.project = f"u-{project}", project
        now = cloud.clock()
        roles = identity.implied(frozenset({role}))
        who = Identity(self.user, self.user, project, project, roles, ("password",), now, now + LIFE_S)
        self._token = cloud.tokens.mint(who)

    async def call(
        self, method: str, path: str, body: object = None, data: bytes | None = None
    ) -> tuple[int, Any]:
        headers = {"X-Auth-Token": self._token, "OpenStack-API-Version": "compute 2.96"}
        async with self._session.request(
            method,
            f"{self._cloud.url}{path}",
            json=body if data is None else None,
            data=data,
            headers=headers,
        ) as answer:
            return answer.status, await answer.json(content_type=None) if await answer.read() else None


@pytest.fixture
async def session(cloud: Cloud) -> AsyncIterator[aiohttp.ClientSession]:
    async with cloud.store.write() as connection:
        for project in ("p1", "p2"):
            await identity.add_project(connection, project, project, 0.0)
            await identity.add_user(connection, f"u-{project}", f"u-{project}", "x", b"salt", project, 0.0)
            await identity.assign(connection, f"u-{project}", project, "member")
    async with aiohttp.ClientSession() as opened:
        yield opened


async def _made(owner: Caller, cloud: Cloud) -> dict[str, str]:
    """One of everything that a project can own: path of its kind -> its id."""

    async def new(path: str, word: str, **fields: object) -> str:
        status, found = await owner.call("POST", path, {word: fields} if word else fields)
        assert status in {200, 201, 202}, found
        return str((found[word] if word else found).get("id") or fields["name"])

    image = await new("/image/v2/images", "", name="i", disk_format="raw", container_format="bare")
    status, answer = await owner.call("PUT", f"/image/v2/images/{image}/file", data=bytes(512))
    assert status == 204, answer
    network = await new("/network/v2.0/networks", "network", name="n")
    group = await new("/network/v2.0/security-groups", "security_group", name="g")
    credentials = f"/identity/v3/users/{owner.user}/application_credentials"
    credential = await new(credentials, "application_credential", name="c")
    server = await new(
        "/compute/v2.1/servers", "server", name="s", imageRef=image, flavorRef="1", networks="none"
    )
    await cloud.conductor.settled()
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJq0tmXNeXv4qAxb7c2b4O5W1YsyUy4IVYQbWdJzk4Ev"
    volume = await new("/volume/v3/volumes", "volume", name="v", size=1)
    for _try in range(200):
        shown = (await owner.call("GET", f"/volume/v3/volumes/{volume}"))[1]["volume"]
        if shown["status"] == "available":
            break
        await asyncio.sleep(0.05)
    wish = {"volumeAttachment": {"volumeId": volume}}
    status, answer = await owner.call("POST", f"/compute/v2.1/servers/{server}/os-volume_attachments", wish)
    assert status == 200, (answer, shown)
    await cloud.conductor.settled()
    attachment = (await owner.call("GET", "/volume/v3/attachments"))[1]["attachments"][0]["id"]
    keypair = await new("/compute/v2.1/os-keypairs", "keypair", name="k", public_key=key)
    external = (await owner.call("GET", "/network/v2.0/networks?router:external=True"))[1]["networks"][0][
        "id"
    ]
    return {
        "/compute/v2.1/servers/{id}": server,
        "/compute/v2.1/os-keypairs/{name}": keypair,
        "/compute/v2.1/os-server-groups/{id}": await new(
            "/compute/v2.1/os-server-groups", "server_group", name="a", policy="affinity"
        ),
        "/image/v2/images/{id}": image,
        "/network/v2.0/networks/{id}": network,
        "/network/v2.0/subnets/{id}": await new(
            "/network/v2.0/subnets", "subnet", network_id=network, cidr="10.9.0.0/24", ip_version=4
        ),
        "/network/v2.0/ports/{id}": await new("/network/v2.0/ports", "port", network_id=network),
        "/network/v2.0/security-groups/{id}": group,
        "/network/v2.0/floatingips/{id}": await new(
            "/network/v2.0/floatingips", "floatingip", floating_network_id=external
        ),
        "/network/v2.0/security-group-rules/{id}": await new(
            "/network/v2.0/security-group-rules",
            "security_group_rule",
            security_group_id=group,
            direction="ingress",
        ),
        "/volume/v3/volumes/{id}": volume,
        "/volume/v3/attachments/{id}": attachment,
        "/identity/v3/projects/{id}": owner.project,
        "/identity/v3/users/{id}": owner.user,
        "credential": credential,
    }


def _operations(cloud: Cloud) -> list[tuple[str, str, dict[str, Any]]]:
    document = openapi.document(openapi.routes_of(make_app(cloud)), cloud.url, "1")
    return [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


async def test_what_belongs_to_another_project_is_not_there(
    cloud: Cloud, session: aiohttp.ClientSession
) -> None:
    owner, stranger = Caller(session, cloud, "p1", "member"), Caller(session, cloud, "p2", "member")
    made = await _made(owner, cloud)
    wrong, tried = [], 0
    for method, path, operation in _operations(cloud):
        if "{" not in path or any(path.startswith(prefix) for prefix in SHARED):
            continue
        if not policy.allows(operation["x-policy"], identity.implied(frozenset({"member"}))):
            continue  # refused whatever the id; that it is: the test of each role
        kind = next((kind for kind in made if path.startswith(kind)), None)
        assert kind is not None, f"{path}: nothing of this kind is made by this test, nor is it in SHARED"
        foreign = path.replace("{id}", made[kind]).replace("{name}", made[kind])
        foreign = re.sub(r"{\w+}", "a", foreign.replace("{credential}", made["credential"]))
        status, answer = await stranger.call(method.upper(), foreign, BODIES.get(f"{method} {path}"))
        tried += 1
        if status != 404 or made[kind] in str(answer.get("servers", "")):
            wrong.append(f"{method} {foreign}: {status} {answer}")
    assert wrong == []
    assert tried > 50
    for kind, thing in made.items():
        if kind.startswith("/"):
            path = kind.replace("{id}", thing).replace("{name}", thing)
            assert (await owner.call("GET", path))[0] == 200, f"{path} did not survive"


async def test_lists_hold_nothing_of_another_project(cloud: Cloud, session: aiohttp.ClientSession) -> None:
    owner, stranger = Caller(session, cloud, "p1", "member"), Caller(session, cloud, "p2", "member")
    made = await _made(owner, cloud)
    wrong, tried = [], 0
    for method, path, _operation in _operations(cloud):
        if method != "get" or "{" in path or path.count("/") < 3:
            continue
        status, answer = await stranger.call("GET", path)
        tried += 1
        ids = {value for value in made.values() if len(value) > 20}
        if status == 200 and [each for each in ids if each in str(answer)]:
            wrong.append(path)
    assert wrong == []
    assert tried > 25


@pytest.mark.parametrize("role", ["reader", "member", "admin"])
async def test_each_role_may_do_what_the_policy_says_and_no_more(
    cloud: Cloud, session: aiohttp.ClientSession, role: str
) -> None:
    caller = Caller(session, cloud, "p1", role)
    wrong, refused = [], 0
    for method, path, operation in _operations(cloud):
        rule = operation.get("x-policy")
        if rule is None:
            continue
        status, answer = await caller.call(method.upper(), re.sub(r"{\w+}", "none", path), {"none": 1})
        by_policy = status == 403 and f"Policy doesn't allow {rule}" in str(answer)
        allowed = policy.POLICY[rule] in identity.implied(frozenset({role}))
        refused += by_policy
        if by_policy is allowed:
            wrong.append(f"{role}: {method} {path} ({rule}): {status}")
    assert wrong == []
    assert (refused > 0) is (role != "admin")


async def test_every_operation_is_in_the_policy_or_open_on_purpose(cloud: Cloud) -> None:
    bare = {
        f"{method} {path}"
        for method, path, operation in _operations(cloud)
        if "x-policy" not in operation and path.count("/") > 2
    }
    # To whoever has a token: what it says itself. Signing in needs none.
    assert bare == {
        "post /identity/v3/auth/tokens",
        "get /identity/v3/auth/tokens",
        "delete /identity/v3/auth/tokens",
        "get /identity/v3/auth/catalog",
        "get /identity/v3/auth/projects",
    }
