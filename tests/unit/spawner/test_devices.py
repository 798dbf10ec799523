"""What is plugged into a server: slots, names, and what its metadata says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from spawner import devices, networks
from spawner.devices import Devices, NicDevice, VolumeDevice
from spawner.errors import Conflict
from spawner.network.guest_networks import netdev_arguments
from spawner.store.engine import SCHEMA_VERSION, Store, open_store
from spawner.store.tables import DEVICE_SLOTS, NETWORKS, VOLUMES


async def _port(store: Store, number: int) -> str:
    port_id = f"port-{number}"
    async with store.write() as connection:
        if number == 1:
            await connection.execute(
                NETWORKS.insert().values(id="network-1", project_id="project-1", created_at=1.0)
            )
        await networks.add_port(
            connection,
            port_id=port_id,
            network_id="network-1",
            project_id="project-1",
            mac=f"fa:16:3e:00:00:{number:02x}",
            now=float(number),
            device_id="server-1",
        )
    return port_id


async def test_the_first_card_is_where_guests_expect_it_and_slots_are_kept(store: Store) -> None:
    first, second = await _port(store, 1), await _port(store, 2)
    async with store.write() as connection:
        await devices.plug_ports(connection, "server-1")
        await devices.plug_ports(connection, "server-1")  # safe to repeat
        found = (await devices.of_server(connection, "server-1", Path("/v"))).nics
        assert [(nic.port_id, nic.slot) for nic in found] == [(first, 3), (second, 8)]
        assert await devices.plug(connection, "server-1", second) == 8
        assert await devices.plug(connection, "server-1", "volume-1") == 9
        await devices.unplug(connection, "server-1", second)
        assert await devices.plug(connection, "server-1", "volume-2") == 8
        await devices.unplug(connection, "server-1")
        assert (await devices.of_server(connection, "server-1", Path("/v"))).nics == ()


async def test_a_server_has_slots_for_so_many_devices_and_no_more(store: Store) -> None:
    async with store.write() as connection:
        taken = [await devices.plug(connection, "server-1", f"volume-{n}") for n in range(23)]
        assert taken == list(range(8, 31))
        with pytest.raises(Conflict, match="23 volumes and ports already"):
            await devices.plug(connection, "server-1", "volume-23")
        assert await devices.plug(connection, "server-2", "volume-23") == 8


def test_disks_are_named_after_the_root_disk() -> None:
    assert devices.free_name([]) == "/dev/vdb"
    assert devices.free_name(["/dev/vdb", "/dev/vdd"]) == "/dev/vdc"
    with pytest.raises(Conflict, match="every name"):
        devices.free_name([f"/dev/vd{letter}" for letter in devices.DISK_LETTERS])


@pytest.mark.parametrize(
    ("machine", "nic", "disk"),
    [("pc", "0000:00:03.0", "0000:00:09.0"), ("q35", "0000:01:00.0", "0000:03:00.0")],
)
def test_the_metadata_says_where_each_device_is(machine: str, nic: str, disk: str) -> None:
    found = Devices(
        (VolumeDevice("volume-1", Path("/v/volume-1"), "/dev/vdb", 9, "database"),),
        (NicDevice("port-1", "network-1", "fa:16:3e:00:00:01", 3),),
    )
    assert devices.metadata_entries(found, machine) == [
        {"type": "nic", "bus": "pci", "address": nic, "mac": "fa:16:3e:00:00:01"},
        {
            "type": "disk",
            "bus": "pci",
            "address": disk,
            "serial": "volume-1",
            "tags": ["database"],
        },
    ]


async def test_sp_18_an_older_store_gets_the_tables_that_it_lacks(tmp_path: Path) -> None:
    store = await open_store(str(tmp_path / "spawner.db"))
    async with store.write() as connection:
        await connection.run_sync(DEVICE_SLOTS.drop)
        await connection.exec_driver_sql("UPDATE schema_version SET version = 1")
    await store.close()
    store = await open_store(str(tmp_path / "spawner.db"))
    async with store.write() as connection:
        await devices.plug(connection, "server-1", "volume-1")
        assert (await connection.exec_driver_sql("SELECT version FROM schema_version")).all() == [
            (SCHEMA_VERSION,)
        ]
        assert (await connection.execute(VOLUMES.select())).all() == []
    await store.close()


@pytest.mark.parametrize(
    ("netdev", "arguments"),
    [
        (
            "user,ipv6-net=fe80::/64,ipv6-host=fe80::1,net=10.0.2.0/24",
            {
                "type": "user",
                "ipv6-prefix": "fe80::",
                "ipv6-prefixlen": 64,
                "ipv6-host": "fe80::1",
                "net": "10.0.2.0/24",
            },
        ),
        ("user,restrict=on,ipv6=off", {"type": "user", "restrict": True, "ipv6": False}),
        (
            "user,guestfwd=tcp:169.254.169.254:80-cmd:python a,,b",
            {"type": "user", "guestfwd": [{"str": "tcp:169.254.169.254:80-cmd:python a,b"}]},
        ),
        ("tap", {"type": "tap"}),
    ],
)
def test_a_netdev_is_the_same_for_the_monitor(netdev: str, arguments: dict[str, object]) -> None:
    assert netdev_arguments(netdev) == arguments
