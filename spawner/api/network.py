"""Neutron v2.0: networks, subnets, ports, security groups, and the list of extensions."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import devices, floating_ips, networks
from spawner.api import network_forms as forms
from spawner.api import network_lists, quotas
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY, answer, caller, declare, iso, needs, page, read_body
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
# Neutron's names of protocols, beside their numbers.
PROTOCOLS = frozenset(
    {
        "ah", "any", "dccp", "egp", "esp", "gre", "hopopt", "icmp", "icmpv6", "igmp", "ip", "ipip",
        "ipv6-encap", "ipv6-frag", "ipv6-icmp", "ipv6-nonxt", "ipv6-opts", "ipv6-route", "ospf", "pgm",
        "rsvp", "sctp", "tcp", "udp", "udplite", "vrrp",
    }
)  # fmt: skip

_RULE_FIELDS = (
    "security_group_id",
    "direction",
    "ethertype",
    "port_range_min",
    "port_range_max",
    "remote_ip_prefix",
    "remote_group_id",
)


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
            "security-groups": (forms.SecurityGroupBody, self._create_group),
            "security-group-rules": (forms.RuleBody, self._create_rule),
        }

    # --- reading ----------------------------------------------------------------------------------------

    def listed(self, path: str) -> Handler:
        table, word, _changeable = _KINDS[path]

        async def handler(request: web.Request) -> web.Response:
            async with self._cloud.store.write() as connection:
                await self._default_group(connection, request[IDENTITY].project_id)
            async with self._cloud.store.read() as connection:
                query = select(table).order_by(table.c.created_at, table.c.id)
                rows = [
                    row for row in (await connection.execute(query)).all() if _is_visible(path, request, row)
                ]
                views = [await self._view(connection, path, row) for row in rows]
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
                return answer({word: await self._view(connection, path, row)})

        return handler

    async def _get(self, connection: AsyncConnection, path: str, request: web.Request) -> Any:
        table, word, _changeable = _KINDS[path]
        wanted = request.match_info["id"]
        row = (await connection.execute(select(table).where(table.c.id == wanted))).first()
        if row is None or not _is_visible(path, request, row):
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
                    "router:external": networks.is_external(row),
                    "port_security_enabled": True,
                    "availability_zones": ["nova"],
                    "availability_zone_hints": [],
                    "provider:network_type": "local",
                    "provider:physical_network": None,
                    "provider:segmentation_id": None,
                    "ipv4_address_scope": None,
                    "ipv6_address_scope": None,
                    "is_default": False,
                    "qos_policy_id": None,
                    "vlan_transparent": None,
                    "dns_domain": "",
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
                    "dns_name": "",
                    "dns_domain": "",
                    "binding:host_id": "",
                    "binding:profile": {},
                    "binding:vif_type": "other" if row.device_id else "unbound",
                    # Neutron's word for whether the rules of security groups are held: no backend does.
                    "binding:vif_details": {"port_filter": False},
                    "ip_allocation": "immediate" if row.fixed_ips else "none",
                    "propagate_uplink_status": False,
                    "qos_policy_id": None,
                    "qos_network_policy_id": None,
                    "resource_request": None,
                    "device_profile": None,
                    "data_plane_status": None,
                    "numa_affinity_policy": None,
                    "hardware_offload_type": None,
                }
            )
        elif path == "subnets":
            document.update(
                {
                    "subnetpool_id": None,
                    "service_types": [],
                    "segment_id": None,
                    "dns_publish_fixed_ip": False,
                }
            )
        elif path == "security-group-rules":
            document["remote_address_group_id"] = None
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
                await self._default_group(connection, request[IDENTITY].project_id)
                owner = wish.project_id or wish.tenant_id or request[IDENTITY].project_id
                await quotas.check_network(connection, owner, word)
                new_id = await creator(connection, request, wish)
                row = (await connection.execute(select(table).where(table.c.id == new_id))).one()
                return answer({word: await self._view(connection, path, row)}, 201)

        return declare(handler, form)

    def _common(self, request: web.Request, wish: forms.Owned) -> dict[str, Any]:
        own = request[IDENTITY].project_id
        owner = wish.project_id or wish.tenant_id or own
        if owner != own and not request[IDENTITY].is_admin:
            raise Fault(403, "rule:create for another project is disallowed by policy")
        return {
            "id": self._cloud.new_id(),
            "project_id": owner,
            "created_at": self._cloud.clock(),
            "description": wish.description,
        }

    async def _create_network(
        self, connection: AsyncConnection, request: web.Request, wish: forms.Network
    ) -> str:
        if wish.shared and not request[IDENTITY].is_admin:
            raise Fault(403, "rule:create_network:shared is disallowed by policy")
        row = {
            **self._common(request, wish),
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
        plain = msgspec.to_builtins(wish)
        pools = plain["allocation_pools"]
        networks.check_subnet(network, gateway, pools)
        networks.check_routes(plain["host_routes"], wish.dns_nameservers)
        row = {
            **self._common(request, wish),
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
        if not network_lists.is_visible(request, network_row):
            raise Fault(404, f"Network {wish.network_id} could not be found.", "NetworkNotFound")
        common = self._common(request, wish)
        await self._check_groups(connection, common["project_id"], wish.security_groups or [])
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

    async def _check_groups(self, connection: AsyncConnection, project_id: str, wanted: list[str]) -> None:
        """Raise Fault 404 for a security group that the project does not have."""
        query = select(SECURITY_GROUPS.c.id).where(SECURITY_GROUPS.c.project_id == project_id)
        known = set((await connection.execute(query)).scalars())
        for group_id in wanted:
            if group_id not in known:
                raise Fault(404, f"Security group {group_id[:64]} does not exist", "SecurityGroupNotFound")

    async def _create_group(
        self, connection: AsyncConnection, request: web.Request, wish: forms.SecurityGroup
    ) -> str:
        if wish.name == "default":
            raise Fault(409, "Default security group already exists.")
        row = {**self._common(request, wish), "name": wish.name}
        await connection.execute(insert(SECURITY_GROUPS).values(**row))
        await quotas.check_network(connection, str(row["project_id"]), "security_group_rule", 2)
        for family in ("IPv4", "IPv6"):
            rule = {
                **self._common(request, wish),
                "description": "",
                "security_group_id": row["id"],
                "direction": "egress",
                "ethertype": family,
            }
            await connection.execute(insert(SECURITY_GROUP_RULES).values(**rule))
        return str(row["id"])

    async def _create_rule(self, connection: AsyncConnection, request: web.Request, wish: forms.Rule) -> str:
        group = await networks.get(connection, SECURITY_GROUPS, "Security group", wish.security_group_id)
        if not network_lists.is_visible(request, group):
            raise Fault(404, f"Security group {wish.security_group_id} does not exist")
        if wish.remote_group_id is not None:
            await self._check_groups(connection, group.project_id, [wish.remote_group_id])
        if wish.remote_ip_prefix is not None:
            networks.parse_cidr(wish.remote_ip_prefix)
        row = {
            **self._common(request, wish),
            **{name: getattr(wish, name) for name in _RULE_FIELDS},
            "protocol": _protocol(wish.protocol),
        }
        _check_ports(wish)
        same = [SECURITY_GROUP_RULES.c[name] == row[name] for name in (*_RULE_FIELDS, "protocol")]
        if found := (await connection.execute(select(SECURITY_GROUP_RULES.c.id).where(*same))).scalar():
            text = f"Security group rule already exists. Rule id is {found}."
            raise Fault(409, text, "SecurityGroupRuleExists")
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
                return answer({word: await self._view(connection, path, row)})

        return declare(handler, form)

    async def _check_change(
        self, connection: AsyncConnection, path: str, row: Any, given: Mapping[str, Any]
    ) -> None:
        if path == "subnets":
            networks.check_subnet(ipaddress.ip_network(row.cidr), given.get("gateway_ip"), [])
            networks.check_routes([], given.get("dns_nameservers", []))
        elif path == "ports":
            await self._check_groups(connection, row.project_id, given.get("security_groups", []))
        elif path == "security-groups" and "default" in {row.name, given.get("name")} and "name" in given:
            raise Fault(409, "Updating default security group not allowed.")

    async def _owned(self, connection: AsyncConnection, path: str, request: web.Request) -> Any:
        row = await self._get(connection, path, request)
        if row.project_id != request[IDENTITY].project_id and not request[IDENTITY].is_admin:
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


def _protocol(wish: str | int | None) -> str | None:
    """A protocol by name or number. Raises Fault 400."""
    if wish is None:
        return None
    word = str(wish).lower()
    if word not in PROTOCOLS and not (word.isdecimal() and int(word) <= 255):  # one octet
        raise Fault(
            400,
            f"Security group rule protocol {word[:40]} not supported. Only protocol values"
            f" {sorted(PROTOCOLS)} and integer representations [0 to 255] are supported.",
            "SecurityGroupRuleInvalidProtocol",
        )
    return word


def _check_ports(wish: forms.Rule) -> None:
    """Raise Fault 400 for a range of ports that ends before it begins."""
    first, last = wish.port_range_min, wish.port_range_max
    word = str(wish.protocol).lower()
    if word not in {"icmp", "icmpv6", "ipv6-icmp", "1", "58"} and None not in {first, last} and first > last:  # type: ignore[operator]  # neither is None
        text = "For TCP/UDP protocols, port_range_min must be <= port_range_max"
        raise Fault(400, text, "SecurityGroupInvalidPortRange")


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
    return network_lists.is_visible(request, row)


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
