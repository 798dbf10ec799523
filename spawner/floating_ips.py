"""Floating IPs: addresses of the external network in front of ports, kept and shown.

They are data: no backend carries packets from such an address to a guest. Clients that demand one before they
go on (pycloudlib, most Terraform plans) are served, and the guest's metadata names it, as in other clouds.
Source: Networking API v2.0 (floating IPs); the words are those of neutron.db.l3_db.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import networks
from spawner.errors import Conflict, FloatingIpRefused
from spawner.store.tables import FLOATING_IPS, NETWORKS, PORTS, SUBNETS

NETWORK = "public"
DESCRIPTION = (
    "Floating IPs come from here. They are kept and shown, in the metadata of guests too; no backend carries"
    " packets from them to a guest."
)
# TEST-NET-3: an address that nobody has, so that what is sent to it by mistake reaches nobody.
CIDR = "203.0.113.0/24"
PORT_OWNER = "network:floatingip"
"""The `device_owner` of the port that holds the address of a floating IP."""


async def make_network(connection: AsyncConnection, new_id: Callable[[], str], now: float) -> None:
    """Make the external network and its pool where there is none."""
    query = select(NETWORKS.c.id).where(NETWORKS.c.project_id == networks.NOBODY)
    if (await connection.execute(query)).first() is not None:
        return
    network_id = new_id()
    await connection.execute(
        insert(NETWORKS).values(
            id=network_id, name=NETWORK, project_id=networks.NOBODY, description=DESCRIPTION, created_at=now
        )
    )
    await connection.execute(
        insert(SUBNETS).values(
            id=new_id(),
            name=f"{NETWORK}-v4",
            project_id=networks.NOBODY,
            network_id=network_id,
            ip_version=4,
            cidr=CIDR,
            # There is no router behind it.
            gateway_ip=None,
            enable_dhcp=False,
            allocation_pools=networks.default_pool(networks.parse_cidr(CIDR), None),
            created_at=now,
        )
    )


async def create(
    connection: AsyncConnection,
    *,
    floating_ip_id: str,
    network_id: str,
    project_id: str,
    description: str,
    wanted: Mapping[str, str],
    new_id: Callable[[], str],
    mac: str,
    now: float,
) -> None:
    """Take an address of the external network for a project: the one `wanted`, else the next that is free.

    Raises NotFound, FloatingIpRefused for another network, and what `networks.choose_addresses` does.
    """
    if not networks.is_external(await networks.get(connection, NETWORKS, "Network", network_id)):
        raise FloatingIpRefused(f"Network {network_id} is not a valid external network")
    port_id = new_id()
    given = await networks.add_port(
        connection,
        port_id=port_id,
        network_id=network_id,
        project_id=networks.NOBODY,
        mac=mac,
        now=now,
        fixed_ips=(wanted,) if wanted else (),
        device_id=floating_ip_id,
        device_owner=PORT_OWNER,
        status="N/A",
    )
    if len(given) != 1:
        raise Conflict(f"No more IP addresses available on network {network_id}.")
    await connection.execute(
        insert(FLOATING_IPS).values(
            id=floating_ip_id,
            project_id=project_id,
            floating_network_id=network_id,
            floating_ip_address=given[0].ip_address,
            floating_port_id=port_id,
            description=description,
            created_at=now,
        )
    )


async def associate(connection: AsyncConnection, floating: Any, port: Any, fixed_ip: str | None) -> None:
    """Put a floating IP in front of a port: its only IPv4 address, or the one named.

    Raises FloatingIpRefused for a port it cannot be in front of, Conflict for an address that has one.
    """
    if port.project_id != floating.project_id:
        raise FloatingIpRefused(
            f"Port {port.id} is associated with a different tenant than Floating IP {floating.id} and"
            " therefore cannot be bound."
        )
    address = _address_behind(port, fixed_ip)
    others = select(FLOATING_IPS.c.id).where(
        FLOATING_IPS.c.port_id == port.id,
        FLOATING_IPS.c.fixed_ip_address == address,
        FLOATING_IPS.c.id != floating.id,
    )
    if (await connection.execute(others)).first() is not None:
        raise Conflict(
            f"Cannot associate floating IP {floating.floating_ip_address} ({floating.id}) with port {port.id}"
            f" using fixed IP {address}, as that fixed IP already has a floating IP on external network"
            f" {floating.floating_network_id}."
        )
    await _set(connection, floating.id, port_id=port.id, fixed_ip_address=address)


def _address_behind(port: Any, wanted: str | None) -> str:
    """The fixed address of a port that a floating IP stands for. Raises FloatingIpRefused."""
    own = [str(each["ip_address"]) for each in port.fixed_ips]
    ipv4 = [address for address in own if ipaddress.ip_address(address).version == 4]
    if wanted is not None:
        if wanted not in ipv4:
            raise FloatingIpRefused(f"Port {port.id} does not have fixed ip {wanted[:64]}")
        return wanted
    if not ipv4:
        raise FloatingIpRefused(f"Cannot add floating IP to port {port.id} that has no fixed IPv4 addresses")
    if len(ipv4) > 1:
        raise FloatingIpRefused(
            f"Port {port.id} has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when"
            " assigning a floating IP"
        )
    return ipv4[0]


async def disassociate(connection: AsyncConnection, floating_ip_id: str) -> None:
    """Take a floating IP from its port; the project keeps it."""
    await _set(connection, floating_ip_id, port_id=None, fixed_ip_address=None)


async def _set(connection: AsyncConnection, floating_ip_id: str, **values: object) -> None:
    await connection.execute(update(FLOATING_IPS).where(FLOATING_IPS.c.id == floating_ip_id).values(**values))


async def release(connection: AsyncConnection, floating: Any) -> None:
    """Give an address back."""
    await connection.execute(FLOATING_IPS.delete().where(FLOATING_IPS.c.id == floating.id))
    await networks.remove_port(connection, floating.floating_port_id)


async def in_front_of(connection: AsyncConnection, ports: Sequence[Any]) -> dict[tuple[str, str], str]:
    """(Port, its fixed address) -> the floating IP."""
    query = select(FLOATING_IPS).where(FLOATING_IPS.c.port_id.in_([port.id for port in ports]))
    rows = await connection.execute(query.order_by(FLOATING_IPS.c.created_at, FLOATING_IPS.c.id))
    return {(row.port_id, row.fixed_ip_address): row.floating_ip_address for row in rows}


async def server_behind(connection: AsyncConnection, port_id: str | None) -> str | None:
    """The server that a port is in, or None. Its metadata names the floating IP."""
    if port_id is None:
        return None
    query = select(PORTS.c.device_id).where(
        PORTS.c.id == port_id, PORTS.c.device_owner.startswith("compute:")
    )
    return (await connection.execute(query)).scalar()
