"""The OpenStack APIs over HTTP on loopback: who may do what, microversions, faults, paging, uploads."""

from __future__ import annotations

import base64
import itertools
import json
import os
import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from spawner import identity
from spawner.api.cloud import Cloud
from spawner.api.quotas import DEFAULTS
from spawner.compute.fake_node import FakeNode
from spawner.empty_disk import empty_qcow2
from spawner.store import events
from spawner.store.tables import APPLICATION_CREDENTIALS, ROLES
from tests.unit.spawner.callers import Api


def _qcow2(backing: bytes) -> bytes:
    """A qcow2 header, version 3, of a 1 MiB disk over a backing file."""
    fields = [
        b"QFI\xfb",
        (3).to_bytes(4),
        (112 if backing else 0).to_bytes(8),
        len(backing).to_bytes(4),
        (16).to_bytes(4),
        (1 << 20).to_bytes(8),
    ]
    header = b"".join(fields).ljust(100, b"\0") + (104).to_bytes(4)
    return (header.ljust(112, b"\0") + backing).ljust(65536, b"\0")


_numbers = itertools.count()


async def _with_role(cloud: Cloud, nobody: Api, role: str) -> Api:
    """A new user with one role in a project of their own."""
    number = next(_numbers)
    async with cloud.store.write() as connection:
        project = f"p-{number}"
        await identity.add_project(connection, project, f"project-{number}", 0.0)
        await identity.add_user(connection, f"u{number}", f"user-{number}", "pass", b"salt", project, 0.0)
        await identity.assign(connection, f"u{number}", project, role)
    return await nobody.as_user(f"user-{number}", "pass", f"project-{number}")


@pytest.fixture
async def member(cloud: Cloud, nobody: Api) -> Api:
    return await _with_role(cloud, nobody, "member")


@pytest.fixture
async def admin(cloud: Cloud, nobody: Api) -> Api:
    return await _with_role(cloud, nobody, "admin")


async def _image(api: Api, **fields: object) -> str:
    form = {
        "name": "disk",
        "disk_format": "raw",
        "container_format": "bare",
        "visibility": "private",
        **fields,
    }
    status, image = await api.call("POST", "/image/v2/images", form)
    assert status == 201
    status, _ = await api.call("PUT", f"/image/v2/images/{image['id']}/file", data=bytes(4096))
    assert status == 204
    return str(image["id"])


async def _server(api: Api, image: str, **fields: object) -> str:
    form = {"name": "web", "imageRef": image, "flavorRef": "1", "networks": "none", **fields}
    status, made = await api.call("POST", "/compute/v2.1/servers", {"server": form}, "2.96")
    assert status == 202, made
    return str(made["server"]["id"])


# --- who may do what ------------------------------------------------------------------------------------


async def test_a_server_that_is_not_accepted_leaves_no_port(
    member: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spawner that is killed then has stored either all of a request or nothing."""
    image = await _image(member)
    monkeypatch.setattr(events, "record", _killed)
    form = {"name": "web", "imageRef": image, "flavorRef": "1", "networks": "auto"}
    status, _document = await member.call("POST", "/compute/v2.1/servers", {"server": form}, "2.96")
    assert status == 500
    assert (await member.call("GET", "/network/v2.0/ports"))[1] == {"ports": []}


async def _killed(*_arguments: object) -> None:
    raise OSError("the spawner was killed")


@pytest.mark.parametrize("path", ["/compute/v2.1/servers", "/image/v2/images", "/network/v2.0/networks"])
async def test_without_a_token_nothing_is_told(nobody: Api, path: str) -> None:
    status, document = await nobody.call("GET", path)
    assert status == 401
    assert "Keystone" in nobody.headers["WWW-Authenticate"]
    assert "authentication" in str(document)


@pytest.mark.parametrize("spoil", ["truncated", "other key", "rubbish", "expired"])
async def test_a_spoiled_token_is_no_token(cloud: Cloud, nobody: Api, member: Api, spoil: str) -> None:
    good = cloud.tokens.read(member.token)
    tokens = {
        "truncated": member.token[:-2],
        "other key": identity.Tokens(bytes(32), cloud.clock).mint(good),
        "rubbish": "gAAAA.ü",
        "expired": cloud.tokens.mint(replace(good, expires_at=cloud.clock() - 1)),
    }
    member.token = tokens[spoil].encode("ascii", "replace").decode()
    assert (await member.call("GET", "/compute/v2.1/servers"))[0] == 401


async def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(cloud: Cloud, nobody: Api) -> None:
    answers = []
    for user in ("admin", "nobody-of-that-name"):
        who = {"name": user, "domain": {"id": "default"}, "password": "wrong"}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": who}}}}
        answers.append(await nobody.call("POST", "/identity/v3/auth/tokens", body))
    assert answers[0] == answers[1]
    assert answers[0][0] == 401


async def test_a_reader_reads_and_does_not_write(cloud: Cloud, nobody: Api) -> None:
    reader = await _with_role(cloud, nobody, "reader")
    assert (await reader.call("GET", "/compute/v2.1/servers"))[0] == 200
    status, document = await reader.call("POST", "/compute/v2.1/os-keypairs", {"keypair": {"name": "x"}})
    assert (status, document["forbidden"]["code"]) == (403, 403)
    assert (await reader.call("GET", "/placement/resource_providers"))[0] == 403


async def test_another_projects_server_is_not_there(cloud: Cloud, nobody: Api, member: Api) -> None:
    server = await _server(member, await _image(member))
    stranger = await _with_role(cloud, nobody, "member")
    status, document = await stranger.call("GET", f"/compute/v2.1/servers/{server}")
    assert (status, document["itemNotFound"]["message"]) == (404, f"Instance {server} could not be found.")
    assert (await stranger.call("DELETE", f"/compute/v2.1/servers/{server}"))[0] == 404
    assert (await stranger.call("GET", "/compute/v2.1/servers/detail"))[1] == {"servers": []}
    assert (await stranger.call("GET", "/compute/v2.1/servers/detail?all_tenants=1"))[0] == 403
    await cloud.conductor.settled()


# --- what guests read -----------------------------------------------------------------------------------


async def test_a_guest_reads_at_once_what_was_set_of_its_server(
    cloud: Cloud, node: FakeNode, member: Api
) -> None:
    server = await _server(member, await _image(member), metadata={"a": "1"})
    await cloud.conductor.settled()
    path = f"/compute/v2.1/servers/{server}"
    for method, where, body, expected in (
        ("POST", f"{path}/metadata", {"metadata": {"b": "2"}}, {"a": "1", "b": "2"}),
        ("PUT", f"{path}/metadata/c", {"meta": {"c": "3"}}, {"a": "1", "b": "2", "c": "3"}),
        ("DELETE", f"{path}/metadata/a", None, {"b": "2", "c": "3"}),
        ("PUT", f"{path}/metadata", {"metadata": {}}, {}),
    ):
        assert (await member.call(method, where, body))[0] in {200, 204}
        assert node.told[server].metadata == expected
    assert (await member.call("PUT", path, {"server": {"name": "other"}}))[0] == 200
    assert node.told[server].name == "other"


# --- flavors and images ---------------------------------------------------------------------------------


async def _large_image(api: Api, size_gib: int, **fields: object) -> str:
    """A qcow2 image of a disk of that size with nothing in it."""
    form = {"name": "disk", "disk_format": "qcow2", "container_format": "bare", **fields}
    _status, image = await api.call("POST", "/image/v2/images", form)
    data = empty_qcow2(size_gib << 30)
    assert (await api.call("PUT", f"/image/v2/images/{image['id']}/file", data=data))[0] == 204
    return str(image["id"])


TOO_SMALL = (
    "Flavor's disk is too small for requested image. "
    f"Flavor disk is {1 << 30} bytes, image is {2 << 30} bytes."
)
BELOW_MINIMUM = (
    "Flavor's disk is smaller than the minimum size specified in image metadata. "
    f"Flavor disk is {1 << 30} bytes, minimum size is {3 << 30} bytes."
)


@pytest.mark.parametrize(
    ("flavor", "size_gib", "fields", "refused"),
    [
        ("2", 2, {}, TOO_SMALL),
        ("2", 1, {}, ""),
        ("1", 2, {}, ""),  # a disk of 0: as large as the image
        ("2", 1, {"min_disk": 3}, BELOW_MINIMUM),
        ("1", 1, {"min_disk": 3}, ""),
        ("2", 1, {"min_ram": 513}, "Flavor's memory is too small for requested image."),
        ("3", 2, {"min_ram": 2048, "min_disk": 20}, ""),
    ],
)
async def test_an_image_that_the_flavor_would_cut_off_is_refused(
    cloud: Cloud, member: Api, flavor: str, size_gib: int, fields: dict[str, object], refused: str
) -> None:
    image = await _large_image(member, size_gib, **fields)
    small = await _image(member)
    form = {"name": "web", "imageRef": image, "flavorRef": flavor, "networks": "none"}
    status, document = await member.call("POST", "/compute/v2.1/servers", {"server": form}, "2.96")
    assert (status, document.get("badRequest", {}).get("message", "")) == (400 if refused else 202, refused)
    # The same of a server that is there.
    server = await _server(member, small, flavorRef=flavor)
    await cloud.conductor.settled()
    for action in ({"rebuild": {"imageRef": image}}, {"rescue": {"rescue_image_ref": image}}):
        status, document = await member.call("POST", f"/compute/v2.1/servers/{server}/action", action)
        await cloud.conductor.settled()
        if refused:
            assert (status, document["badRequest"]["message"]) == (400, refused)
        else:
            assert status in {200, 202}, document


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        ("3", "2", "Server disk was unable to be resized because: Unable to resize disk down."),
        (
            "2",
            "1",
            "Server disk was unable to be resized because: Resize to zero disk flavor is not allowed.",
        ),
        ("1", "2", TOO_SMALL),
        ("1", "3", ""),
        ("3", "4", ""),
    ],
)
async def test_a_disk_is_never_resized_to_less_than_it_holds(
    cloud: Cloud, member: Api, before: str, after: str, refused: str
) -> None:
    image = await (_image(member) if before == "2" else _large_image(member, 2))
    server = await _server(member, image, flavorRef=before)
    await cloud.conductor.settled()
    path = f"/compute/v2.1/servers/{server}"
    status, document = await member.call("POST", f"{path}/action", {"resize": {"flavorRef": after}})
    assert (status, document["badRequest"]["message"] if document else "") == (
        (400, refused) if refused else (202, "")
    )
    await cloud.conductor.settled()
    shown = (await member.call("GET", path))[1]["server"]
    assert (shown["status"], shown["flavor"]["id"]) == (
        ("ACTIVE", before) if refused else ("VERIFY_RESIZE", after)
    )


async def test_an_application_credential_signs_in_until_it_is_deleted(
    cloud: Cloud, nobody: Api, member: Api
) -> None:
    user = cloud.tokens.read(member.token).user_id
    path = f"/identity/v3/users/{user}/application_credentials"
    body = {"application_credential": {"name": "ci", "secret": "s3cret"}}
    status, made = await member.call("POST", path, body)
    assert status == 201
    credential = made["application_credential"]["id"]
    method = {
        "methods": ["application_credential"],
        "application_credential": {"id": credential, "secret": "s3cret"},
    }
    sign_in = {"auth": {"identity": method}}
    assert (await nobody.call("POST", "/identity/v3/auth/tokens", sign_in))[0] == 201
    script = Api(nobody.session, nobody.url, nobody.headers["X-Subject-Token"])
    assert (await script.call("GET", "/compute/v2.1/servers"))[0] == 200
    assert (await member.call("DELETE", f"{path}/{credential}"))[0] == 204
    assert (await script.call("GET", "/compute/v2.1/servers"))[0] == 401
    assert (await member.call("GET", "/compute/v2.1/servers"))[0] == 200
    assert (await nobody.call("POST", "/identity/v3/auth/tokens", sign_in))[0] == 401


async def test_an_application_credential_expires_and_is_no_more_than_its_maker(
    cloud: Cloud, nobody: Api, member: Api
) -> None:
    user = cloud.tokens.read(member.token).user_id
    path = f"/identity/v3/users/{user}/application_credentials"

    async def make(**fields: object) -> tuple[int, Any]:
        name = f"c{next(_numbers)}"
        return await member.call("POST", path, {"application_credential": {"name": name, **fields}})

    for bad in ("soon", "2001-01-01T00:00:00", "2001-01-01T00:00:00+00:00"):
        assert (await make(expires_at=bad))[0] == 400
    assert (await make(roles=[{"name": "admin"}]))[0] == 400
    assert (await make(unrestricted=True))[0] == 400
    until = datetime.fromtimestamp(cloud.clock() + 60, UTC)
    status, made = await make(expires_at=until.isoformat(), roles=[{"name": "reader"}], description="d")
    assert status == 201
    credential = made["application_credential"]
    assert (credential["description"], credential["expires_at"][:16]) == ("d", until.isoformat()[:16])

    secret = {"id": credential["id"], "secret": credential["secret"]}
    method = {"methods": ["application_credential"], "application_credential": secret}
    status, token = await nobody.call("POST", "/identity/v3/auth/tokens", {"auth": {"identity": method}})
    assert status == 201
    assert [role["name"] for role in token["token"]["roles"]] == ["reader"]
    assert token["token"]["expires_at"][:16] == until.isoformat()[:16]
    made_by_it = Api(nobody.session, nobody.url, nobody.headers["X-Subject-Token"])
    assert (await made_by_it.call("POST", "/compute/v2.1/os-keypairs", {"keypair": {"name": "x"}}))[0] == 403
    exchange = {"identity": {"methods": ["token"], "token": {"id": made_by_it.token}}}
    assert (await nobody.call("POST", "/identity/v3/auth/tokens", {"auth": exchange}))[0] == 401
    async with cloud.store.write() as connection:
        changed = {"expires_at": cloud.clock() - 1}
        await connection.execute(APPLICATION_CREDENTIALS.update().values(**changed))
    assert (await nobody.call("POST", "/identity/v3/auth/tokens", {"auth": {"identity": method}}))[0] == 401


async def test_a_credential_makes_no_credentials_and_ends_with_its_makers_role(
    cloud: Cloud, nobody: Api, member: Api
) -> None:
    user = cloud.tokens.read(member.token).user_id
    path = f"/identity/v3/users/{user}/application_credentials"
    _status, made = await member.call("POST", path, {"application_credential": {"name": "ci", "secret": "s"}})
    secret = {"id": made["application_credential"]["id"], "secret": "s"}
    method = {"methods": ["application_credential"], "application_credential": secret}
    sign_in = {"auth": {"identity": method}}
    assert (await nobody.call("POST", "/identity/v3/auth/tokens", sign_in))[0] == 201
    thief = Api(nobody.session, nobody.url, nobody.headers["X-Subject-Token"])
    assert (await thief.call("POST", path, {"application_credential": {"name": "more"}}))[0] == 403
    assert (await thief.call("DELETE", f"{path}/{secret['id']}"))[0] == 403
    async with cloud.store.write() as connection:
        await connection.execute(ROLES.delete().where(ROLES.c.user_id == user))
    assert (await nobody.call("POST", "/identity/v3/auth/tokens", sign_in))[0] == 401


def test_a_token_of_a_release_that_knew_no_credentials_is_still_good(cloud: Cloud, member: Api) -> None:
    who = cloud.tokens.read(member.token)
    older = json.dumps([value for name, value in vars(who).items() if name != "credential_id"])
    body, signature = (
        base64.urlsafe_b64encode(part).decode().rstrip("=")
        for part in (older.encode(), cloud.tokens._sign(older.encode()))
    )
    assert cloud.tokens.read(f"{body}.{signature}") == who


def test_secrets_are_files_that_only_their_owner_reads(cloud: Cloud, tmp_path: Path) -> None:
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "cloud").iterdir()
        if path.is_file()
    }
    assert set(modes.values()) == {0o600}
    assert {"clouds.yaml", "token.key", "spawner.db"} <= set(modes)


async def test_passwords_are_stored_as_hashes_only(cloud: Cloud, member: Api, tmp_path: Path) -> None:
    password = (tmp_path / "cloud" / "clouds.yaml").read_text().partition("password: ")[2].split()[0]
    assert member is not None
    for path in (tmp_path / "cloud").glob("spawner.db*"):
        assert password.encode() not in path.read_bytes()


# --- versions, faults, input ----------------------------------------------------------------------------


async def test_the_microversion_is_honoured_and_told(member: Api) -> None:
    assert (await member.call("GET", "/compute/v2.1/flavors/1", version="2.61"))[1]["flavor"][
        "extra_specs"
    ] == {}
    assert member.headers["OpenStack-API-Version"] == "compute 2.61"
    assert "OpenStack-API-Version" in member.headers["Vary"]
    assert "extra_specs" not in (await member.call("GET", "/compute/v2.1/flavors/1"))[1]["flavor"]
    assert member.headers["OpenStack-API-Version"] == "compute 2.1"


@pytest.mark.parametrize(("version", "status"), [("2.97", 406), ("3.0", 406), ("two", 400), ("2", 400)])
async def test_a_microversion_out_of_range_is_refused(member: Api, version: str, status: int) -> None:
    found, answer = await member.call("GET", "/compute/v2.1/flavors", version=version)
    assert found == status
    # Nova has no name for 406: nova.api.openstack.wsgi.Fault.
    assert list(answer) == ["computeFault" if status == 406 else "badRequest"]


async def test_the_flavor_in_a_server_changes_with_the_microversion(cloud: Cloud, member: Api) -> None:
    server = await _server(member, await _image(member))
    await cloud.conductor.settled()
    path = f"/compute/v2.1/servers/{server}"
    assert (await member.call("GET", path, version="2.46"))[1]["server"]["flavor"]["id"] == "1"
    assert (await member.call("GET", path, version="2.47"))[1]["server"]["flavor"][
        "original_name"
    ] == "m1.nano"


BAD_SERVERS: list[tuple[dict[str, object], str]] = [
    ({"flavorRef": "77"}, "Flavor 77 could not be found"),
    ({"imageRef": "nope"}, "Image nope could not be found"),
    ({"imageRef": None}, "Invalid imageRef"),
    ({"name": ""}, "attribute server.name: expected `str` of length >= 1"),
    ({"name": 5}, "attribute server.name: expected `str`, got `int`"),
    ({"key_name": "nope"}, "Invalid key_name"),
    ({"user_data": "%%%"}, "cannot be decoded"),
    (
        {"user_data": base64.b64encode(bytes(60000)).decode()},
        "attribute server.user_data: expected `str` of length <= 65535",
    ),
    ({"max_count": 1000, "min_count": 1000}, "_count: expected `int` <= 100"),
    ({"security_groups": [{"name": "nope"}]}, "Security group nope not found"),
    ({"hostname": "-bad-"}, "hostname"),
    ({"colour": "red"}, "attribute server. Additional properties are not allowed ('colour' was unexpected)"),
    ({"personality": [{"path": "/a", "contents": ""}]}, "('personality' was unexpected)"),
    ({"networks": [{"uuid": 7}]}, "attribute server.networks[0].uuid"),
    ({"networks": [{"fixed_ip": "10.0.0.1"}]}, "neither uuid nor port"),
]


@pytest.mark.parametrize(("change", "words"), BAD_SERVERS)
async def test_a_bad_server_is_refused_with_the_field_named(
    member: Api, change: dict[str, object], words: str
) -> None:
    form = {"name": "web", "imageRef": await _image(member), "flavorRef": "1", "networks": "none", **change}
    status, document = await member.call("POST", "/compute/v2.1/servers", {"server": form}, "2.96")
    assert (status, document["badRequest"]["code"]) == (400, 400)
    assert words in document["badRequest"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'{"server": {"name": "' + b"a" * 100])
async def test_rubbish_is_a_400_in_novas_form(member: Api, body: bytes) -> None:
    status, document = await member.call("POST", "/compute/v2.1/servers", data=body)
    assert status == 400
    assert document["badRequest"]["code"] == 400
    assert "Traceback" not in str(document)


async def test_every_service_words_its_faults_its_own_way(admin: Api) -> None:
    assert "itemNotFound" in (await admin.call("GET", "/compute/v2.1/servers/x"))[1]
    assert (await admin.call("GET", "/network/v2.0/networks/x"))[1]["NeutronError"][
        "type"
    ] == "NetworkNotFound"
    assert (await admin.call("GET", "/identity/v3/projects/x"))[1]["error"]["code"] == 404
    assert (await admin.call("GET", "/placement/resource_providers/x"))[1]["errors"][0]["status"] == 404
    assert (await admin.call("GET", "/image/v2/images/x"))[1]["code"] == "404 Not Found"
    assert admin.headers["x-openstack-request-id"].startswith("req-")


async def test_a_wrong_method_and_an_unknown_path_are_faults_too(member: Api) -> None:
    status, document = await member.call("PATCH", "/compute/v2.1/servers")
    assert (status, list(document)) == (405, ["badMethod"])
    assert (await member.call("GET", "/compute/v2.1/no-such-thing"))[0] == 404


async def test_lists_are_paged_with_markers(cloud: Cloud, member: Api) -> None:
    image = await _image(member)
    made = [await _server(member, image, name=f"web-{number}") for number in range(5)]
    await cloud.conductor.settled()
    seen: list[str] = []
    query = "limit=2"
    while query:
        _status, document = await member.call("GET", f"/compute/v2.1/servers?{query}")
        seen += [server["id"] for server in document["servers"]]
        links = document.get("servers_links", [])
        query = links[0]["href"].partition("?")[2] if links else ""
    assert sorted(seen) == sorted(made)
    assert (await member.call("GET", "/compute/v2.1/servers?marker=nope"))[0] == 400


async def test_filters_and_sorting(cloud: Cloud, member: Api) -> None:
    image = await _image(member)
    for name in ("web-1", "web-2", "db-1"):
        await _server(member, image, name=name, tags=["blue"] if name == "web-2" else [])
    await cloud.conductor.settled()

    async def names(query: str) -> list[str]:
        _status, document = await member.call("GET", f"/compute/v2.1/servers?{query}", version="2.96")
        return [server["name"] for server in document["servers"]]

    assert sorted(await names("name=web")) == ["web-1", "web-2"]
    assert await names("name=^db") == ["db-1"]
    assert await names("tags=blue") == ["web-2"]
    assert await names("status=ERROR") == []
    assert await names("sort_key=display_name&sort_dir=asc") == ["db-1", "web-1", "web-2"]


async def test_over_quota_is_a_403_with_figures(admin: Api) -> None:
    too_large = {
        "name": "huge",
        "vcpus": DEFAULTS["compute"]["cores"] + 1,
        "ram": 64,
        "disk": 0,
        "id": "huge",
    }
    assert (await admin.call("POST", "/compute/v2.1/flavors", {"flavor": too_large}))[0] == 200
    form = {"name": "web", "imageRef": await _image(admin), "flavorRef": "huge", "networks": "none"}
    status, document = await admin.call("POST", "/compute/v2.1/servers", {"server": form}, "2.96")
    assert status == 403
    assert document["forbidden"]["message"] == (
        "Quota exceeded for cores: Requested 201, but already used 0 of 200 cores"
    )


async def test_a_snapshot_becomes_an_active_image(cloud: Cloud, member: Api) -> None:
    server = await _server(member, await _image(member, hw_disk_bus="virtio"))
    await cloud.conductor.settled()
    action = {"createImage": {"name": "snap", "metadata": {"why": "test"}}}
    status, made = await member.call("POST", f"/compute/v2.1/servers/{server}/action", action, "2.45")
    assert status == 202
    await cloud.conductor.settled()
    image = (await member.call("GET", f"/image/v2/images/{made['image_id']}"))[1]
    assert (image["status"], image["disk_format"], image["virtual_size"]) == ("active", "qcow2", 1 << 20)
    assert (image["hw_disk_bus"], image["why"], image["instance_uuid"]) == ("virtio", "test", server)
    assert cloud.images.path(made["image_id"]).stat().st_mode & 0o777 == 0o600
    shown = (await member.call("GET", f"/compute/v2.1/servers/{server}"))[1]["server"]
    assert (shown["status"], shown["OS-EXT-STS:task_state"]) == ("ACTIVE", None)


async def test_events_tell_what_happened_and_explain_makes_nothing(cloud: Cloud, member: Api) -> None:
    image = await _image(member)
    form = {"name": "web", "imageRef": image, "flavorRef": "1", "networks": "none"}
    status, document = await member.call("POST", "/compute/v2.1/x-explain", {"server": form}, "2.96")
    assert (status, document["hosts"][0]["host"], document["hosts"][0]["filter"]) == (200, "host-1", "")
    assert (await member.call("GET", "/compute/v2.1/servers"))[1]["servers"] == []
    server = await _server(member, image)
    await cloud.conductor.settled()
    path = f"/compute/v2.1/servers/{server}/x-events"
    found = (await member.call("GET", path))[1]["events"]
    assert [event["type"] for event in found] == [
        "instance.create.start",
        "instance.update",
        "instance.create.end",
    ]
    assert (await member.call("GET", f"{path}?after={found[0]['number']}"))[1]["events"] == found[1:]


# --- images ---------------------------------------------------------------------------------------------


async def test_sp_09_an_image_with_a_backing_file_is_refused_and_kept_nowhere(
    cloud: Cloud, member: Api
) -> None:
    form = {"name": "evil", "disk_format": "qcow2", "container_format": "bare"}
    _status, image = await member.call("POST", "/image/v2/images", form)
    path = f"/image/v2/images/{image['id']}"
    status, document = await member.call("PUT", f"{path}/file", data=_qcow2(b"/etc/passwd"))
    assert status == 415
    assert "backing_file" in document["message"]
    assert not cloud.images.path(image["id"]).exists()
    assert (await member.call("GET", path))[1]["status"] == "queued"


async def test_sp_10_what_is_declared_must_be_what_is_there(member: Api) -> None:
    form = {"name": "lie", "disk_format": "raw", "container_format": "bare"}
    _status, image = await member.call("POST", "/image/v2/images", form)
    status, document = await member.call("PUT", f"/image/v2/images/{image['id']}/file", data=_qcow2(b""))
    assert (status, "Declared as raw, the image is qcow2" in document["message"]) == (415, True)


async def test_an_image_comes_back_as_it_went_and_has_its_checksums(member: Api) -> None:
    form = {"name": "disk", "disk_format": "raw", "container_format": "bare"}
    _status, image = await member.call("POST", "/image/v2/images", form)
    content = os.urandom(300_000)
    assert (await member.call("PUT", f"/image/v2/images/{image['id']}/file", data=content))[0] == 204
    import hashlib

    shown = (await member.call("GET", f"/image/v2/images/{image['id']}"))[1]
    assert shown["checksum"] == hashlib.md5(content).hexdigest()
    assert shown["os_hash_value"] == hashlib.sha512(content).hexdigest()
    assert (shown["size"], shown["status"]) == (300_000, "active")
    assert (await member.call("PUT", f"/image/v2/images/{image['id']}/file", data=content))[0] == 409


async def test_only_an_admin_makes_images_public(member: Api, admin: Api) -> None:
    form = {"name": "disk", "disk_format": "raw", "container_format": "bare", "visibility": "public"}
    assert (await member.call("POST", "/image/v2/images", form))[0] == 403
    assert (await admin.call("POST", "/image/v2/images", form))[0] == 201


# --- networks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("was_there_before", [True, False])
async def test_a_port_that_is_deleted_is_taken_out_of_its_server(
    cloud: Cloud, member: Api, node: FakeNode, was_there_before: bool
) -> None:
    body: dict[str, Any] = {"network": {"name": "n"}}
    network = (await member.call("POST", "/network/v2.0/networks", body))[1]["network"]["id"]
    server = await _server(member, await _image(member))
    await cloud.conductor.settled()
    wish = {"net_id": network}
    if was_there_before:
        body = {"port": {"network_id": network}}
        wish = {"port_id": (await member.call("POST", "/network/v2.0/ports", body))[1]["port"]["id"]}
    path = f"/compute/v2.1/servers/{server}/os-interface"
    status, plugged = await member.call("POST", path, {"interfaceAttachment": wish})
    assert status == 200, plugged
    port = plugged["interfaceAttachment"]["port_id"]
    assert port in node.plugged[server]

    node.fail_plug = "the guest does not let go"
    assert (await member.call("DELETE", f"/network/v2.0/ports/{port}"))[0] == 500
    assert (await member.call("GET", f"/network/v2.0/ports/{port}"))[1]["port"]["device_id"] == server
    node.fail_plug = ""
    assert (await member.call("DELETE", f"/network/v2.0/ports/{port}"))[0] == 204
    assert port not in node.plugged[server]
    assert (await member.call("GET", f"/network/v2.0/ports/{port}"))[0] == 404
    assert (await member.call("GET", path))[1]["interfaceAttachments"] == []


async def test_ports_get_different_addresses_and_give_them_back(member: Api) -> None:
    network = (await member.call("POST", "/network/v2.0/networks", {"network": {"name": "n"}}))[1]["network"][
        "id"
    ]
    subnet = {"network_id": network, "cidr": "192.0.2.0/29", "ip_version": 4}
    assert (await member.call("POST", "/network/v2.0/subnets", {"subnet": subnet}))[0] == 201
    ports = []
    for _number in range(5):
        status, made = await member.call("POST", "/network/v2.0/ports", {"port": {"network_id": network}})
        assert status == 201
        assert made["port"]["binding:vif_details"] == {"port_filter": False}
        ports.append(made["port"])
    addresses = [port["fixed_ips"][0]["ip_address"] for port in ports]
    assert sorted(addresses) == [f"192.0.2.{last}" for last in range(2, 7)]
    status, full = await member.call("POST", "/network/v2.0/ports", {"port": {"network_id": network}})
    assert (status, "No more IP addresses" in full["NeutronError"]["message"]) == (409, True)
    assert (await member.call("DELETE", f"/network/v2.0/networks/{network}"))[0] == 409
    for port in ports:
        assert (await member.call("DELETE", f"/network/v2.0/ports/{port['id']}"))[0] == 204
    assert (await member.call("DELETE", f"/network/v2.0/networks/{network}"))[0] == 204


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cidr": "192.0.2.1/24"}, "host bits"),
        ({"cidr": "rubbish"}, "cidr"),
        ({"cidr": "192.0.2.0/24", "gateway_ip": "10.0.0.1"}, "is not in 192.0.2.0/24"),
        ({"cidr": "2001:db8::/64"}, "not of IPv4"),
    ],
)
async def test_a_bad_subnet_is_refused_with_the_reason(
    member: Api, fields: dict[str, str], words: str
) -> None:
    network = (await member.call("POST", "/network/v2.0/networks", {"network": {}}))[1]["network"]["id"]
    body = {"subnet": {"network_id": network, "ip_version": 4, **fields}}
    status, document = await member.call("POST", "/network/v2.0/subnets", body)
    assert (status, words in document["NeutronError"]["message"]) == (400, True)
