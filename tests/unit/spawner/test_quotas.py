"""What a project may have, over HTTP: who may change it, what is refused at the limit, in whose words."""

from __future__ import annotations

import base64
import json
from datetime import date
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from instance_metadata import documents
from spawner.api.cloud import Cloud
from spawner.compute import guest_plan
from spawner.store import servers
from tests.unit.spawner.callers import Caller

COMPUTE, NETWORK, VOLUME = "/compute/v2.1", "/network/v2.0", "/volume/v3"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJq0tmXNeXv4qAxb7c2b4O5W1YsyUy4IVYQbWdJzk4Ev"


class Api(Caller):
    """Somebody who makes images and servers."""

    async def image(self) -> str:
        form = {"name": "disk", "disk_format": "raw", "container_format": "bare"}
        image = (await self.call("POST", "/image/v2/images", form))[1]["id"]
        assert (await self.call("PUT", f"/image/v2/images/{image}/file", data=bytes(512)))[0] == 204
        return str(image)

    async def server(self, image: str, version: str = "2.96", **fields: object) -> tuple[int, Any]:
        form = {"name": "web", "imageRef": image, "flavorRef": "1", **fields}
        if "networks" not in form and version >= "2.37":
            form["networks"] = "none"
        return await self.call("POST", f"{COMPUTE}/servers", {"server": form}, version)


@pytest.fixture
def admin(cloud: Cloud, session: aiohttp.ClientSession) -> Api:
    return Api(session, cloud, "p2", "admin")


@pytest.fixture
def member(cloud: Cloud, session: aiohttp.ClientSession) -> Api:
    return Api(session, cloud, "p1", "member")


async def _limit(admin: Api, service: str, **limits: object) -> None:
    """Set limits of the project p1."""
    path, word = {
        "compute": (f"{COMPUTE}/os-quota-sets/p1", "quota_set"),
        "volume": (f"{VOLUME}/os-quota-sets/p1", "quota_set"),
        "network": (f"{NETWORK}/quotas/p1", "quota"),
    }[service]
    status, answer = await admin.call("PUT", path, {word: limits})
    assert (status, {name: answer[word][name] for name in limits}) == (200, limits)


async def test_only_admins_change_quotas_and_each_project_sees_its_own(admin: Api, member: Api) -> None:
    await _limit(admin, "compute", instances=7)
    assert (await member.call("GET", f"{COMPUTE}/os-quota-sets/p1"))[1]["quota_set"]["instances"] == 7
    assert (await admin.call("GET", f"{COMPUTE}/os-quota-sets/p2"))[1]["quota_set"]["instances"] == 100
    assert (await member.call("GET", f"{COMPUTE}/limits"))[1]["limits"]["absolute"]["maxTotalInstances"] == 7
    for path in (f"{COMPUTE}/os-quota-sets", f"{VOLUME}/os-quota-sets", f"{NETWORK}/quotas"):
        assert (await member.call("GET", f"{path}/p2"))[0] == 403
        assert (await member.call("PUT", f"{path}/p1", {"quota_set": {}}))[0] == 403
        assert (await member.call("DELETE", f"{path}/p1"))[0] == 403
        assert (await admin.call("DELETE", f"{path}/p1"))[0] in {200, 202, 204}
    assert (await member.call("GET", f"{COMPUTE}/os-quota-sets/p1"))[1]["quota_set"]["instances"] == 100


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"instances": -2}, "Value: -2"),
        ({"instances": True}, "Value: True"),
        ({"instances": "many"}, "Value: many"),
        ({"bananas": 1}, "'bananas' was unexpected"),
        ({"injected_files": 9}, "this cloud has 5, always"),
    ],
)
async def test_what_is_no_limit_is_refused(admin: Api, limits: dict[str, object], said: str) -> None:
    status, answer = await admin.call("PUT", f"{COMPUTE}/os-quota-sets/p1", {"quota_set": limits})
    assert (status, said in answer["badRequest"]["message"]) == (400, True), answer
    status, answer = await admin.call("PUT", f"{COMPUTE}/os-quota-sets/nobody", {"quota_set": {}})
    assert (status, answer["badRequest"]["message"]) == (400, "Project ID nobody is not a valid project.")


async def test_what_a_cloud_has_none_of_has_no_quota(admin: Api) -> None:
    status, answer = await admin.call("PUT", f"{NETWORK}/quotas/p1", {"quota": {"router": 1}})
    assert (status, "always" in answer["NeutronError"]["message"]) == (400, True)


async def test_a_limit_below_what_is_used_needs_force(admin: Api, member: Api, cloud: Cloud) -> None:
    image = await member.image()
    assert (await member.server(image, min_count=2))[0] == 202
    path = f"{COMPUTE}/os-quota-sets/p1"
    assert (await admin.call("PUT", path, {"quota_set": {"instances": 1}}))[0] == 400
    assert (await admin.call("PUT", path, {"quota_set": {"instances": 1, "force": True}}))[0] == 200
    assert (await member.server(image))[0] == 403
    await _limit(admin, "compute", instances=-1)
    assert (await member.server(image))[0] == 202
    await cloud.conductor.settled()


async def test_many_servers_in_one_request_are_as_many_as_the_quota_has_room_for(
    admin: Api, member: Api, cloud: Cloud
) -> None:
    await _limit(admin, "compute", instances=3)
    image = await member.image()
    assert (await member.server(image, min_count=5, max_count=4))[0] == 400
    assert (await member.server(image, min_count=4, max_count=9))[0] == 403
    assert (await member.server(image, min_count=2, max_count=9))[0] == 202
    found = (await member.call("GET", f"{COMPUTE}/servers?sort_key=display_name&sort_dir=asc"))[1]["servers"]
    assert [each["name"] for each in found] == ["web-1", "web-2", "web-3"]
    await cloud.conductor.settled()
    for each in found:
        path = f"{COMPUTE}/servers/{each['id']}/os-instance-actions"
        actions = (await member.call("GET", path))[1]["instanceActions"]
        assert [action["action"] for action in actions] == ["create"]


async def test_nova_refuses_at_the_limit_with_403(admin: Api, member: Api, cloud: Cloud) -> None:
    image = await member.image()
    await _limit(
        admin, "compute", key_pairs=0, server_groups=1, server_group_members=1, metadata_items=1, ram=512
    )
    made = await member.call(
        "POST", f"{COMPUTE}/os-server-groups", {"server_group": {"name": "g", "policy": "affinity"}}
    )
    group = made[1]["server_group"]["id"]
    hints: dict[str, Any] = {"os:scheduler_hints": {"group": group}}
    assert (await member.server(image, **hints))[0] == 202
    for said, (status, answer) in (
        (
            "Quota exceeded, too many key pairs.",
            await member.call(
                "POST", f"{COMPUTE}/os-keypairs", {"keypair": {"name": "k", "public_key": KEY}}
            ),
        ),
        (
            "Quota exceeded, too many server groups.",
            await member.call(
                "POST", f"{COMPUTE}/os-server-groups", {"server_group": {"name": "h", "policy": "affinity"}}
            ),
        ),
        ("Quota exceeded, too many servers in group", await member.server(image, **hints)),
        (
            "Maximum number of metadata items exceeds 1",
            await member.server(image, metadata={"a": "1", "b": "2"}),
        ),
        (
            "Quota exceeded for ram: Requested 512, but already used 256 of 512 ram",
            await member.server(image, flavorRef="2"),
        ),
    ):
        assert (status, answer) == (403, {"forbidden": {"code": 403, "message": said}})
    await cloud.conductor.settled()
    server = (await member.call("GET", f"{COMPUTE}/servers"))[1]["servers"][0]["id"]
    for method, path, body in (
        ("POST", "metadata", {"metadata": {"a": "1", "b": "2"}}),
        ("PUT", "metadata", {"metadata": {"a": "1", "b": "2"}}),
        ("POST", "action", {"resize": {"flavorRef": "3"}}),
    ):
        assert (await member.call(method, f"{COMPUTE}/servers/{server}/{path}", body))[0] == 403


async def test_files_for_a_server_are_few_small_and_of_old_microversions(member: Api) -> None:
    image = await member.image()

    def file(size: int) -> dict[str, str]:
        return {"path": "/etc/motd", "contents": base64.b64encode(bytes(size)).decode()}

    for version, files, status, said in (
        ("2.56", [file(1)] * 6, 403, "Personality file limit exceeded"),
        ("2.56", [file(10241)], 403, "Personality file content exceeds maximum 10240"),
        ("2.57", [file(1)], 400, "Additional properties are not allowed ('personality' was unexpected)"),
    ):
        found, answer = await member.server(image, version, personality=files)
        assert (found, next(iter(answer.values()))["message"]) == (status, said)
    assert (await member.server(image, "2.56", personality=[file(10240)]))[0] == 202


@pytest.mark.parametrize("version", ["2.1", "2.56"])
async def test_a_file_for_a_server_is_in_its_guests_metadata(
    cloud: Cloud, member: Api, tmp_path: Path, version: str
) -> None:
    """The body is that of python-openstackclient 6.0 for `server create --file /etc/hello=hello.txt`."""
    hello = {"path": "/etc/hello", "contents": base64.b64encode(b"hello\n").decode()}
    form = {"personality": [hello], "min_count": 1, "max_count": 1, "networks": []}
    status, made = await member.server(await member.image(), version, **form)
    assert status == 202, made
    await cloud.conductor.settled()
    async with cloud.store.read() as connection:
        server = await servers.get(connection, made["server"]["id"])
        instance = await guest_plan.instance(connection, server, tmp_path)
    tree = documents.http_tree(instance, random_seed=bytes(512), today=date(2026, 1, 1))
    told = json.loads(tree["openstack/latest/meta_data.json"])["files"]
    assert told == [{"path": "/etc/hello", "content_path": "/content/0000"}]
    assert tree["openstack/content/0000"] == b"hello\n"


async def test_neutron_refuses_at_the_limit_with_409(admin: Api, member: Api, cloud: Cloud) -> None:
    image = await member.image()
    made = await member.call("POST", f"{NETWORK}/networks", {"network": {"name": "n"}})
    network = made[1]["network"]["id"]
    await _limit(
        admin, "network", network=1, subnet=0, port=0, security_group=1, security_group_rule=0, router=0
    )
    for path, word, fields in (
        ("networks", "network", {}),
        ("subnets", "subnet", {"network_id": network, "cidr": "10.1.0.0/24"}),
        ("ports", "port", {"network_id": network}),
        ("security-groups", "security_group", {"name": "x"}),
        ("routers", "router", {}),
    ):
        status, answer = await member.call("POST", f"{NETWORK}/{path}", {word: fields})
        expected = {
            "type": "OverQuota",
            "message": f"Quota exceeded for resources: ['{word}'].",
            "detail": "",
        }
        assert (status, answer) == (409, {"NeutronError": expected})
    status, answer = await member.server(image, networks=[{"uuid": network}])
    assert (status, answer["forbidden"]["message"]) == (403, "Maximum number of ports exceeded")
    await cloud.conductor.settled()


async def test_cinder_refuses_at_the_limit_with_413(admin: Api, member: Api) -> None:
    await _limit(admin, "volume", volumes=1, gigabytes=2)
    status, answer = await member.call("POST", f"{VOLUME}/volumes", {"volume": {"size": 3}})
    assert (status, "Requested 3G, quota is 2G and 0G" in answer["overLimit"]["message"]) == (413, True)
    assert (await member.call("POST", f"{VOLUME}/volumes", {"volume": {"size": 1}}))[0] == 202
    status, answer = await member.call("POST", f"{VOLUME}/volumes", {"volume": {"size": 1}})
    assert (status, "allowed (1) exceeded" in answer["overLimit"]["message"]) == (413, True)
    for path, word in (("snapshots", "snapshot"), ("backups", "backup")):
        assert (await member.call("POST", f"{VOLUME}/{path}", {word: {}}))[0] == 413
        assert (await member.call("GET", f"{VOLUME}/{path}/detail"))[1] == {path: []}


async def test_a_flavor_for_some_is_not_there_for_others(admin: Api, member: Api) -> None:
    form = {"name": "s", "id": "s", "vcpus": 1, "ram": 64, "disk": 0, "os-flavor-access:is_public": False}
    assert (await admin.call("POST", f"{COMPUTE}/flavors", {"flavor": form}))[0] == 200
    image = await member.image()

    async def seen() -> tuple[int, bool, int]:
        listed = (await member.call("GET", f"{COMPUTE}/flavors?is_public=None"))[1]["flavors"]
        made = await member.server(image, flavorRef="s")
        shown = (await member.call("GET", f"{COMPUTE}/flavors/s"))[0]
        return shown, "s" in [each["id"] for each in listed], made[0]

    assert await seen() == (404, False, 400)
    grant, path = {"tenant": "p1"}, f"{COMPUTE}/flavors/s/action"
    assert (await admin.call("POST", path, {"addTenantAccess": grant}))[0] == 200
    assert (await admin.call("POST", path, {"addTenantAccess": grant}))[0] == 409
    access = (await admin.call("GET", f"{COMPUTE}/flavors/s/os-flavor-access"))[1]["flavor_access"]
    assert access == [{"flavor_id": "s", "tenant_id": "p1"}]
    assert await seen() == (200, True, 202)
    assert (await admin.call("POST", path, {"removeTenantAccess": grant}))[0] == 200
    assert (await admin.call("POST", path, {"removeTenantAccess": grant}))[0] == 404
    assert await seen() == (404, False, 400)
    assert (await admin.call("GET", f"{COMPUTE}/flavors/1/os-flavor-access"))[0] == 404


FILTERS: dict[str, list[str]] = {
    "ip=10.0.2.": ["a"],
    "ip=192.168": [],
    "ip6=f": [],
    "locked=true": ["b"],
    "locked=false": ["a"],
    "config_drive=true": ["b"],
    "tags=red": ["a"],
    "tags-any=red,green": ["a"],
    "not-tags=red": ["b"],
    "not-tags-any=red,green": ["b"],
    "power_state=1": ["a", "b"],
    "power_state=4": [],
    "availability_zone=mars": [],
    "changes-before=2001-01-01T00:00:00Z": [],
    "changes-since=2001-01-01T00:00:00Z": ["a", "b"],
}


async def test_servers_are_found_by_what_clients_filter_with(member: Api, cloud: Cloud) -> None:
    image = await member.image()
    assert (await member.server(image, name="a", networks="auto", tags=["red", "blue"]))[0] == 202
    status, answer = await member.server(image, name="b", config_drive=True)
    assert status == 202
    await cloud.conductor.settled()
    action = f"{COMPUTE}/servers/{answer['server']['id']}/action"
    assert (await member.call("POST", action, {"lock": None}))[0] == 202
    found = {
        query: sorted(
            each["name"] for each in (await member.call("GET", f"{COMPUTE}/servers?{query}"))[1]["servers"]
        )
        for query in FILTERS
    }
    assert found == FILTERS
    for query in ("changes-before=soon", "changes-since=soon"):
        assert (await member.call("GET", f"{COMPUTE}/servers?{query}"))[0] == 400


async def test_a_rebuild_changes_what_it_names_and_nothing_else(member: Api, cloud: Cloud) -> None:
    image = await member.image()
    status, answer = await member.server(image, description="old", metadata={"a": "1"})
    assert status == 202
    await cloud.conductor.settled()
    path = f"{COMPUTE}/servers/{answer['server']['id']}"
    wish = {"imageRef": image, "name": "new", "description": "fresh"}
    assert (await member.call("POST", f"{path}/action", {"rebuild": wish}))[0] == 202
    await cloud.conductor.settled()
    shown = (await member.call("GET", path))[1]["server"]
    assert (shown["name"], shown["description"], shown["metadata"]) == ("new", "fresh", {"a": "1"})
    assert (await member.call("POST", f"{path}/action", {"rebuild": {**wish, "key_name": "no"}}))[0] == 400
    assert (await member.call("POST", f"{path}/action", {"rebuild": wish}, "2.18"))[0] == 400
    assert (await member.call("PUT", path, {"server": {"description": None}}))[1]["server"][
        "description"
    ] is None


async def test_usage_counts_hours_of_servers_that_are_gone_too(member: Api, admin: Api, cloud: Cloud) -> None:
    image = await member.image()
    answer = (await member.server(image, name="gone"))[1]
    await cloud.conductor.settled()
    assert (await member.call("DELETE", f"{COMPUTE}/servers/{answer['server']['id']}"))[0] == 204
    await cloud.conductor.settled()
    base = f"{COMPUTE}/os-simple-tenant-usage"
    usage = (await member.call("GET", f"{base}/p1"))[1]["tenant_usage"]
    assert [(each["name"], each["state"]) for each in usage["server_usages"]] == [("gone", "terminated")]
    assert 0 < usage["total_hours"] < 1
    assert usage["total_memory_mb_usage"] == pytest.approx(256 * usage["total_hours"])
    assert [each["tenant_id"] for each in (await admin.call("GET", base))[1]["tenant_usages"]] == ["p1"]
    assert (await member.call("GET", base))[0] == 403
    assert (await member.call("GET", f"{base}/p2"))[0] == 403
    assert (await member.call("GET", f"{base}/p1?start=2030-01-01&end=2029-01-01"))[0] == 400


async def test_a_public_key_is_kept_with_its_line_end_and_given_to_guests_without(
    member: Api, cloud: Cloud
) -> None:
    form = {"keypair": {"name": "k", "public_key": f"{KEY} me\n"}}
    assert (await member.call("POST", f"{COMPUTE}/os-keypairs", form))[0] == 201
    shown = (await member.call("GET", f"{COMPUTE}/os-keypairs/k"))[1]["keypair"]
    assert shown["public_key"] == f"{KEY} me\n"
    status, answer = await member.server(await member.image(), key_name="k")
    assert status == 202
    async with cloud.store.read() as connection:
        server = await servers.get(connection, answer["server"]["id"])
    assert server.public_key == f"{KEY} me"
    await cloud.conductor.settled()
