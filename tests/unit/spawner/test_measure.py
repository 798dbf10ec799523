"""What guests use: read from QEMU and /proc, told as metrics to admins alone."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from spawner import identity
from spawner.api.cloud import Cloud
from spawner.compute import measure
from spawner.compute.fake_node import FakeNode
from spawner.compute.measure import Measure, Transfer
from spawner.conductor import Caller
from spawner.identity import Identity
from spawner.service import open_cloud
from spawner.store.servers import Flavor, Server
from tests.listening import listening

STAT = "4242 (CPU 0/TCG) x) S 1 4242 4242 0 -1 4194368 9 0 0 0 250 50 0 0 20 0 5 0 99 1 1"
NET_DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo
    lo:    1234      12    0    0    0     0          0         0     5678      34    0    0    0
  tap0:  9 8 0 0 0 0 0 0 7 6 0 0 0 0 0 0
  odd: 1 2
"""
BLOCKS = [
    {
        "device": "",
        "node-name": "n0",
        "qdev": "/machine/peripheral/disk0/virtio-backend",
        "stats": {"rd_bytes": 10, "wr_bytes": 20, "rd_operations": 1, "wr_operations": 2, "failed": 0},
    },
    {"device": "", "qdev": None, "stats": {}},
]


def test_what_the_system_says_is_read() -> None:
    assert measure.thread_cpu_s(STAT, 100) == 3.0
    assert measure.resident_bytes("900 25 3 4 0 5 0\n", 4096) == 102_400
    assert measure.network_transfers(NET_DEV) == {
        "lo": Transfer(1234, 5678, 12, 34),
        "tap0": Transfer(9, 7, 8, 6),
    }
    assert measure.block_transfers(BLOCKS) == {"disk0": Transfer(10, 20, 1, 2)}


@pytest.fixture
async def site(tmp_path: Path, unused_tcp_port: int) -> AsyncIterator[tuple[Cloud, FakeNode]]:
    node = FakeNode("host-1")
    cloud = await open_cloud(tmp_path, [node], f"http://127.0.0.1:{unused_tcp_port}")
    async with listening(cloud):
        yield cloud, node


async def _get(cloud: Cloud, headers: dict[str, str]) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{cloud.url}/metrics", headers=headers) as answer,
    ):
        return answer.status, await answer.text(), answer.headers.get("WWW-Authenticate", "")


def _token(cloud: Cloud, role: str) -> dict[str, str]:
    now = cloud.clock()
    roles = identity.implied(frozenset({role}))
    who = Identity("u", "u", "p", "p", roles, ("password",), now, now + 60)
    return {"X-Auth-Token": cloud.tokens.mint(who)}


async def test_every_guests_use_is_told(site: tuple[Cloud, FakeNode]) -> None:
    cloud, node = site
    server = Server("s-1", 'we"b', "web", "p", "u", Flavor("1", "m1.nano", 1, 256, 0), cloud.clock())
    await cloud.conductor.create(server, Caller("p", "u", "req-1"))
    await cloud.conductor.settled()
    node.used["s-1"] = Measure(
        1 << 28, 1 << 27, {"0": 1.5}, {"disk0": Transfer(10, 20, 1, 2)}, {"tap0": Transfer(9, 7, 8, 6)}
    )
    status, text, _how = await _get(cloud, _token(cloud, "admin"))
    assert status == 200
    labels = r'name="we\"b",project="p",server="s-1"'
    told = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    values = {name: float(value) for name, _, value in told}
    expected = {
        f'guestling_guest_cpu_seconds_total{{cpu="0",{labels}}}': 1.5,
        f"guestling_guest_memory_bytes{{{labels}}}": 1 << 28,
        f"guestling_guest_resident_bytes{{{labels}}}": 1 << 27,
        f'guestling_guest_block_bytes_total{{device="disk0",direction="written",{labels}}}': 20,
        f'guestling_guest_block_operations_total{{device="disk0",direction="read",{labels}}}': 1,
        f'guestling_guest_network_bytes_total{{direction="received",interface="tap0",{labels}}}': 9,
        f'guestling_guest_network_packets_total{{direction="sent",interface="tap0",{labels}}}': 6,
        'guestling_servers{status="ACTIVE"}': 1,
        'guestling_host_resource_used{host="host-1",resource="MEMORY_MB"}': 256,
    }
    assert {name: values.get(name) for name in expected} == expected


async def test_metrics_are_for_admins_and_a_scraper_signs_in_with_a_credential(
    site: tuple[Cloud, FakeNode],
) -> None:
    cloud, _node = site
    status, _text, how = await _get(cloud, {})
    assert (status, how) == (401, 'Basic realm="guestling"')
    assert (await _get(cloud, _token(cloud, "member")))[0] == 403
    async with cloud.store.write() as connection:
        await identity.add_project(connection, "p", "p", 0.0)
        await identity.add_user(connection, "u", "u", "x", b"salt", "p", 0.0)
        await identity.assign(connection, "u", "p", "admin")
        maker = cloud.tokens.read(_token(cloud, "admin")["X-Auth-Token"])
        await identity.add_application_credential(
            connection, maker, "c1", "scraper", "s3cret", b"salt", ("admin",), None, 0.0
        )

    def basic(text: str) -> dict[str, str]:
        return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}

    assert (await _get(cloud, basic("c1:s3cret")))[0] == 200
    for wrong in ("c1:wrong", "c2:s3cret", "c1", ""):
        assert (await _get(cloud, basic(wrong)))[0] == 401
    assert (await _get(cloud, {"Authorization": "Basic %%%"}))[0] == 401
