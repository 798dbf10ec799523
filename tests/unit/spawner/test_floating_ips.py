"""Floating IPs over HTTP: from which network, in front of which port, whose they are, what is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from sqlalchemy import delete

from instance_metadata.ec2 import files
from instance_metadata.values import Addresses
from spawner import floating_ips, networks
from spawner.api.cloud import Cloud
from spawner.compute import guest_plan
from spawner.compute.fake_node import FakeNode
from spawner.service import open_cloud
from spawner.store import servers
from spawner.store.tables import NETWORKS, SUBNETS
from tests.unit.spawner.callers import Caller

NETWORK = "/network/v2.0"
NOTHING = "00000000-0000-4000-8000-000000000000"


class Api(Caller):
    """Somebody who asks Neutron."""

    async def made(self, kind: str, word: str, **fields: object) -> dict[str, Any]:
        status, found = await self.call("POST", f"{NETWORK}/{kind}", {word: fields})
        assert status == 201, found
        return dict(found[word])

    async def floating_ip(self, **fields: object) -> dict[str, Any]:
        return await self.made("floatingips", "floatingip", **fields)

    async def refused(self, method: str, path: str, **fields: object) -> tuple[int, str, str]:
        """Status, type and words of what Neutron says to a request that it refuses."""
        body = {"floatingip": fields} if fields else None
        status, found = await self.call(method, f"{NETWORK}{path}", body)
        return status, found["NeutronError"]["type"], found["NeutronError"]["message"]

    async def public(self) -> str:
        found = (await self.call("GET", f"{NETWORK}/networks?router:external=True"))[1]["networks"]
        assert [network["name"] for network in found] == ["public"]
        return str(found[0]["id"])

    async def port(self, *families: str) -> dict[str, Any]:
        """A port on a new network with a subnet of each family asked for."""
        network = (await self.made("networks", "network", name="n"))["id"]
        for family, cidr in (("4", "10.9.0.0/24"), ("6", "fd00::/64")):
            if family in families:
                await self.made("subnets", "subnet", network_id=network, cidr=cidr, ip_version=family)
        return await self.made("ports", "port", network_id=network)


@pytest.fixture
def member(cloud: Cloud, session: aiohttp.ClientSession) -> Api:
    return Api(session, cloud, "p1", "member")


@pytest.fixture
def other(cloud: Cloud, session: aiohttp.ClientSession) -> Api:
    return Api(session, cloud, "p2", "member")


@pytest.fixture
def admin(cloud: Cloud, session: aiohttp.ClientSession) -> Api:
    return Api(session, cloud, "p3", "admin")


def test_ec2_5_3_floating_ips_stand_in_the_order_of_the_addresses_behind_them() -> None:
    ports = [
        SimpleNamespace(id="a", fixed_ips=[{"ip_address": "10.0.0.5"}, {"ip_address": "fd00::5"}]),
        SimpleNamespace(id="b", fixed_ips=[{"ip_address": "10.0.1.5"}]),
        SimpleNamespace(id="c", fixed_ips=[]),
    ]
    in_front = {("b", "10.0.1.5"): "203.0.113.1", ("a", "10.0.0.5"): "203.0.113.2"}
    assert networks.addresses(ports, in_front) == Addresses(
        ("10.0.0.5", "10.0.1.5"), ("fd00::5",), ("203.0.113.2", "203.0.113.1")
    )


# --- the life of an address -----------------------------------------------------------------------------


async def test_it_goes_in_front_of_a_port_and_away_again(member: Api) -> None:
    made = await member.floating_ip(floating_network_id=await member.public(), description="door")
    assert made["floating_ip_address"].startswith("203.0.113.")
    assert (made["status"], made["port_id"], made["fixed_ip_address"]) == ("DOWN", None, None)
    path = f"{NETWORK}/floatingips/{made['id']}"
    port = await member.port("4", "6")
    status, changed = await member.call("PUT", path, {"floatingip": {"port_id": port["id"]}})
    assert status == 200
    fixed = next(each["ip_address"] for each in port["fixed_ips"] if ":" not in each["ip_address"])
    shown = (await member.call("GET", path))[1]["floatingip"]
    assert shown == changed["floatingip"]
    assert (shown["status"], shown["port_id"], shown["fixed_ip_address"]) == ("ACTIVE", port["id"], fixed)
    assert shown["port_details"]["mac_address"] == port["mac_address"]
    listed = (await member.call("GET", f"{NETWORK}/floatingips?port_id={port['id']}"))[1]["floatingips"]
    assert listed == [shown]

    _status, renamed = await member.call("PUT", path, {"floatingip": {"description": "gate"}})
    assert (renamed["floatingip"]["description"], renamed["floatingip"]["status"]) == ("gate", "ACTIVE")
    _status, free = await member.call("PUT", path, {"floatingip": {"port_id": None}})
    assert (free["floatingip"]["status"], free["floatingip"]["fixed_ip_address"]) == ("DOWN", None)
    assert (await member.call("DELETE", path))[0] == 204
    assert (await member.call("GET", path))[0] == 404


async def test_an_address_that_is_given_back_can_be_taken_again(member: Api) -> None:
    public = await member.public()
    first = await member.floating_ip(floating_network_id=public)
    second = await member.floating_ip(floating_network_id=public)
    assert first["floating_ip_address"] != second["floating_ip_address"]
    assert (await member.call("DELETE", f"{NETWORK}/floatingips/{first['id']}"))[0] == 204
    again = await member.floating_ip(floating_network_id=public)
    assert again["floating_ip_address"] == first["floating_ip_address"]


async def test_a_port_that_goes_leaves_it_to_the_project(member: Api) -> None:
    port = await member.port("4")
    made = await member.floating_ip(floating_network_id=await member.public(), port_id=port["id"])
    assert made["status"] == "ACTIVE"
    assert (await member.call("DELETE", f"{NETWORK}/ports/{port['id']}"))[0] == 204
    shown = (await member.call("GET", f"{NETWORK}/floatingips/{made['id']}"))[1]["floatingip"]
    assert (shown["status"], shown["port_id"], shown["port_details"]) == ("DOWN", None, None)


async def test_ec2_5_3_a_server_shows_it_and_its_metadata_names_it_and_the_address_behind_it(
    cloud: Cloud, member: Api, tmp_path: Path
) -> None:
    form = {"name": "i", "disk_format": "raw", "container_format": "bare"}
    image = (await member.call("POST", "/image/v2/images", form))[1]["id"]
    async with cloud.store.write() as connection:
        await connection.exec_driver_sql("UPDATE images SET status = 'active'")
        row = networks.usable_by("p1")
        private = (await connection.execute(NETWORKS.select().where(row))).one().id
    wish = {"name": "web", "imageRef": image, "flavorRef": "1", "networks": [{"uuid": private}]}
    status, made = await member.call("POST", "/compute/v2.1/servers", {"server": wish})
    assert status == 202, made
    server_id = made["server"]["id"]
    await cloud.conductor.settled()
    port = (await member.call("GET", f"{NETWORK}/ports?device_id={server_id}"))[1]["ports"][0]
    floating = await member.floating_ip(floating_network_id=await member.public(), port_id=port["id"])
    address = floating["floating_ip_address"]

    shown = (await member.call("GET", f"/compute/v2.1/servers/{server_id}"))[1]["server"]["addresses"]
    assert [(each["OS-EXT-IPS:type"], each["addr"]) for each in shown["private"]] == [
        ("fixed", port["fixed_ips"][0]["ip_address"]),
        ("floating", address),
    ]
    async with cloud.store.read() as connection:
        server = await servers.get(connection, server_id)
        instance = await guest_plan.instance(connection, server, tmp_path)
    assert instance.addresses.floating == (address,)
    assert instance.network is not None
    assert [each.type for each in instance.network.networks] == ["ipv4_dhcp"]
    ec2 = dict(files(instance, "latest", "nova"))
    fixed = port["fixed_ips"][0]["ip_address"]
    assert (ec2["meta-data/local-ipv4"], ec2["meta-data/public-ipv4"]) == (fixed.encode(), address.encode())

    assert (await member.call("DELETE", f"/compute/v2.1/servers/{server_id}"))[0] == 204
    await cloud.conductor.settled()
    left = (await member.call("GET", f"{NETWORK}/floatingips"))[1]["floatingips"]
    assert [(each["floating_ip_address"], each["status"]) for each in left] == [(address, "DOWN")]


# --- what is refused ------------------------------------------------------------------------------------


async def test_it_is_one_fixed_address_that_a_port_must_have(member: Api) -> None:
    public = await member.public()
    floating = await member.floating_ip(floating_network_id=public)
    path = f"/floatingips/{floating['id']}"
    bare, six = await member.port(), await member.port("6")
    for port in (bare, six):
        status, _kind, text = await member.refused("PUT", path, port_id=port["id"])
        assert (status, "no fixed IPv4 addresses" in text) == (400, True), text
    port = await member.port("4")
    status, _kind, text = await member.refused("PUT", path, port_id=port["id"], fixed_ip_address="10.9.0.99")
    assert (status, text) == (400, f"Port {port['id']} does not have fixed ip 10.9.0.99")
    status, _kind, text = await member.refused("PUT", path, fixed_ip_address="10.9.0.2")
    assert (status, text) == (400, "fixed_ip_address cannot be specified without a port_id")
    status, kind, text = await member.refused("PUT", path, port_id=NOTHING)
    assert (status, kind) == (404, "PortNotFound")
    await member.floating_ip(floating_network_id=public, port_id=port["id"])
    status, kind, text = await member.refused("PUT", path, port_id=port["id"])
    assert (status, kind) == (409, "Conflict")
    assert "already has a floating IP on external network" in text


async def test_which_of_two_addresses_has_to_be_said(member: Api) -> None:
    network = (await member.made("networks", "network", name="n"))["id"]
    await member.made("subnets", "subnet", network_id=network, cidr="10.9.0.0/24", ip_version=4)
    two = [{"ip_address": "10.9.0.7"}, {"ip_address": "10.9.0.8"}]
    port = await member.made("ports", "port", network_id=network, fixed_ips=two)
    public = await member.public()
    wish = {"floating_network_id": public, "port_id": port["id"]}
    status, _kind, text = await member.refused("POST", "/floatingips", **wish)
    assert (status, "multiple fixed IPv4 addresses" in text) == (400, True), text
    for address in ("10.9.0.7", "10.9.0.8"):
        made = await member.floating_ip(**wish, fixed_ip_address=address)
        assert made["fixed_ip_address"] == address
    listed = (await member.call("GET", f"{NETWORK}/floatingips"))[1]["floatingips"]
    assert len(listed) == 2, "the one that was refused has left nothing behind"


async def test_it_comes_from_the_external_network_only(member: Api) -> None:
    own = (await member.made("networks", "network", name="n"))["id"]
    status, _kind, text = await member.refused("POST", "/floatingips", floating_network_id=own)
    assert (status, text) == (400, f"Network {own} is not a valid external network")
    status, kind, _text = await member.refused("POST", "/floatingips", floating_network_id=NOTHING)
    assert (status, kind) == (404, "NetworkNotFound")


async def test_another_projects_is_not_there_and_goes_in_front_of_no_foreign_port(
    member: Api, other: Api, admin: Api
) -> None:
    public = await member.public()
    floating = await member.floating_ip(floating_network_id=public)
    path = f"/floatingips/{floating['id']}"
    assert (await other.call("GET", f"{NETWORK}/floatingips"))[1]["floatingips"] == []
    for method, fields in (("GET", {}), ("PUT", {"description": "mine"}), ("DELETE", {})):
        status, kind, text = await other.refused(method, path, **fields)
        assert (status, kind) == (404, "FloatingIPNotFound"), text
    foreign = await other.port("4")
    assert (await member.refused("PUT", path, port_id=foreign["id"]))[:2] == (404, "PortNotFound")
    status, _kind, text = await admin.refused("PUT", path, port_id=foreign["id"])
    assert (status, "associated with a different tenant" in text) == (400, True), text
    status, _kind, _text = await member.refused(
        "POST", "/floatingips", floating_network_id=public, project_id="p2"
    )
    assert status == 403


async def test_only_an_admin_names_the_address_and_none_is_given_twice(member: Api, admin: Api) -> None:
    wish = {"floating_network_id": await member.public(), "floating_ip_address": "203.0.113.77"}
    assert (await member.refused("POST", "/floatingips", **wish))[0] == 403
    made = await admin.floating_ip(**wish, project_id="p1")
    assert (made["floating_ip_address"], made["project_id"]) == ("203.0.113.77", "p1")
    status, _kind, text = await admin.refused("POST", "/floatingips", **wish)
    assert (status, "already allocated" in text) == (409, True), text


async def test_an_empty_pool_and_a_full_quota_are_said(cloud: Cloud, member: Api, admin: Api) -> None:
    public = await member.public()
    body = {"quota": {"floatingip": 1}}
    assert (await admin.call("PUT", f"{NETWORK}/quotas/p1", body))[0] == 200
    await member.floating_ip(floating_network_id=public)
    refused = await member.refused("POST", "/floatingips", floating_network_id=public)
    assert refused == (409, "OverQuota", "Quota exceeded for resources: ['floatingip'].")
    async with cloud.store.write() as connection:
        pool = [{"start": "203.0.113.1", "end": "203.0.113.1"}]
        await connection.execute(SUBNETS.update().values(allocation_pools=pool))
    status, _kind, text = await admin.refused("POST", "/floatingips", floating_network_id=public)
    assert (status, text) == (409, f"No more IP addresses available on network {public}.")


# --- the external network -------------------------------------------------------------------------------


async def test_everybody_sees_the_external_network_but_nobody_puts_a_server_on_it(
    cloud: Cloud, member: Api, admin: Api
) -> None:
    public = await member.public()
    shown = (await member.call("GET", f"{NETWORK}/networks/{public}"))[1]["network"]
    assert (shown["shared"], shown["description"]) == (False, floating_ips.DESCRIPTION)
    assert "no backend" in shown["description"]
    subnets = (await member.call("GET", f"{NETWORK}/subnets?network_id={public}"))[1]["subnets"]
    assert subnets == [], "clients look for a network with a gateway behind it among those that they see"
    for somebody in (member, admin):
        status, found = await somebody.call("POST", f"{NETWORK}/ports", {"port": {"network_id": public}})
        assert status == 403, found
    form = {"name": "i", "disk_format": "raw", "container_format": "bare"}
    image = (await member.call("POST", "/image/v2/images", form))[1]["id"]
    async with cloud.store.write() as connection:
        await connection.exec_driver_sql("UPDATE images SET status = 'active'")
    foreign = (await admin.made("networks", "network", name="n"))["id"]
    for network, wanted in ((public, 403), (foreign, 400), (NOTHING, 400)):
        wish = {"name": "web", "imageRef": image, "flavorRef": "1", "networks": [{"uuid": network}]}
        status, found = await member.call("POST", "/compute/v2.1/servers", {"server": wish})
        assert status == wanted, found
    shared = {"network": {"shared": True}}
    assert (await admin.call("PUT", f"{NETWORK}/networks/{public}", shared))[0] == 200
    wish = {"name": "web", "imageRef": image, "flavorRef": "1", "networks": "auto"}
    status, found = await member.call("POST", "/compute/v2.1/servers", {"server": wish})
    assert status == 202, "the external network is none of those to choose from"
    await cloud.conductor.settled()


async def test_the_external_network_and_the_port_of_an_address_stay(member: Api, admin: Api) -> None:
    public = await member.public()
    made = await member.floating_ip(floating_network_id=public)
    ports = (await admin.call("GET", f"{NETWORK}/ports?device_id={made['id']}"))[1]["ports"]
    assert [port["device_owner"] for port in ports] == ["network:floatingip"]
    assert (await member.call("GET", f"{NETWORK}/ports?device_id={made['id']}"))[1]["ports"] == []
    status, found = await admin.call("DELETE", f"{NETWORK}/ports/{ports[0]['id']}")
    assert (status, found["NeutronError"]["type"]) == (409, "ServicePortInUse")
    assert (await member.call("DELETE", f"{NETWORK}/networks/{public}"))[0] == 403
    assert (await admin.call("DELETE", f"{NETWORK}/networks/{public}"))[0] == 409


async def test_a_cloud_of_an_older_release_gets_the_external_network(tmp_path: Path) -> None:
    first = await open_cloud(tmp_path, [FakeNode("host-1")], "http://127.0.0.1:1")
    async with first.store.write() as connection:
        of_nobody = NETWORKS.c.project_id == networks.NOBODY
        await connection.execute(delete(SUBNETS).where(SUBNETS.c.project_id == networks.NOBODY))
        await connection.execute(delete(NETWORKS).where(of_nobody))
    await first.conductor.close()
    await first.store.close()
    for _start in range(2):
        again = await open_cloud(tmp_path, [FakeNode("host-1")], "http://127.0.0.1:1")
        async with again.store.read() as connection:
            rows = (await connection.execute(NETWORKS.select().where(of_nobody))).all()
        assert [row.name for row in rows] == ["public"]
        await again.conductor.close()
        await again.store.close()
