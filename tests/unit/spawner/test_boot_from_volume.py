"""Servers that boot from a volume: one that is there, and one that is made of an image for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from spawner.api.cloud import Cloud
from spawner.compute import guest_plan
from spawner.compute.driver import Bus
from spawner.compute.guest_plan import GuestFiles
from spawner.devices import VOLUME_FILES
from spawner.images import ImageFiles
from spawner.store import servers
from tests.unit.spawner.callers import Caller

SERVERS, VOLUMES = "/compute/v2.1/servers", "/volume/v3/volumes"
INVALID = "Block Device Mapping is Invalid: "


@pytest.fixture
async def image(member: Caller) -> str:
    form = {"name": "disk", "disk_format": "raw", "container_format": "bare", "hw_disk_bus": "scsi"}
    made = (await member.call("POST", "/image/v2/images", form))[1]
    await member.call("PUT", f"/image/v2/images/{made['id']}/file", data=bytes(1 << 20))
    return str(made["id"])


async def _create(member: Caller, cloud: Cloud, *disks: dict[str, Any], **fields: Any) -> tuple[int, Any]:
    wish = {
        "name": "web-1", "imageRef": "", "flavorRef": "1", "networks": "none",
        "block_device_mapping_v2": list(disks), **fields,
    }  # fmt: skip
    status, found = await member.call("POST", SERVERS, {"server": wish})
    if status != 202:
        return status, next(iter(found.values()))["message"]
    await cloud.conductor.settled()
    return status, (await member.call("GET", f"{SERVERS}/{found['server']['id']}"))[1]["server"]


def _root(source: str, uuid: str, **more: Any) -> dict[str, Any]:
    return {"source_type": source, "destination_type": "volume", "uuid": uuid, "boot_index": 0, **more}


async def _volume(member: Caller, cloud: Cloud, **fields: Any) -> str:
    made = (await member.call("POST", VOLUMES, {"volume": {"size": 1, **fields}}))[1]["volume"]
    await cloud.volumes.settled()
    return str(made["id"])


async def _status(member: Caller, volume: str) -> Any:
    return (await member.call("GET", f"{VOLUMES}/{volume}"))[1].get("volume", {}).get("status")


async def test_a_server_boots_from_a_volume_and_gives_it_back(
    cloud: Cloud, member: Caller, image: str
) -> None:
    volume = await _volume(member, cloud, imageRef=image)
    status, server = await _create(member, cloud, _root("volume", volume))
    assert (status, server["status"], server["image"]) == (202, "ACTIVE", "")
    assert await _status(member, volume) == "in-use"
    attachment = (await member.call("GET", f"{SERVERS}/{server['id']}/os-volume_attachments"))[1]
    assert attachment["volumeAttachments"][0]["device"] == "/dev/vda"

    one = f"{SERVERS}/{server['id']}"
    refused = await member.call("DELETE", f"{one}/os-volume_attachments/{volume}")
    assert (refused[0], "Cannot detach a root device volume" in str(refused[1])) == (409, True)
    actions: tuple[dict[str, Any], ...] = (
        {"rescue": {}},
        {"rebuild": {"imageRef": image}},
        {"createImage": {"name": "copy"}},
    )
    for action in actions:
        status, found = await member.call("POST", f"{one}/action", action)
        assert (status, "boots from a volume" in str(found)) == (400, True)
    assert (await _create(member, cloud, _root("volume", volume)))[1] == (
        f"{INVALID}Volume {volume} status must be available, it is in-use."
    )
    await member.call("DELETE", one)
    await cloud.conductor.settled()
    assert await _status(member, volume) == "available"


async def test_a_volume_is_made_of_an_image_before_its_server_starts(
    cloud: Cloud, member: Caller, image: str
) -> None:
    disk = _root("image", image, volume_size=2, delete_on_termination=True)
    _status_code, server = await _create(member, cloud, disk)
    assert (server["status"], server["image"]) == ("ACTIVE", "")
    (volume,) = server["os-extended-volumes:volumes_attached"]
    shown = (await member.call("GET", f"{VOLUMES}/{volume['id']}"))[1]["volume"]
    assert (shown["status"], shown["size"], shown["bootable"]) == ("in-use", 2, "true")
    await member.call("DELETE", f"{SERVERS}/{server['id']}")
    await cloud.conductor.settled()
    await cloud.volumes.settled()
    assert await _status(member, volume["id"]) is None


async def _flavor(cloud: Cloud, name: str, disk_gib: int) -> str:
    """A new flavor, which only an admin may make."""
    async with aiohttp.ClientSession() as session:
        admin = Caller(session, cloud, "p1", "admin")
        form = {"name": name, "ram": 64, "vcpus": 1, "disk": disk_gib}
        return str((await admin.call("POST", "/compute/v2.1/flavors", {"flavor": form}))[1]["flavor"]["id"])


async def test_a_flavor_whose_disk_the_host_has_not_is_fine_with_a_volume(
    cloud: Cloud, member: Caller, image: str
) -> None:
    """The host has 1000 GiB. Disks do not shrink, but there is none of the flavor's to do so."""
    large, small = await _flavor(cloud, "large", 2000), await _flavor(cloud, "small", 1)
    volume = await _volume(member, cloud, imageRef=image)
    server = (await _create(member, cloud, _root("volume", volume), flavorRef=large))[1]
    assert server["status"] == "ACTIVE"
    assert (await _create(member, cloud, imageRef=image, flavorRef=large))[1]["status"] == "ERROR"
    action = f"{SERVERS}/{server['id']}/action"
    assert (await member.call("POST", action, {"resize": {"flavorRef": small}}))[0] == 202
    await cloud.conductor.settled()
    assert (await member.call("GET", f"{SERVERS}/{server['id']}"))[1]["server"]["status"] == "VERIFY_RESIZE"


async def test_a_volume_that_cannot_be_made_is_the_servers_fault(
    cloud: Cloud, member: Caller, image: str
) -> None:
    cloud.images.path(image).unlink()
    server = (await _create(member, cloud, _root("image", image, volume_size=1)))[1]
    assert server["status"] == "ERROR"
    assert "did not finish being created" in server["fault"]["message"]


async def test_the_guest_has_the_volume_in_place_of_its_disk(
    cloud: Cloud, member: Caller, image: str, tmp_path: Path
) -> None:
    server = (await _create(member, cloud, _root("image", image, volume_size=1)))[1]
    volumes_in = tmp_path / "cloud" / VOLUME_FILES
    async with cloud.store.read() as connection:
        found = await servers.get(connection, server["id"])
        plan = await guest_plan.read(connection, found, volumes_in)
    files = GuestFiles(tmp_path / "guests", ImageFiles(tmp_path / "images"))
    (disk,) = (await files.spec(found, plan, tmp_path)).disks
    assert (disk.path.parent, disk.bus, disk.slot, disk.backing) == (volumes_in, Bus.SCSI, 4, None)


@pytest.mark.parametrize(
    ("disks", "fields", "message"),
    [
        ([_root("blank", "x")], {}, "only an image or a volume"),
        ([_root("volume", "x"), _root("volume", "y")], {}, "one disk to boot from is needed"),
        ([_root("volume", "x")], {"imageRef": "y"}, "one disk to boot from is needed"),
        ([_root("volume", "x", boot_index=1)], {}, "Boot sequence for the instance"),
        ([_root("volume", "")], {}, "the uuid of an image or a volume"),
        ([_root("volume", "x")], {"max_count": 2}, "a volume is in one server at a time"),
        ([_root("volume", "x")], {}, "Volume x could not be found"),
        ([_root("image", "x")], {}, "volume_size: 1 to 16384 is needed"),
        ([_root("image", "x", volume_size=1)], {}, "Image x could not be found"),
    ],
)
async def test_what_nothing_can_boot_from_is_refused(
    cloud: Cloud, member: Caller, disks: list[dict[str, Any]], fields: dict[str, Any], message: str
) -> None:
    status, found = await _create(member, cloud, *disks, **fields)
    assert (status, message in found) == (400, True), found


async def test_an_empty_volume_and_another_projects_are_refused(
    cloud: Cloud, member: Caller, image: str
) -> None:
    empty = await _volume(member, cloud)
    assert "is not bootable" in (await _create(member, cloud, _root("volume", empty)))[1]
    volume = await _volume(member, cloud, imageRef=image)
    async with aiohttp.ClientSession() as session:
        stranger = Caller(session, cloud, "p2", "member")
        assert "could not be found" in (await _create(stranger, cloud, _root("volume", volume)))[1]
    assert await _status(member, volume) == "available"
