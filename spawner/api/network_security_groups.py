"""Security groups and their rules: what may be made, what may not be changed, the group of every project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import networks
from spawner.api import network_forms as forms
from spawner.api import network_ownership as ownership
from spawner.api import quotas
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.store.tables import SECURITY_GROUP_RULES, SECURITY_GROUPS

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


async def add_default(cloud: Cloud, connection: AsyncConnection, project_id: str) -> None:
    """Every project has a security group `default`; it is made when it is first looked for."""
    query = (
        select(func.count())
        .select_from(SECURITY_GROUPS)
        .where(SECURITY_GROUPS.c.project_id == project_id, SECURITY_GROUPS.c.name == "default")
    )
    if (await connection.execute(query)).scalar():
        return
    row = {
        "id": cloud.new_id(),
        "project_id": project_id,
        "name": "default",
        "description": "Default security group",
        "created_at": cloud.clock(),
    }
    await connection.execute(insert(SECURITY_GROUPS).values(**row))


async def check_known(connection: AsyncConnection, project_id: str, wanted: list[str]) -> None:
    """Raise Fault 404 for a security group that the project does not have."""
    query = select(SECURITY_GROUPS.c.id).where(SECURITY_GROUPS.c.project_id == project_id)
    known = set((await connection.execute(query)).scalars())
    for group_id in wanted:
        if group_id not in known:
            raise Fault(404, f"Security group {group_id[:64]} does not exist", "SecurityGroupNotFound")


async def create_group(
    cloud: Cloud, connection: AsyncConnection, request: web.Request, wish: forms.SecurityGroup
) -> str:
    """A group as Neutron makes it, from which everything may go out; gives its id. Raises Fault 403, 409."""
    if wish.name == "default":
        raise Fault(409, "Default security group already exists.")
    row = {**ownership.new_row(cloud, request, wish), "name": wish.name}
    await connection.execute(insert(SECURITY_GROUPS).values(**row))
    await quotas.check_network(connection, str(row["project_id"]), "security_group_rule", 2)
    for family in ("IPv4", "IPv6"):
        rule = {
            **ownership.new_row(cloud, request, wish),
            "description": "",
            "security_group_id": row["id"],
            "direction": "egress",
            "ethertype": family,
        }
        await connection.execute(insert(SECURITY_GROUP_RULES).values(**rule))
    return str(row["id"])


async def create_rule(
    cloud: Cloud, connection: AsyncConnection, request: web.Request, wish: forms.Rule
) -> str:
    """A rule in a group that the caller sees; gives its id. Raises Fault 400, 403, 404, 409."""
    group = await networks.get(connection, SECURITY_GROUPS, "Security group", wish.security_group_id)
    if not ownership.is_visible(request, group):
        raise Fault(404, f"Security group {wish.security_group_id} does not exist")
    if wish.remote_group_id is not None:
        await check_known(connection, group.project_id, [wish.remote_group_id])
    if wish.remote_ip_prefix is not None:
        networks.parse_cidr(wish.remote_ip_prefix)
    row = {
        **ownership.new_row(cloud, request, wish),
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


def check_change(group: Any, given: Mapping[str, Any]) -> None:
    """Raise Fault 409 for a change of the name `default`, from it or to it."""
    if "default" in {group.name, given.get("name")} and "name" in given:
        raise Fault(409, "Updating default security group not allowed.")


async def remove_group(connection: AsyncConnection, row: Any) -> None:
    """Delete a group. Raises Fault 409 for the one of every project."""
    if row.name == "default":
        raise Fault(409, "Removing default security group not allowed.")
    await connection.execute(delete(SECURITY_GROUPS).where(SECURITY_GROUPS.c.id == row.id))


async def remove_rule(connection: AsyncConnection, row: Any) -> None:
    """Delete a rule."""
    await connection.execute(delete(SECURITY_GROUP_RULES).where(SECURITY_GROUP_RULES.c.id == row.id))


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
