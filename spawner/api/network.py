"""Neutron v2.0: networks, subnets, ports, security groups, and the list of extensions."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import networks
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY, answer, iso, needs, page, read_body, truth
from spawner.store.tables import (
    NETWORKS,
    PORTS,
    SECURITY_GROUP_RULES,
    SECURITY_GROUPS,
    SUBNETS,
)

QUOTAS = {
    "network": 100,
    "subnet": 100,
    "port": 500,
    "security_group": 10,
    "security_group_rule": 100,
    "router": 0,
    "floatingip": 0,
    "subnetpool": 0,
    "rbac_policy": 0,
}


# What clients ask for and this cloud has none of.
EMPTY = ("routers", "floatingips", "agents", "subnetpools", "address-groups", "trunks")


class _Network(msgspec.Struct):
    name: str = ""
    admin_state_up: bool = True
    shared: bool = False
    mtu: int | None = None
    description: str = ""


class _Subnet(msgspec.Struct):
    network_id: str
    cidr: str
    ip_version: int | str = 4
    name: str = ""
    gateway_ip: str | msgspec.UnsetType | None = msgspec.UNSET
    enable_dhcp: bool = True
    dns_nameservers: list[str] = []
    host_routes: list[dict[str, str]] = []
    allocation_pools: list[dict[str, str]] = []
    ipv6_address_mode: str | None = None
    ipv6_ra_mode: str | None = None
    description: str = ""


class _Port(msgspec.Struct):
    network_id: str
    name: str = ""
    mac_address: str | None = None
    fixed_ips: list[dict[str, str]] = []
    device_id: str = ""
    device_owner: str = ""
    admin_state_up: bool = True
    security_groups: list[str] | None = None
    description: str = ""


class _SecurityGroup(msgspec.Struct):
    name: str
    description: str = ""


class _Rule(msgspec.Struct):
    security_group_id: str
    direction: str
    ethertype: str = "IPv4"
    protocol: str | int | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_ip_prefix: str | None = None
    remote_group_id: str | None = None
    description: str = ""


class _NetworkBody(msgspec.Struct):
    network: _Network


class _SubnetBody(msgspec.Struct):
    subnet: _Subnet


class _PortBody(msgspec.Struct):
    port: _Port


class _SecurityGroupBody(msgspec.Struct):
    security_group: _SecurityGroup


class _RuleBody(msgspec.Struct):
    security_group_rule: _Rule


class _AnyBody(msgspec.Struct):
    """A change: the few fields that may be changed are picked from it by name."""

    network: dict[str, Any] = {}
    subnet: dict[str, Any] = {}
    port: dict[str, Any] = {}
    security_group: dict[str, Any] = {}


# Path -> table, the word of one, what a client may change.
_KINDS: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "networks": (NETWORKS, "network", ("name", "admin_state_up", "shared", "description")),
    "subnets": (SUBNETS, "subnet", ("name", "gateway_ip", "enable_dhcp", "dns_nameservers", "description")),
    "ports": (PORTS, "port", ("name", "admin_state_up", "device_id", "device_owner", "description")),
    "security-groups": (SECURITY_GROUPS, "security_group", ("name", "description")),
    "security-group-rules": (SECURITY_GROUP_RULES, "security_group_rule", ()),
}


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of Neutron."""
    service = _Networks(cloud)
    read, write = needs("network:read"), needs("network:write")
    base = "/network/v2.0"
    found = [
        web.get(f"{base}/extensions", read(service.extensions)),
        web.get(f"{base}/extensions/{{name}}", read(service.extension)),
        web.get(f"{base}/quotas/{{project}}", read(service.quotas)),
        web.get(f"{base}/quotas/{{project}}/default", read(service.quotas)),
        web.get(f"{base}/availability_zones", read(service.zones)),
    ]
    found += [web.get(f"{base}/{empty}", read(service.nothing(empty))) for empty in EMPTY]
    for path, (_table, _word, changeable) in _KINDS.items():
        found += [
            web.get(f"{base}/{path}", read(service.listed(path))),
            web.get(f"{base}/{path}/{{id}}", read(service.show(path))),
            web.post(f"{base}/{path}", write(service.create(path))),
            web.delete(f"{base}/{path}/{{id}}", write(service.delete(path))),
        ]
        if changeable:
            found.append(web.put(f"{base}/{path}/{{id}}", write(service.change(path))))
    return found


Handler = Callable[[web.Request], Any]


class _Networks:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._creators = {
            "networks": self._create_network,
            "subnets": self._create_subnet,
            "ports": self._create_port,
            "security-groups": self._create_group,
            "security-group-rules": self._create_rule,
        }

    # --- reading ----------------------------------------------------------------------------------------

    def listed(self, path: str) -> Handler:
        table, word, _changeable = _KINDS[path]

        async def handler(request: web.Request) -> web.Response:
            async with self._cloud.store.write() as connection:
                await self._default_group(connection, request[IDENTITY].project_id)
            async with self._cloud.store.read() as connection:
                query = select(table).order_by(table.c.created_at, table.c.id)
                rows = [row for row in (await connection.execute(query)).all() if _is_visible(request, row)]
                views = [await self._view(connection, path, row) for row in rows]
            views = [_chosen_fields(view, request) for view in views if _matches(view, request)]
            found, _more = page(request, views, lambda view: str(view.get("id", "")))
            return answer({path.replace("-", "_") if word != "network" else path: found})

        return handler

    def show(self, path: str) -> Handler:
        _table, word, _changeable = _KINDS[path]

        async def handler(request: web.Request) -> web.Response:
            async with self._cloud.store.read() as connection:
                row = await self._get(connection, path, request)
                return answer({word: await self._view(connection, path, row)})

        return handler

    async def _get(self, connection: AsyncConnection, path: str, request: web.Request) -> Any:
        table, word, _changeable = _KINDS[path]
        wanted = request.match_info["id"]
        row = (await connection.execute(select(table).where(table.c.id == wanted))).first()
        if row is None or not _is_visible(request, row):
            title = "".join(part.capitalize() for part in word.split("_"))
            raise Fault(404, f"{title} {wanted[:64]} could not be found.", f"{title}NotFound")
        return row

    async def _view(self, connection: AsyncConnection, path: str, row: Any) -> dict[str, Any]:
        document = dict(row._mapping)  # the public name of a row's own columns
        document["tenant_id"] = row.project_id
        document["created_at"], document["updated_at"] = (
            iso(row.created_at),
            iso(row.updated_at or row.created_at),
        )
        document.setdefault("tags", [])
        document["revision_number"] = 1
        if path == "networks":
            query = select(SUBNETS.c.id).where(SUBNETS.c.network_id == row.id)
            document["subnets"] = list((await connection.execute(query)).scalars())
            document.update(
                {
                    "status": "ACTIVE",
                    "router:external": False,
                    "port_security_enabled": True,
                    "availability_zones": ["nova"],
                    "availability_zone_hints": [],
                    "provider:network_type": "local",
                }
            )
        elif path == "ports":
            document.update(
                {
                    "binding:vnic_type": "normal",
                    "allowed_address_pairs": [],
                    "extra_dhcp_opts": [],
                    "port_security_enabled": True,
                    "dns_assignment": [],
                }
            )
        elif path == "subnets":
            document.update({"subnetpool_id": None, "service_types": []})
        elif path == "security-groups":
            query = select(SECURITY_GROUP_RULES).where(SECURITY_GROUP_RULES.c.security_group_id == row.id)
            rules = (await connection.execute(query)).all()
            views = [await self._view(connection, "security-group-rules", rule) for rule in rules]
            document.update(security_group_rules=views, stateful=True, shared=False)
        return document

    def nothing(self, path: str) -> Handler:
        """An empty list: the clients ask for it, and there are none here."""

        async def handler(_request: web.Request) -> web.Response:
            return answer({path.replace("-", "_"): []})

        return handler

    async def extensions(self, _request: web.Request) -> web.Response:
        names = ("security-group", "port-security", "binding", "net-mtu", "availability_zone", "quotas")
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

    async def quotas(self, _request: web.Request) -> web.Response:
        return answer({"quota": QUOTAS})

    async def zones(self, _request: web.Request) -> web.Response:
        return answer({"availability_zones": [{"name": "nova", "resource": "network", "state": "available"}]})

    # --- creating ---------------------------------------------------------------------------------------

    def create(self, path: str) -> Handler:
        table, word, _changeable = _KINDS[path]

        async def handler(request: web.Request) -> web.Response:
            async with self._cloud.store.write() as connection:
                await self._default_group(connection, request[IDENTITY].project_id)
                new_id = await self._creators[path](connection, request)
                row = (await connection.execute(select(table).where(table.c.id == new_id))).one()
                return answer({word: await self._view(connection, path, row)}, 201)

        return handler

    def _common(self, request: web.Request) -> dict[str, Any]:
        return {
            "id": self._cloud.new_id(),
            "project_id": request[IDENTITY].project_id,
            "created_at": self._cloud.clock(),
        }

    async def _create_network(self, connection: AsyncConnection, request: web.Request) -> str:
        wish = (await read_body(request, _NetworkBody)).network
        if wish.shared and not request[IDENTITY].is_admin:
            raise Fault(403, "rule:create_network:shared is disallowed by policy")
        if wish.mtu is not None and not 68 <= wish.mtu <= 65535:
            raise Fault(400, "Invalid input for mtu: 68 to 65535 is possible.")
        row = {
            **self._common(request),
            "name": wish.name,
            "admin_state_up": wish.admin_state_up,
            "shared": wish.shared,
            "mtu": wish.mtu or 1500,
            "description": wish.description,
        }
        await connection.execute(insert(NETWORKS).values(**row))
        return str(row["id"])

    async def _create_subnet(self, connection: AsyncConnection, request: web.Request) -> str:
        wish = (await read_body(request, _SubnetBody)).subnet
        network_row = await networks.get(connection, NETWORKS, "Network", wish.network_id)
        if network_row.project_id != request[IDENTITY].project_id and not request[IDENTITY].is_admin:
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
        networks.check_subnet(network, gateway, wish.allocation_pools)
        row = {
            **self._common(request),
            **{
                name: getattr(wish, name)
                for name in (
                    "network_id",
                    "name",
                    "enable_dhcp",
                    "dns_nameservers",
                    "host_routes",
                    "ipv6_address_mode",
                    "ipv6_ra_mode",
                    "description",
                )
            },
            "cidr": str(network),
            "ip_version": network.version,
            "gateway_ip": gateway,
            "allocation_pools": wish.allocation_pools or networks.default_pool(network, gateway),
        }
        await connection.execute(insert(SUBNETS).values(**row))
        return str(row["id"])

    async def _create_port(self, connection: AsyncConnection, request: web.Request) -> str:
        wish = (await read_body(request, _PortBody)).port
        network_row = await networks.get(connection, NETWORKS, "Network", wish.network_id)
        if not _is_visible(request, network_row):
            raise Fault(404, f"Network {wish.network_id} could not be found.", "NetworkNotFound")
        common = self._common(request)
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
            fixed_ips=wish.fixed_ips,
            name=wish.name,
            device_id=wish.device_id,
            device_owner=wish.device_owner,
            admin_state_up=wish.admin_state_up,
            security_groups=wish.security_groups or [],
            description=wish.description,
        )
        return str(common["id"])

    async def _create_group(self, connection: AsyncConnection, request: web.Request) -> str:
        wish = (await read_body(request, _SecurityGroupBody)).security_group
        if wish.name == "default":
            raise Fault(409, "Default security group already exists.")
        row = {**self._common(request), "name": wish.name, "description": wish.description}
        await connection.execute(insert(SECURITY_GROUPS).values(**row))
        for family in ("IPv4", "IPv6"):
            rule = {
                **self._common(request),
                "security_group_id": row["id"],
                "direction": "egress",
                "ethertype": family,
            }
            await connection.execute(insert(SECURITY_GROUP_RULES).values(**rule))
        return str(row["id"])

    async def _create_rule(self, connection: AsyncConnection, request: web.Request) -> str:
        wish = (await read_body(request, _RuleBody)).security_group_rule
        group = await networks.get(connection, SECURITY_GROUPS, "Security group", wish.security_group_id)
        if not _is_visible(request, group):
            raise Fault(404, f"Security group {wish.security_group_id} does not exist")
        if wish.direction not in {"ingress", "egress"}:
            raise Fault(400, "Invalid input for direction. Use ingress or egress.")
        if wish.remote_ip_prefix is not None:
            networks.parse_cidr(wish.remote_ip_prefix)
        row = {
            **self._common(request),
            **{name: getattr(wish, name) for name in wish.__struct_fields__ if name != "protocol"},
            "protocol": None if wish.protocol is None else str(wish.protocol),
        }
        await connection.execute(insert(SECURITY_GROUP_RULES).values(**row))
        return str(row["id"])

    async def _default_group(self, connection: AsyncConnection, project_id: str) -> None:
        """Every project has a security group `default`; it is made when it is first looked for."""
        query = (
            select(func.count())
            .select_from(SECURITY_GROUPS)
            .where(SECURITY_GROUPS.c.project_id == project_id, SECURITY_GROUPS.c.name == "default")
        )
        if (await connection.execute(query)).scalar():
            return
        row = {
            "id": self._cloud.new_id(),
            "project_id": project_id,
            "name": "default",
            "description": "Default security group",
            "created_at": self._cloud.clock(),
        }
        await connection.execute(insert(SECURITY_GROUPS).values(**row))

    # --- changing ---------------------------------------------------------------------------------------

    def change(self, path: str) -> Handler:
        table, word, changeable = _KINDS[path]

        async def handler(request: web.Request) -> web.Response:
            given: dict[str, Any] = getattr(await read_body(request, _AnyBody), word)
            refused = [name for name in given if name not in changeable]
            if refused:
                raise Fault(400, f"Cannot update read-only attribute {', '.join(refused)[:100]}")
            async with self._cloud.store.write() as connection:
                row = await self._owned(connection, path, request)
                values = {**given, "updated_at": self._cloud.clock()}
                await connection.execute(update(table).where(table.c.id == row.id).values(**values))
                row = (await connection.execute(select(table).where(table.c.id == row.id))).one()
                return answer({word: await self._view(connection, path, row)})

        return handler

    async def _owned(self, connection: AsyncConnection, path: str, request: web.Request) -> Any:
        row = await self._get(connection, path, request)
        if row.project_id != request[IDENTITY].project_id and not request[IDENTITY].is_admin:
            raise Fault(403, f"{path} of another project cannot be changed.")
        return row

    def delete(self, path: str) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            async with self._cloud.store.write() as connection:
                row = await self._owned(connection, path, request)
                await _REMOVERS[path](connection, row)
            return web.Response(status=204)

        return handler


async def _remove_port(connection: AsyncConnection, row: Any) -> None:
    await networks.remove_port(connection, row.id)


async def _remove_network(connection: AsyncConnection, row: Any) -> None:
    await networks.remove_network(connection, row.id)


async def _remove_subnet(connection: AsyncConnection, row: Any) -> None:
    await networks.remove_subnet(connection, row.id)


async def _remove_group(connection: AsyncConnection, row: Any) -> None:
    if row.name == "default":
        raise Fault(409, "Removing default security group not allowed.")
    await connection.execute(delete(SECURITY_GROUPS).where(SECURITY_GROUPS.c.id == row.id))


async def _remove_rule(connection: AsyncConnection, row: Any) -> None:
    await connection.execute(delete(SECURITY_GROUP_RULES).where(SECURITY_GROUP_RULES.c.id == row.id))


_REMOVERS = {
    "networks": _remove_network,
    "subnets": _remove_subnet,
    "ports": _remove_port,
    "security-groups": _remove_group,
    "security-group-rules": _remove_rule,
}


def _is_visible(request: web.Request, row: Any) -> bool:
    identity = request[IDENTITY]
    return row.project_id == identity.project_id or identity.is_admin or bool(getattr(row, "shared", False))


def _matches(view: Mapping[str, Any], request: web.Request) -> bool:
    for name, value in request.query.items():
        if name not in view or name in {"limit", "marker", "sort_key", "sort_dir", "fields"}:
            continue
        found = view[name]
        if isinstance(found, bool):
            if found != truth(value):
                return False
        elif str(found) not in request.query.getall(name):
            return False
    return True


def _chosen_fields(view: dict[str, Any], request: web.Request) -> dict[str, Any]:
    fields = request.query.getall("fields", [])
    return {name: value for name, value in view.items() if name in fields} if fields else view
