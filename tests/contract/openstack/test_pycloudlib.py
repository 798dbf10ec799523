"""pycloudlib, with which cloud-init tests itself on clouds, drives our API with its own `Openstack` class."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import insert

from spawner.api.cloud import Cloud
from spawner.store.tables import IMAGES
from tests.contract import peers
from tests.contract.openstack.walk import walk

WALK = Path(__file__).with_name("pycloudlib_walk.py")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJq0tmXNeXv4qAxb7c2b4O5W1YsyUy4IVYQbWdJzk4Ev walk\n"
IMAGE = "aaaaaaaa-0000-4000-8000-000000000001"


@pytest.mark.slow
@pytest.mark.timeout(700)
async def test_pycloudlib_launches_stops_snapshots_and_leaves_nothing_behind(
    cloud: Cloud, tmp_path: Path
) -> None:
    try:
        python = await asyncio.to_thread(peers.pycloudlib)
    except peers.PeerMissingError as error:
        pytest.skip(str(error))
    public_key = tmp_path / "key.pub"
    public_key.write_text(KEY)
    public = {"status": "active", "visibility": "public", "owner": "admin", "created_at": 0.0}
    async with cloud.store.write() as connection:
        await connection.execute(insert(IMAGES).values(id=IMAGE, name="disk", disk_format="raw", **public))
    told = await walk(python, WALK, str(public_key), IMAGE, home=tmp_path)
    first = told.pop("ip")
    assert told.pop("name").startswith("walk-")
    assert first.startswith("203.0.113.")
    assert told.pop("addresses") == {"fixed": "10.0.2.15", "floating": first}
    second = told.pop("second")
    assert second.startswith("203.0.113.")
    assert second != first
    assert told == {
        "floating": ["ACTIVE"],
        "console": True,
        "again": {"ip": first, "is its own to delete": False},
        "added": True,
        "removed": True,
        "stopped": "SHUTOFF",
        "started": "ACTIVE",
        "snapshot": "active",
        "failed to delete": [],
        "left": {"servers": [], "floating IPs": [], "images": []},
    }
