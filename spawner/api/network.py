"""Neutron v2.0: networks, subnets, ports, security groups, and the list of extensions."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from aiohttp import web
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import devices, floating_ips, networks
from spawner.api import network_forms as forms
from spawner.api import network_lists, network_views, quotas
from spawner.api import network_ownership as ownership
from spawner.api import network_security_groups as security_groups
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY, answer, caller, declare, needs, page, read_body
from spawner.errors import Conflict, NotFound
from spawner.store import servers
from spawner.store.tables import (
    NETWORKS,
    PORTS,
    SECURITY_GROUP_RULES,
    SECURITY_GROUPS,
    SUBNETS,
)

# What clients ask for and this cloud has none of.
EMPTY = (
    "routers", "agents", "subnetpools", "address-groups", "trunks", "address-scopes",
    "segments", "rbac-policies", "flavors", "service-providers",
)  # fmt: skip
# The quota of these is 0, which is what somebody who asks for one is told.
NONE_OF = {"routers": "router", "subnetpools": "subnetpool"}

MTU, MTU_LEAST, MTU_MOST = 1500, 68, 65535
# Path -> table, the word of one, what a client may change.
_KINDS: dict[str, tuple[Any, str, Any]] = {
    "networks": (NETWORKS, "network", forms.NetworkChange),
    "subnets": (SUBNETS, "subnet", forms.SubnetChange),
    "ports": (PORTS, "port", forms.PortChange),
    "security-groups": (SECURITY_GROUPS, "security_group", forms.SecurityGroupChange),
    "security-group-rules": (SECURITY_GROUP_RULES, "security_group_rule", None),
}


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of Neutron."""
    service = _Networks(cloud)
    read, write = needs("network:read"), needs("network:write")
    base = "/network/v2.0"
    found = [
        web.get(f"{base}/extensions", read(service.extensions)),
        web.get(f"{base}/extensions/{{name}}", read(service.extension)),
        web.get(f"{base}/availability_zones", read(service.zones)),
    ]
    found += [web.get(f"{base}/{empty}", read(service.nothing(empty))) for empty in EMPTY]
    found += [
        web.post(f"{base}/{path}", write(declare(service.none_left(word), dict)))
        for path, word in NONE_OF.items()
    ]
    for path, (_table, _word, changeable) in _KINDS.items():
        found += [
            web.get(f"{base}/{path}", read(service.listed(path))),
            web.get(f"{base}/{path}/{{id}}", read(service.show(path))),
            web.post(f"{base}/{path}", write(service.create(path))),
            web.delete(f"{base}/{path}/{{id}}", write(service.delete(path))),
        ]
        if changeable is not None:
            found.append(web.put(f"{base}/{path}/{{id}}", write(service.change(path))))
    return found


Handler = Callable[[web.Request], Any]
# Makes one row of what the checked body wishes for, and gives its id.
Creator = Callable[[AsyncConnection, web.Request, Any], Awaitable[str]]


class _Networks:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._creators: dict[str, tuple[type[Any], Creator]] = {
            "networks": (forms.NetworkBody, self._create_network),
            "subnets": (forms.SubnetBody, self._create_subnet),
            "ports": (forms.PortBody, self._create_port),
            "security-groups": (forms.SecurityGroupBody, partial(security_groups.create_group, cloud)),
            "security-group-rules": (forms.RuleBody, partial(security_groups.create_rule, cloud)),
        }

    # --- reading ----------------------------------------------------------------------------------------

    def listed(self, path: str) -> Handler:
        table, word, _changeable = _KINDS[path]

        async def handler(request: web.Request) -> web.Response:
            async with self._cloud.store.write() as connection:
                await security_groups.add_default(self._cloud, connection, request[IDENTITY].project_id)
            async with self._cloud.store.read() as connection:
                query = select(table).order_by(table.c.created_at, table.c.id)
                rows = [
                    row for row in (await connection.execute(query)).all() if _is_visible(path, request, row)
                ]
                views = [await network_views.document(connection, path, row) for row in rows]
            wanted = [view for view in views if network_lists.matches(view, request)]
            shown = [network_lists.chosen_fields(view, request) for view in wanted]
            found, _more = page(request, shown, lambda view: str(view.get("id", "")))
            return answer({path.replace("-", "_") if word != "network" else path: found})

        return handler

    def show(self, path: str) -> Handler:
        _table, word, _changeable = _KINDS[path]

        async def handler(request: web.Request) -> web.Response:
            async with self._cloud.store.read() as connection:
                row = await self._get(connection, path, request)
                return answer({word: await network_views.document(connection, path, row)})

        return handler

    async def _get(self, connection: AsyncConnection, path: str, request: web.Request) -> Any:
        table, word, _changeable = _KINDS[path]
        wanted = request.match_info["id"]
        row = (await connection.execute(select(table).where(table.c.id == wanted))).first()
        if row is None or not _is_visible(path, request, row):
            title = "".join(part.capitalize() for part in word.split("_"))
            raise Fault(404, f"{title} {wanted[:64]} could not be found.", f"{title}NotFound")
        return row

    def nothing(self, path: str) -> Handler:
        """An empty list: the clients ask for it, and there are none here."""

        async def handler(_request: web.Request) -> web.Response:
            return answer({path.replace("-", "_"): []})

        return handler

    def none_left(self, word: str) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            async with self._cloud.store.read() as connection:
                await quotas.check_network(connection, request[IDENTITY].project_id, word)
            raise AssertionError(f"a quota for {word} can only be 0")  # quotas.change holds that

        return handler

    async def extensions(self, _request: web.Request) -> web.Response:
        names = (
            "security-group",
            "external-net",
            "fip-port-details",
            "port-security",
            "binding",
            "net-mtu",
            "availability_zone",
            "quotas",
        )
        rows = [
            {
                "alias": name,
                "name": name,
                "description": "",
                "links": [],
                "updated": "2020-01-01T00:00:00-00:00",
            }
            for name in names
        ]
        return answer({"extensions": rows})

    async def extension(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        raise Fault(404, f"Extension with alias {name[:64]} does not exist")

    async def zones(self, _request: web.Request) -> web.Response:
        return answer({"availability_zones": [{"name": "nova", "resource": "network", "state": "available"}]})

    # --- creating ---------------------------------------------------------------------------------------

    def create(self, path: str) -> Handler:
        table, word, _changeable = _KINDS[path]
        form, creator = self._creators[path]

        async def handler(request: web.Request) -> web.Response:
            wish = getattr(await read_body(request, form), word)
            async with self._cloud.store.write() as connection:
                await security_groups.add_default(self._cloud, connection, request[IDENTITY].project_id)
                owner = ownership.named_owner(request, wish)
                await quotas.check_network(connection, owner, word)
                new_id = await creator(connection, request, wish)
                row = (await connection.execute(select(table).where(table.c.id == new_id))).one()
                return answer({word: await network_views.document(connection, path, row)}, 201)

        return declare(handler, form)

    async def _create_network(
        self, connection: AsyncConnection, request: web.Request, wish: forms.Network
    ) -> str:
        if wish.shared and not request[IDENTITY].is_admin:
            raise Fault(403, "rule:create_network:shared is disallowed by policy")
        row = {
            **ownership.new_row(self._cloud, request, wish),
            "name": wish.name,
            "admin_state_up": wish.admin_state_up,
            "shared": wish.shared,
            "mtu": _mtu(wish.mtu),
        }
        await connection.execute(insert(NETWORKS).values(**row))
        return str(row["id"])

    async def _create_subnet(
        self, connection: AsyncConnection, request: web.Request, wish: forms.Subnet
    ) -> str:
        network_row = await networks.get(connection, NETWORKS, "Network", wish.network_id)
        if not ownership.is_owner(request, network_row):
            raise Fault(404, f"Network {wish.network_id} could not be found.", "NetworkNotFound")
        network = networks.parse_cidr(wish.cidr)
        if network.version != int(wish.ip_version):
            raise Fault(400, f"Invalid input for cidr: {network} is not of IPv{wish.ip_version}.")
        others = select(SUBNETS.c.cidr).where(SUBNETS.c.network_id == wish.network_id)
        for other in (await connection.execute(others)).scalars():
            if network.overlaps(ipaddress.ip_network(other)):
                raise Fault(
                    400, f"Invalid input for operation: Requested subnet with cidr: {network} overlaps."
                )
        gateway = networks.first_host(network) if wish.gateway_ip is msgspec.UNSET else wish.gateway_ip
        plain = msgspec.to_builtins(wish)
        pools = plain["allocation_pools"]
        networks.check_subnet(network, gateway, pools)
        networks.check_routes(plain["host_routes"], wish.dns_nameservers)
        row = {
            **ownership.new_row(self._cloud, request, wish),
            **{
                name: plain[name]
                for name in (
                    "network_id",
                    "name",
                    "enable_dhcp",
                    "dns_nameservers",
                    "host_routes",
                    "ipv6_address_mode",
                    "ipv6_ra_mode",
                )
            },
            "cidr": str(network),
            "ip_version": network.version,
            "gateway_ip": gateway,
            "allocation_pools": pools or networks.default_pool(network, gateway),
        }
        await connection.execute(insert(SUBNETS).values(**row))
        return str(row["id"])

    async def _create_port(self, connection: AsyncConnection, request: web.Request, wish: forms.Port) -> str:
        network_row = await networks.get(connection, NETWORKS, "Network", wish.network_id)
        if networks.is_external(network_row):
            raise Fault(403, f"rule:create_port on the external network {wish.network_id} is disallowed")
        if not ownership.is_visible(request, network_row):
            raise Fault(404, f"Network {wish.network_id} could not be found.", "NetworkNotFound")
        common = ownership.new_row(self._cloud, request, wish)
        await security_groups.check_known(connection, common["project_id"], wish.security_groups or [])
        mac = (wish.mac_address or networks.mac_address(self._cloud.random(3))).lower()
        taken = select(PORTS.c.id).where(PORTS.c.mac_address == mac)
        if (await connection.execute(taken)).first() is not None:
            raise Fault(409, f"Unable to complete operation for network. The mac address {mac} is in use.")
        await networks.add_port(
            connection,
            port_id=common["id"],
            network_id=wish.network_id,
            project_id=common["project_id"],
            mac=mac,
            now=common["created_at"],
            fixed_ips=msgspec.to_builtins(wish.fixed_ips),
            name=wish.name,
            device_id=wish.device_id,
            device_owner=wish.device_owner,
            admin_state_up=wish.admin_state_up,
            security_groups=wish.security_groups or [],
            description=wish.description,
        )
        return str(common["id"])

    # --- changing ---------------------------------------------------------------------------------------

    def change(self, path: str) -> Handler:
        table, word, changeable = _KINDS[path]

        form = msgspec.defstruct(f"{word}_change", [(word, changeable)], forbid_unknown_fields=True)

        async def handler(request: web.Request) -> web.Response:
            wish = getattr(await read_body(request, form), word)
            given = {
                name: value
                for name in wish.__struct_fields__
                if (value := getattr(wish, name)) is not msgspec.UNSET
            }
            async with self._cloud.store.write() as connection:
                row = await self._owned(connection, path, request)
                await self._check_change(connection, path, row, given)
                values = {**given, "updated_at": self._cloud.clock()}
                await connection.execute(update(table).where(table.c.id == row.id).values(**values))
                row = (await connection.execute(select(table).where(table.c.id == row.id))).one()
                return answer({word: await network_views.document(connection, path, row)})

        return declare(handler, form)

    async def _check_change(
        self, connection: AsyncConnection, path: str, row: Any, given: Mapping[str, Any]
    ) -> None:
        if path == "subnets":
            networks.check_subnet(ipaddress.ip_network(row.cidr), given.get("gateway_ip"), [])
            networks.check_routes([], given.get("dns_nameservers", []))
        elif path == "ports":
            await security_groups.check_known(connection, row.project_id, given.get("security_groups", []))
        elif path == "security-groups":
            security_groups.check_change(row, given)

    async def _owned(self, connection: AsyncConnection, path: str, request: web.Request) -> Any:
        row = await self._get(connection, path, request)
        if not ownership.is_owner(request, row):
            raise Fault(403, f"{path} of another project cannot be changed.")
        return row

    def delete(self, path: str) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            async with self._cloud.store.read() as connection:
                row = await self._owned(connection, path, request)
            if path == "ports" and row.device_owner == devices.OWNER:
                await self._unplug(request, row)
            async with self._cloud.store.write() as connection:
                await _REMOVERS[path](connection, row)
            return web.Response(status=204)

        return handler

    async def _unplug(self, request: web.Request, port: Any) -> None:
        """Take a port out of its server's guest before it goes, as Nova does when Neutron tells it.

        Raises what the node does: the port stays then.
        """
        try:
            async with self._cloud.store.read() as connection:
                server = await servers.get(connection, port.device_id)
            await self._cloud.ports.detach(server, port.id, caller(request))
        except (NotFound, Conflict):  # there is no such guest, or none now that it could be taken out of
            return


def _mtu(wish: int | str | None) -> int:
    """Octets. Raises Fault 400."""
    if wish is None:
        return MTU
    if not str(wish).isdecimal() or not MTU_LEAST <= int(wish) <= MTU_MOST:
        raise Fault(400, f"Invalid input for mtu: {str(wish)[:20]!r} is not from {MTU_LEAST} to {MTU_MOST}.")
    return int(wish)


def _is_visible(path: str, request: web.Request, row: Any) -> bool:
    """Everybody sees the external network, for floating IPs; its subnets and ports are an admin's."""
    if path == "networks" and networks.is_external(row):
        return True
    return ownership.is_visible(request, row)


async def _remove_port(connection: AsyncConnection, row: Any) -> None:
    if row.device_owner == floating_ips.PORT_OWNER:
        raise Fault(
            409,
            f"Port {row.id} cannot be deleted directly via the port API: has device owner"
            f" {row.device_owner}.",
            "ServicePortInUse",
        )
    await networks.remove_port(connection, row.id)


async def _remove_network(connection: AsyncConnection, row: Any) -> None:
    if networks.is_external(row):
        raise Fault(409, f"Network {row.id} is the cloud's own: floating IPs come from it.", "NetworkInUse")
    await networks.remove_network(connection, row.id)


async def _remove_subnet(connection: AsyncConnection, row: Any) -> None:
    await networks.remove_subnet(connection, row.id)


_REMOVERS = {
    "networks": _remove_network,
    "subnets": _remove_subnet,
    "ports": _remove_port,
    "security-groups": security_groups.remove_group,
    "security-group-rules": security_groups.remove_rule,
}
