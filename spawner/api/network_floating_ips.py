"""Neutron v2.0: floating IPs. What they are here: `spawner/floating_ips.py`."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import floating_ips, networks
from spawner.api import network_forms as forms
from spawner.api import network_lists, quotas
from spawner.api import network_ownership as ownership
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY, answer, iso, needs, page, takes
from spawner.errors import NotFound
from spawner.store.tables import FLOATING_IPS, PORTS

WORD = "floatingip"


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of floating IPs."""
    service = _FloatingIps(cloud)
    read, write = needs("network:read"), needs("network:write")
    base = "/network/v2.0/floatingips"
    return [
        web.get(base, read(service.listed)),
        web.post(base, write(service.create)),
        web.get(f"{base}/{{id}}", read(service.show)),
        web.put(f"{base}/{{id}}", write(service.change)),
        web.delete(f"{base}/{{id}}", write(service.delete)),
    ]


class _FloatingIps:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def listed(self, request: web.Request) -> web.Response:
        query = select(FLOATING_IPS).order_by(FLOATING_IPS.c.created_at, FLOATING_IPS.c.id)
        async with self._cloud.store.read() as connection:
            rows = [row for row in await connection.execute(query) if ownership.is_visible(request, row)]
            views = [await _view(connection, row) for row in rows]
        wanted = [view for view in views if network_lists.matches(view, request)]
        shown = [network_lists.chosen_fields(view, request) for view in wanted]
        found, _more = page(request, shown, lambda view: str(view.get("id", "")))
        return answer({"floatingips": found})

    async def show(self, request: web.Request) -> web.Response:
        async with self._cloud.store.read() as connection:
            return answer({WORD: await _view(connection, await _get(connection, request))})

    @takes(forms.FloatingIpBody)
    async def create(self, request: web.Request, form: forms.FloatingIpBody) -> web.Response:
        wish, identity = form.floatingip, request[IDENTITY]
        owner = ownership.owner(request, wish, "create_floatingip")
        if wish.floating_ip_address is not None and not identity.is_admin:
            raise Fault(403, "rule:create_floatingip:floating_ip_address is disallowed by policy")
        if wish.fixed_ip_address is not None and wish.port_id is None:
            raise Fault(400, "fixed_ip_address cannot be specified without a port_id")
        named = {"ip_address": wish.floating_ip_address, "subnet_id": wish.subnet_id}
        new_id = self._cloud.new_id()
        async with self._cloud.store.write() as connection:
            await quotas.check_network(connection, owner, WORD)
            await floating_ips.create(
                connection,
                floating_ip_id=new_id,
                network_id=wish.floating_network_id,
                project_id=owner,
                description=wish.description,
                wanted={name: value for name, value in named.items() if value is not None},
                new_id=self._cloud.new_id,
                mac=networks.mac_address(self._cloud.random(3)),
                now=self._cloud.clock(),
            )
            row = await _row(connection, new_id)
            if wish.port_id is not None:
                port = await _port(connection, request, wish.port_id)
                await floating_ips.associate(connection, row, port, wish.fixed_ip_address)
            server_id = await floating_ips.server_behind(connection, wish.port_id)
            view = await _view(connection, await _row(connection, new_id))
        await self._tell(server_id)
        return answer({WORD: view}, 201)

    @takes(forms.FloatingIpChangeBody)
    async def change(self, request: web.Request, form: forms.FloatingIpChangeBody) -> web.Response:
        wish = form.floatingip
        async with self._cloud.store.write() as connection:
            row = await _get(connection, request)
            port_id = row.port_id if wish.port_id is msgspec.UNSET else wish.port_id
            if wish.fixed_ip_address is not None and port_id is None:
                raise Fault(400, "fixed_ip_address cannot be specified without a port_id")
            values: dict[str, object] = {"updated_at": self._cloud.clock()}
            if wish.description is not msgspec.UNSET:
                values["description"] = wish.description
            await connection.execute(update(FLOATING_IPS).where(FLOATING_IPS.c.id == row.id).values(**values))
            if wish.port_id is None:
                await floating_ips.disassociate(connection, row.id)
            elif wish.port_id is not msgspec.UNSET or wish.fixed_ip_address is not None:
                port = await _port(connection, request, str(port_id))
                await floating_ips.associate(connection, row, port, wish.fixed_ip_address)
            told = [await floating_ips.server_behind(connection, each) for each in (row.port_id, port_id)]
            view = await _view(connection, await _row(connection, row.id))
        await self._tell(*told)
        return answer({WORD: view})

    async def delete(self, request: web.Request) -> web.Response:
        async with self._cloud.store.write() as connection:
            row = await _get(connection, request)
            server_id = await floating_ips.server_behind(connection, row.port_id)
            await floating_ips.release(connection, row)
        await self._tell(server_id)
        return web.Response(status=204)

    async def _tell(self, *server_ids: str | None) -> None:
        """Let the guests behind an address read of it in their metadata."""
        for server_id in dict.fromkeys(each for each in server_ids if each is not None):
            try:
                await self._cloud.conductor.refresh(server_id)
            except NotFound:  # it has been deleted meanwhile, and nobody is left to be told
                continue


async def _row(connection: AsyncConnection, floating_ip_id: str) -> Any:
    return (await connection.execute(select(FLOATING_IPS).where(FLOATING_IPS.c.id == floating_ip_id))).one()


async def _get(connection: AsyncConnection, request: web.Request) -> Any:
    """The row of the path, as far as the caller may see it. Raises Fault 404."""
    wanted = request.match_info["id"]
    row = (await connection.execute(select(FLOATING_IPS).where(FLOATING_IPS.c.id == wanted))).first()
    if row is None or not ownership.is_visible(request, row):
        raise Fault(404, f"Floating IP {wanted[:64]} could not be found", "FloatingIPNotFound")
    return row


async def _port(connection: AsyncConnection, request: web.Request, port_id: str) -> Any:
    """A port that the caller may see. Raises Fault 404."""
    row = (await connection.execute(select(PORTS).where(PORTS.c.id == port_id))).first()
    if row is None or not ownership.is_visible(request, row):
        raise Fault(404, f"Port {port_id[:64]} could not be found.", "PortNotFound")
    return row


async def _view(connection: AsyncConnection, row: Any) -> dict[str, Any]:
    port = None
    if row.port_id is not None:
        port = (await connection.execute(select(PORTS).where(PORTS.c.id == row.port_id))).first()
    return {
        "id": row.id,
        "project_id": row.project_id,
        "tenant_id": row.project_id,
        "floating_network_id": row.floating_network_id,
        "floating_ip_address": row.floating_ip_address,
        "port_id": row.port_id,
        "fixed_ip_address": row.fixed_ip_address,
        "port_details": None if port is None else _port_details(port),
        "status": "DOWN" if row.port_id is None else "ACTIVE",
        "description": row.description,
        # There are no routers, no names and no bandwidth limits.
        "router_id": None,
        "dns_name": "",
        "dns_domain": "",
        "qos_policy_id": None,
        "tags": [],
        "revision_number": 1,
        "created_at": iso(row.created_at),
        "updated_at": iso(row.updated_at or row.created_at),
    }


def _port_details(port: Any) -> dict[str, Any]:
    names = ("name", "network_id", "mac_address", "admin_state_up", "status", "device_id", "device_owner")
    return {name: getattr(port, name) for name in names}
