"""How often the API asks its store: the cost of a request, as far as a test can hold it without a clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event

from spawner.api.cloud import Cloud
from tests.unit.spawner.callers import Caller

SERVERS = "/compute/v2.1/servers"


@contextmanager
def _statements(cloud: Cloud) -> Iterator[list[str]]:
    """The statements of the block."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        seen.append(statement)

    engine = cloud.store.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


async def _image(member: Caller) -> str:
    form = {"name": "disk", "disk_format": "raw", "container_format": "bare"}
    _, image = await member.call("POST", "/image/v2/images", form)
    status, _ = await member.call("PUT", f"/image/v2/images/{image['id']}/file", data=bytes(4096))
    assert status == 204
    return str(image["id"])


async def _create(cloud: Cloud, member: Caller, image: str, name: str) -> None:
    form = {"name": name, "imageRef": image, "flavorRef": "1", "networks": "auto"}
    status, answer = await member.call("POST", SERVERS, {"server": form})
    assert status == 202, answer
    await cloud.conductor.settled()


async def test_a_create_is_three_transactions_and_34_statements_however_many_servers_there_are(
    cloud: Cloud, member: Caller
) -> None:
    image = await _image(member)
    for number in range(3):
        with _statements(cloud) as seen:
            await _create(cloud, member, image, f"web-{number}")
        assert (seen.count("BEGIN IMMEDIATE"), len(seen)) == (3, 34), "\n".join(seen)


async def test_a_detailed_list_asks_as_often_for_three_servers_as_for_one(
    cloud: Cloud, member: Caller
) -> None:
    image, asked = await _image(member), []
    for number in range(3):
        await _create(cloud, member, image, f"web-{number}")
        with _statements(cloud) as seen:
            _, answer = await member.call("GET", f"{SERVERS}/detail?sort_key=created_at&sort_dir=asc")
        asked.append(len(seen))
    assert asked == [7, 7, 7]
    names = [server["name"] for server in answer["servers"]]
    addresses = [server["addresses"]["private"][0]["addr"] for server in answer["servers"]]
    assert names == ["web-0", "web-1", "web-2"]
    assert addresses == ["10.0.2.15", "10.0.2.16", "10.0.2.17"]
