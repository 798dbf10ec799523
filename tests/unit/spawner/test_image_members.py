"""Images shared with named projects: who sees them, who says yes, who may start servers from them."""

from __future__ import annotations

import aiohttp
import pytest
from sqlalchemy import insert

from spawner.api import image_members
from spawner.api.cloud import Cloud
from spawner.store.tables import IMAGE_MEMBERS
from tests.unit.spawner.callers import PROJECTS, Caller

IMAGES = "/image/v2/images"


class Api(Caller):
    """Somebody who shares images."""

    async def image(self, visibility: str = "shared") -> str:
        form = {"disk_format": "raw", "container_format": "bare", "visibility": visibility}
        image = (await self.call("POST", IMAGES, form))[1]["id"]
        assert (await self.call("PUT", f"{IMAGES}/{image}/file", data=bytes(512)))[0] == 204
        return str(image)

    async def listed(self, query: str = "") -> list[str]:
        return [image["id"] for image in (await self.call("GET", f"{IMAGES}{query}"))[1]["images"]]

    async def boots(self, image: str) -> bool:
        wish = {"name": "web", "imageRef": image, "flavorRef": "1", "networks": "none"}
        status, _answer = await self.call("POST", "/compute/v2.1/servers", {"server": wish})
        assert status in {202, 400}
        return status == 202


@pytest.fixture
def people(cloud: Cloud, session: aiohttp.ClientSession) -> tuple[Api, Api, Api]:
    """The owner, a member of the image, and somebody else."""
    owner, member, other = (Api(session, cloud, project, "member") for project in PROJECTS)
    return owner, member, other


async def test_it_is_offered_accepted_used_and_taken_back(people: tuple[Api, Api, Api]) -> None:
    owner, member, other = people
    image = await owner.image()
    members = f"{IMAGES}/{image}/members"
    assert (await member.call("GET", f"{IMAGES}/{image}"))[0] == 404
    assert not await member.boots(image)

    status, added = await owner.call("POST", members, {"member": "p2"})
    assert (status, added["member_id"], added["image_id"], added["status"]) == (200, "p2", image, "pending")
    assert (await member.call("GET", f"{IMAGES}/{image}"))[0] == 200
    assert await member.boots(image)
    assert await member.listed() == []
    assert await member.listed("?member_status=pending&visibility=shared") == [image]

    status, said = await member.call("PUT", f"{members}/p2", {"status": "accepted", "member": "p2"})
    assert (status, said["status"]) == (200, "accepted")
    assert await member.listed() == [image]
    assert await member.listed("?member_status=pending") == []
    assert (await member.call("PUT", f"{members}/p2", {"status": "rejected"}))[0] == 200
    assert await member.listed() == []
    assert await member.listed("?member_status=all") == [image]
    assert (await other.listed("?member_status=all"), await owner.listed()) == ([], [image])

    assert (await owner.call("DELETE", f"{members}/p2"))[0] == 204
    assert (await member.call("GET", f"{IMAGES}/{image}"))[0] == 404
    assert not await member.boots(image)
    assert (await owner.call("DELETE", f"{members}/p2"))[0] == 404


async def test_a_member_says_yes_for_itself_and_changes_nothing_else(people: tuple[Api, Api, Api]) -> None:
    owner, member, other = people
    image = await owner.image()
    members = f"{IMAGES}/{image}/members"
    for project in ("p2", "p3"):
        assert (await owner.call("POST", members, {"member": project}))[0] == 200
    assert (await owner.call("PUT", f"{members}/p2", {"status": "accepted"}))[0] == 403
    assert (await other.call("PUT", f"{members}/p2", {"status": "accepted"}))[0] == 404
    assert (await member.call("PUT", f"{members}/p2", {"status": "perhaps"}))[0] == 400
    assert (await member.call("POST", members, {"member": "p4"}))[0] == 403
    assert (await member.call("DELETE", f"{members}/p3"))[0] == 403
    assert (await member.call("DELETE", f"{IMAGES}/{image}"))[0] == 403
    assert (await member.call("PATCH", f"{IMAGES}/{image}", []))[0] == 403
    _status, found = await owner.call("GET", members)
    assert [(each["member_id"], each["status"]) for each in found["members"]] == [
        ("p2", "pending"), ("p3", "pending"),
    ]  # fmt: skip
    _status, found = await member.call("GET", members)
    assert [each["member_id"] for each in found["members"]] == ["p2"], "nothing of the other projects"
    assert (await member.call("GET", f"{members}/p2"))[1]["status"] == "pending"
    assert (await member.call("GET", f"{members}/p3"))[0] == 404


async def test_what_cannot_be_shared_is_said(cloud: Cloud, people: tuple[Api, Api, Api]) -> None:
    owner, member, _other = people
    private = f"{IMAGES}/{await owner.image('private')}/members"
    status, told = await owner.call("POST", private, {"member": "p2"})
    assert (status, told["message"]) == (403, "Only shared images have members.")
    image = await owner.image()
    members = f"{IMAGES}/{image}/members"
    assert (await owner.call("POST", members, {"member": "p2"}))[0] == 200
    assert (await owner.call("POST", members, {"member": "p2"}))[0] == 409
    async with cloud.store.write() as connection:
        for number in range(1, image_members.MOST):
            await connection.execute(
                insert(IMAGE_MEMBERS).values(image_id=image, member_id=f"m{number}", created_at=0.0)
            )
    assert (await owner.call("POST", members, {"member": "p3"}))[0] == 413
    assert (await member.call("GET", f"{IMAGES}?member_status=nope"))[0] == 400
    closed = [{"op": "replace", "path": "/visibility", "value": "private"}]
    assert (await owner.call("PATCH", f"{IMAGES}/{image}", closed))[0] == 200
    assert (await member.call("GET", f"{IMAGES}/{image}"))[0] == 404
    assert not await member.boots(image)
