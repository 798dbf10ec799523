"""Nova: the network cards of a server (os-interface). Source: Compute API reference."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from aiohttp import web
from sqlalchemy import select

from spawner import networks
from spawner.api.addressed_server import addressed
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.microversion import Version
from spawner.api.requests import MICROVERSION, answer, caller, needs, takes
from spawner.api.volume_attachments import Tag
from spawner.store.servers import Server
from spawner.store.tables import DEVICE_SLOTS, NETWORKS


class _FixedIp(msgspec.Struct, forbid_unknown_fields=True):
    ip_address: str


class _Interface(msgspec.Struct, forbid_unknown_fields=True):
    net_id: str | None = None
    port_id: str | None = None
    fixed_ips: Annotated[list[_FixedIp], msgspec.Meta(max_length=1)] = []
    tag: Tag | None = None


class _Attach(msgspec.Struct, forbid_unknown_fields=True, rename={"interface": "interfaceAttachment"}):
    interface: _Interface = msgspec.field(default_factory=_Interface)


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of a server's cards."""
    service = _Interfaces(cloud)
    read, write = needs("compute:read"), needs("compute:server")
    base = "/compute/v2.1/servers/{id}/os-interface"
    return [
        web.get(base, read(service.listed)),
        web.post(base, write(service.attach)),
        web.get(f"{base}/{{port}}", read(service.show)),
        web.delete(f"{base}/{{port}}", write(service.detach)),
    ]


class _Interfaces:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def _views(self, request: web.Request, server: Server) -> list[dict[str, Any]]:
        query = select(DEVICE_SLOTS).where(DEVICE_SLOTS.c.server_id == server.id)
        async with self._cloud.store.read() as connection:
            ports = await networks.ports_of_device(connection, server.id)
            tags = {row.owner_id: row.tag for row in await connection.execute(query)}
        return [_view(port, tags.get(port.id, ""), request[MICROVERSION]) for port in ports]

    async def listed(self, request: web.Request) -> web.Response:
        server = await addressed(request, self._cloud)
        return answer({"interfaceAttachments": await self._views(request, server)})

    async def show(self, request: web.Request) -> web.Response:
        server = await addressed(request, self._cloud)
        for view in await self._views(request, server):
            if view["port_id"] == request.match_info["port"]:
                return answer({"interfaceAttachment": view})
        wanted = request.match_info["port"][:64]
        raise Fault(404, f"Instance {server.id} does not have a port with id {wanted}.")

    @takes(_Attach)
    async def attach(self, request: web.Request, form: _Attach) -> web.Response:
        server = await addressed(request, self._cloud)
        wish = form.interface
        if wish.tag is not None and request[MICROVERSION] < (2, 49):
            raise Fault(400, "Additional properties are not allowed ('tag' was unexpected)")
        if wish.port_id and (wish.net_id or wish.fixed_ips):
            raise Fault(
                400,
                "Must not input both network_id and port_id"
                if wish.net_id
                else "Must not input both port_id and fixed_ips",
            )
        if wish.fixed_ips and not wish.net_id:
            raise Fault(400, "Must input network_id when request IP address")
        if wish.port_id:
            port = await self._cloud.ports.attach_port(server, wish.port_id, caller(request), wish.tag or "")
        else:
            port = await self._cloud.ports.attach_network(
                server,
                wish.net_id or await self._only_network(server),
                [{"ip_address": each.ip_address} for each in wish.fixed_ips],
                caller(request),
                wish.tag or "",
            )
        return answer({"interfaceAttachment": _view(port, wish.tag or "", request[MICROVERSION])})

    async def _only_network(self, server: Server) -> str:
        """The project's network, where there is one. Raises Fault 409 as Nova when there are more."""
        query = select(NETWORKS.c.id).where(networks.usable_by(server.project_id))
        async with self._cloud.store.read() as connection:
            ids = list((await connection.execute(query)).scalars())
        if len(ids) != 1:
            raise Fault(409, "Multiple possible networks found, use a Network ID to be more specific.")
        return str(ids[0])

    async def detach(self, request: web.Request) -> web.Response:
        server = await addressed(request, self._cloud)
        await self._cloud.ports.detach(server, request.match_info["port"], caller(request))
        return web.Response(status=202)


def _view(port: Any, tag: str, version: Version) -> dict[str, Any]:
    document = {
        "port_id": port.id,
        "net_id": port.network_id,
        "mac_addr": port.mac_address,
        "port_state": port.status,
        "fixed_ips": port.fixed_ips,
    }
    return {**document, "tag": tag or None} if version >= (2, 70) else document
