"""Nova: servers, from their request to their end, and the actions on them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import devices, floating_ips, networks, root_volume, volumes
from spawner.api import new_server, quotas, server_actions, server_search, views
from spawner.api.addressed_server import addressed, change
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import (
    IDENTITY,
    MICROVERSION,
    answer,
    caller,
    link,
    may,
    needs,
    page,
    takes,
    truth,
)
from spawner.conductor import Caller
from spawner.errors import Conflict, NotFound
from spawner.store import servers
from spawner.store.servers import Server
from spawner.store.tables import (
    NETWORKS,
    SECURITY_GROUPS,
    SERVER_DESCRIPTIONS,
)

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class _Changes(
    msgspec.Struct,
    forbid_unknown_fields=True,
    rename={"access_ipv4": "accessIPv4", "access_ipv6": "accessIPv6", "disk_config": "OS-DCF:diskConfig"},
):
    name: Name | None = None
    hostname: Name | None = None
    description: Annotated[str, msgspec.Meta(max_length=255)] | msgspec.UnsetType | None = msgspec.UNSET
    access_ipv4: str | None = None
    access_ipv6: str | None = None
    disk_config: Literal["AUTO", "MANUAL"] | None = None


class _UpdateServer(msgspec.Struct, forbid_unknown_fields=True):
    server: _Changes


class _RemoteConsole(msgspec.Struct, forbid_unknown_fields=True):
    protocol: Annotated[str, msgspec.Meta(max_length=32)]
    type: Annotated[str, msgspec.Meta(max_length=32)]


class _NewRemoteConsole(msgspec.Struct, forbid_unknown_fields=True):
    remote_console: _RemoteConsole


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of servers."""
    service = Servers(cloud)
    read, write = needs("compute:read"), needs("compute:server")
    base = "/compute/v2.1/servers"
    one = f"{base}/{{id}}"
    return [
        web.get(base, read(service.list_short)),
        web.post(base, write(service.create)),
        web.get(f"{base}/detail", read(service.list_detail)),
        web.get(one, read(service.show)),
        web.put(one, write(service.update)),
        web.delete(one, write(service.delete)),
        web.post(f"{one}/action", write(service.action)),
        web.get(f"{one}/ips", read(service.ips)),
        web.post("/compute/v2.1/x-explain", write(service.explain)),
        web.get(f"{one}/os-security-groups", read(service.security_groups)),
        web.post(f"{one}/remote-consoles", write(service.remote_console)),
        web.get(f"{one}/topology", read(service.topology)),
    ]


class Servers:
    """The handlers of servers; `make` is what other ways to ask for one go through too."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._actions = server_actions.action_table(cloud)

    # --- reading ----------------------------------------------------------------------------------------

    async def _listed(self, request: web.Request) -> tuple[list[Server], str]:
        query = request.query
        everyone = truth(query.get("all_tenants", query.get("all_projects", "")))
        if everyone and not may(request, "compute:all-projects"):
            raise Fault(
                403, "Policy doesn't allow os_compute_api:servers:index:get_all_tenants to be performed."
            )
        async with self._cloud.store.read() as connection:
            found = await servers.listed(
                connection, project_id=None if everyone else request[IDENTITY].project_id
            )
            addresses = await networks.addresses_of_devices(connection) if {"ip", "ip6"} & set(query) else {}
        chosen = [
            server for server in found if server_search.matches(server, query, addresses.get(server.id, ()))
        ]
        server_search.sort(chosen, query)
        return page(request, chosen, lambda server: server.id)

    async def list_short(self, request: web.Request) -> web.Response:
        found, more = await self._listed(request)
        rows = [{"id": each.id, "name": each.name, "links": views.links(each, self._cloud)} for each in found]
        return answer({"servers": rows, **self._next(more, "")})

    async def list_detail(self, request: web.Request) -> web.Response:
        found, more = await self._listed(request)
        async with self._cloud.store.read() as connection:
            rows = await self._details(connection, request, found)
        return answer({"servers": rows, **self._next(more, "/detail")})

    def _next(self, more: str, path: str) -> dict[str, Any]:
        href = f"{self._cloud.url}/compute/v2.1/servers{path}?{more}"
        return {"servers_links": [link(href, "next")]} if more else {}

    async def show(self, request: web.Request) -> web.Response:
        server = await addressed(request, self._cloud)
        async with self._cloud.store.read() as connection:
            return answer({"server": (await self._details(connection, request, [server]))[0]})

    async def _details(
        self, connection: AsyncConnection, request: web.Request, found: Sequence[Server]
    ) -> list[dict[str, Any]]:
        """Servers in full, in their order; what belongs to them is read for all of them at once."""
        ids = [server.id for server in found]
        ports = await networks.ports_of_devices(connection, ids)
        attached = await volumes.of_servers(connection, ids)
        floating = await floating_ips.in_front_of(
            connection, [port for each in ports.values() for port in each]
        )
        names = {row.id: row.name for row in await connection.execute(select(NETWORKS.c.id, NETWORKS.c.name))}
        texts = select(SERVER_DESCRIPTIONS).where(SERVER_DESCRIPTIONS.c.server_id.in_(ids))
        descriptions = {row.server_id: row.text for row in await connection.execute(texts)}
        return [
            views.detail(
                server,
                self._cloud,
                request[MICROVERSION],
                ports=ports.get(server.id, ()),
                volumes=attached.get(server.id, ()),
                network_names=names,
                floating=floating,
                description=descriptions.get(server.id),
                is_admin=request[IDENTITY].is_admin,
            )
            for server in found
        ]

    # --- creating ---------------------------------------------------------------------------------------

    @takes(new_server.CreateServer)
    async def create(self, request: web.Request, form: new_server.CreateServer) -> web.Response:
        wish = form.server
        first = (await self.make(request, form))[0]
        document: dict[str, Any] = {
            "id": first.id,
            "links": views.links(first, self._cloud),
            "OS-DCF:diskConfig": "MANUAL",
            "adminPass": wish.admin_pass or base64.b32encode(self._cloud.random(10)).decode(),
            "security_groups": [{"name": name} for name in first.security_groups],
        }
        location = {"Location": f"{self._cloud.url}/compute/v2.1/servers/{first.id}"}
        if wish.return_reservation_id:
            return answer({"reservation_id": f"r-{first.id[:8]}"}, 202)
        return answer({"server": document}, 202, location)

    async def make(self, request: web.Request, form: new_server.CreateServer) -> list[Server]:
        """The servers that a checked body asks for, accepted. Raises Fault, SpawnerError."""
        wish = form.server
        new_server.check(wish, request[MICROVERSION])
        count = await self._how_many(request, wish)
        names = [wish.name] if count == 1 else [f"{wish.name}-{number + 1}" for number in range(count)]
        first = caller(request)
        # The log of actions has one action a request: of many servers each has a request id of its own.
        callers = [first, *(replace(first, request_id=f"req-{self._cloud.new_id()}") for _name in names[1:])]
        return [
            await self._create_one(request, form, name, who) for name, who in zip(names, callers, strict=True)
        ]

    async def _how_many(self, request: web.Request, wish: new_server.NewServer) -> int:
        """As many servers as are asked for and the quota has room for. Raises Fault 400, 403."""
        least = wish.min_count or 1
        most = wish.max_count or least
        if most == 1:
            return 1  # whether there is room for it is asked when it is made
        async with self._cloud.store.read() as connection:
            flavor = await new_server.flavor_of(connection, str(wish.flavor_ref), request[IDENTITY])
            return await quotas.servers_left(connection, request[IDENTITY].project_id, flavor, least, most)

    async def _create_one(
        self, request: web.Request, form: new_server.CreateServer, name: str, who: Caller
    ) -> Server:
        async with self._cloud.store.write() as connection:
            server = await self._server_of(connection, request, form, name)
            await self._add_ports(connection, server, form.server)
            new_volume = await self._add_root_volume(connection, server, form.server, who)
            await self._cloud.conductor.accept(connection, server, who)
            if form.server.description is not None:
                await server_actions.describe(connection, server.id, form.server.description)
        if new_volume is not None:
            self._cloud.volumes.begin(new_volume)
        self._cloud.conductor.begin(server)
        return server

    async def _server_of(
        self, connection: AsyncConnection, request: web.Request, form: new_server.CreateServer, name: str
    ) -> Server:
        """The server that a request asks for. Raises Fault 400 for what cannot be, 403 over quota."""
        wish = form.server
        identity = request[IDENTITY]
        hints = {**wish.old_hints, **wish.hints, **form.old_hints, **form.hints}
        server_id = self._cloud.new_id()
        flavor = await new_server.flavor_of(connection, str(wish.flavor_ref), identity)
        project_id = identity.project_id
        if new_server.root_wish(wish) is None:
            await new_server.check_image(connection, new_server.image_of(wish), flavor, project_id)
        await quotas.servers_left(connection, project_id, flavor, 1, 1)
        await quotas.check_metadata(connection, project_id, len(wish.metadata))
        group_id = await new_server.group_of(connection, project_id, hints.get("group"))
        if group_id is not None:
            await quotas.check_members(connection, project_id, group_id)
        return Server(
            id=server_id,
            name=name,
            hostname=wish.hostname or new_server.hostname(name, server_id),
            project_id=identity.project_id,
            user_id=identity.user_id,
            flavor=flavor,
            created_at=self._cloud.clock(),
            image_id=new_server.image_of(wish),
            key_name=wish.key_name,
            public_key=await new_server.public_key(connection, identity.user_id, wish.key_name),
            user_data=new_server.user_data(wish.user_data),
            config_drive=wish.config_drive in {True, "True", "true", "1"},
            metadata=wish.metadata,
            tags=tuple(wish.tags),
            security_groups=await new_server.group_names(
                connection, identity.project_id, wish.security_groups
            ),
            files=tuple({"path": each.path, "contents": each.contents} for each in wish.personality),
            hints=new_server.placement_hints(wish),
            group_id=group_id,
        )

    async def _add_root_volume(
        self, connection: AsyncConnection, server: Server, wish: new_server.NewServer, who: Caller
    ) -> str | None:
        """Keep the volume that the server shall boot from; the id of one that is yet to be made.

        Raises Fault 400 for what cannot be booted from, 413 over quota.
        """
        root = new_server.root_wish(wish)
        if root is None:
            return None
        volume_id, new = str(root.uuid), None
        if root.source_type == "image":
            size_gib = new_server.size_of_root(root)
            room = replace(server.flavor, disk_gib=size_gib)
            await new_server.check_image(connection, volume_id, room, server.project_id)
            await quotas.check_volumes(connection, server.project_id, size_gib, 1)
            new = volume_id = await self._cloud.volumes.add(
                connection, volumes.NewVolume(size_gib, image_id=volume_id), who
            )
        try:
            await root_volume.attach(
                connection,
                server.id,
                volume_id,
                server.project_id,
                attachment_id=self._cloud.new_id(),
                delete_with=truth(str(root.delete_on_termination or "")),
                now=self._cloud.clock(),
            )
        except (NotFound, Conflict) as error:
            raise Fault(400, f"Block Device Mapping is Invalid: {error}") from error
        return new

    async def _add_ports(
        self, connection: AsyncConnection, server: Server, wish: new_server.NewServer
    ) -> None:
        """A port on each network asked for: `auto` and nothing said mean the project's only one."""
        if wish.networks == "none":
            return
        more = len(wish.networks) if isinstance(wish.networks, list) else 1
        await quotas.check_ports_of_server(connection, server.project_id, more)
        named = wish.networks if isinstance(wish.networks, list) else []
        for each in named or await _only_network(connection, server.project_id):
            if each.port is not None:
                await devices.bind(connection, server.id, server.project_id, each.port, each.tag or "")
                continue
            if each.uuid is None:
                raise Fault(
                    400, "Invalid input for field/attribute networks: neither uuid nor port is given."
                )
            if named:
                await _check_network(connection, each.uuid, server.project_id)
            port_id = self._cloud.new_id()
            await networks.add_port(
                connection,
                port_id=port_id,
                network_id=each.uuid,
                project_id=server.project_id,
                mac=networks.mac_address(self._cloud.random(3)),
                now=self._cloud.clock(),
                fixed_ips=[{"ip_address": each.fixed_ip}] if each.fixed_ip else (),
                device_id=server.id,
                device_owner=devices.OWNER,
                status="ACTIVE",
            )
            await devices.plug_port(connection, server.id, port_id, each.tag or "")

    # --- changing ---------------------------------------------------------------------------------------

    @takes(_UpdateServer)
    async def update(self, request: web.Request, form: _UpdateServer) -> web.StreamResponse:
        server, changes = await addressed(request, self._cloud), form.server
        given = {
            name: value for name in ("name", "hostname") if (value := getattr(changes, name)) is not None
        }
        if "hostname" in given and request[MICROVERSION] < (2, 90):
            raise Fault(400, "Additional properties are not allowed ('hostname' was unexpected)")
        if "name" in given and not given["name"].strip():
            raise Fault(400, "Invalid input for field/attribute name: 1 to 255 characters are needed.")
        if "hostname" in given and not new_server.LABEL.fullmatch(given["hostname"].partition(".")[0]):
            raise Fault(400, "Invalid input for field/attribute hostname: use a-z, 0-9 and '-'.")
        if given:
            await change(self._cloud, server, **given)
        if changes.description is not msgspec.UNSET:
            if request[MICROVERSION] < (2, 19):
                raise Fault(400, "Additional properties are not allowed ('description' was unexpected)")
            async with self._cloud.store.write() as connection:
                await server_actions.describe(connection, server.id, changes.description)
        return await self.show(request)

    async def delete(self, request: web.Request) -> web.Response:
        await self._cloud.conductor.delete((await addressed(request, self._cloud)).id, caller(request))
        return web.Response(status=204)

    @takes(dict)
    async def action(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        server = await addressed(request, self._cloud)
        names = [name for name in body if name in self._actions]
        if len(body) != 1 or not names:
            raise Fault(400, f"There is no such action: {', '.join(sorted(body))[:100]}")
        name = names[0]
        return await self._actions[name](request, server, server_actions.read(name, body[name]))

    # --- what belongs to a server -----------------------------------------------------------------------

    async def ips(self, request: web.Request) -> web.Response:
        server = await addressed(request, self._cloud)
        async with self._cloud.store.read() as connection:
            (document,) = await self._details(connection, request, [server])
        return answer({"addresses": document["addresses"]})

    @takes(new_server.CreateServer)
    async def explain(self, request: web.Request, form: new_server.CreateServer) -> web.Response:
        """Ours: which host would take a server, and what every other one falls to. Makes nothing."""
        async with self._cloud.store.read() as connection:
            server = await self._server_of(connection, request, form, form.server.name)
        selection = await self._cloud.conductor.explain(server)
        rows = [
            {"host": each.host, "filter": each.filter, "reason": each.reason, "weight": each.weight}
            for each in selection.verdicts
        ]
        return answer({"hosts": rows})

    @takes(_NewRemoteConsole)
    async def remote_console(self, request: web.Request, form: _NewRemoteConsole) -> web.Response:
        """Guests have no screen, and their serial port is read with `console log show`."""
        await addressed(request, self._cloud)
        raise Fault(400, f"Unavailable console type {form.remote_console.type}.")

    async def topology(self, request: web.Request) -> web.Response:
        """Guests have no NUMA nodes and no huge pages of their own."""
        await addressed(request, self._cloud)
        return answer({"nodes": [], "pagesize_kb": None})

    async def security_groups(self, request: web.Request) -> web.Response:
        server = await addressed(request, self._cloud)
        query = select(SECURITY_GROUPS).where(
            SECURITY_GROUPS.c.project_id == server.project_id,
            SECURITY_GROUPS.c.name.in_(server.security_groups),
        )
        async with self._cloud.store.read() as connection:
            rows = (await connection.execute(query)).all()
        groups = [
            {
                "id": row.id,
                "name": row.name,
                "description": row.description,
                "tenant_id": row.project_id,
                "rules": [],
            }
            for row in rows
        ]
        return answer({"security_groups": groups})


async def _only_network(connection: AsyncConnection, project_id: str) -> list[new_server.NetworkWish]:
    """The network that a project has; none where it has none. Raises Fault 409 for several."""
    query = select(NETWORKS.c.id).where(networks.usable_by(project_id))
    ids = (await connection.execute(query)).scalars().all()
    if len(ids) > 1:
        raise Fault(409, "Multiple possible networks found, use a Network ID to be more specific.")
    return [new_server.NetworkWish(uuid=network_id) for network_id in ids]


async def _check_network(connection: AsyncConnection, network_id: str, project_id: str) -> None:
    """Raise Fault 400 for a network that is not there for a project, 403 for the external one."""
    row = (await connection.execute(select(NETWORKS).where(NETWORKS.c.id == network_id))).first()
    if row is not None and networks.is_external(row):
        raise Fault(403, f"It is not allowed to create an interface on external network {network_id}")
    if row is None or not (row.shared or row.project_id == project_id):
        raise Fault(400, f"Network {network_id[:64]} could not be found.")
