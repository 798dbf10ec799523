"""A server that boots from a volume, under each driver: it is the guest's disk, and outlives the server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spawner.client import Client
from tests.boot.libvirt_daemon import Daemon
from tests.boot.test_cloud_adoption import cloud_here, said, until_result
from tests.boot.test_libvirt_cloud import LIMIT_S, act, cloud_on, new_flavor

pytestmark = [pytest.mark.boot, pytest.mark.timeout(400), pytest.mark.usefixtures("tiny")]

VOLUMES = "/volume/v3/volumes"
MARK = "written-by-the-guest"
DISKS = "for d in /sys/block/vd*; do echo ${d##*/} $(cat $d/size) $(cat $d/serial); done"
FIRST_DISK = "0000:00:04.0"
READ = f"dd if=/dev/vda bs={len(MARK)} count=1 2>/dev/null"


@pytest.fixture(params=["qemu", pytest.param("libvirt", marks=pytest.mark.root)])
def client(request: pytest.FixtureRequest, unused_tcp_port: int) -> Iterator[Client]:
    """A client of a cloud whose guests are of one driver."""
    if request.param == "qemu":
        with cloud_here(unused_tcp_port) as cloud:
            yield cloud.start()
    else:
        daemon: Daemon = request.getfixturevalue("libvirtd")
        with cloud_on(daemon.local, unused_tcp_port) as (cloud, _state):
            yield cloud.start()


def boot(client: Client, flavor: str, volume: str) -> str:
    """A server that boots from a volume, once its agent is done."""
    root = {"source_type": "volume", "destination_type": "volume", "uuid": volume, "boot_index": 0}
    wish = {"name": "web-1", "imageRef": "", "flavorRef": flavor, "networks": "none", "config_drive": True}
    body = {"server": {**wish, "block_device_mapping_v2": [root]}}
    server = str(client.call("POST", "/compute/v2.1/servers", body)["server"]["id"])
    found = client.until_settled(server, LIMIT_S)
    assert found["status"] == "ACTIVE", found.get("fault")
    assert until_result(client, server)["status"] == "done"
    return server


def delete(client: Client, server: str) -> None:
    client.call("DELETE", f"/compute/v2.1/servers/{server}")
    client.until_gone(server, LIMIT_S)


def is_volume(client: Client, volume: str, status: str) -> bool:
    return bool(client.call("GET", f"{VOLUMES}/{volume}")["volume"]["status"] == status)


def test_a_guest_boots_from_a_volume_and_the_next_one_finds_what_it_wrote(client: Client) -> None:
    flavor = new_flavor(client, "small", 256, 1)
    wish = {"size": 1, "imageRef": client.image("tiny")["id"]}
    volume = str(client.call("POST", VOLUMES, {"volume": wish})["volume"]["id"])
    first = boot(client, flavor, volume)  # asked for while the volume is being made
    vda, *others = said(client, first, DISKS).splitlines()
    assert vda.split() == ["vda", str((1 << 30) // 512), volume[:20]]
    assert volume not in str(others)
    assert said(client, first, "readlink -f /sys/block/vda/device/..").rstrip().endswith(FIRST_DISK)
    assert is_volume(client, volume, "in-use")
    said(client, first, f"printf {MARK} | dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null")
    act(client, first, {"reboot": {"type": "HARD"}}, "ACTIVE")
    assert said(client, first, READ) == MARK
    delete(client, first)
    assert is_volume(client, volume, "available")

    second = boot(client, flavor, volume)
    assert said(client, second, READ) == MARK
    delete(client, second)
    client.call("DELETE", f"{VOLUMES}/{volume}")
