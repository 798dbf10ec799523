"""What a project may have: one table of defaults, what admins set instead, the checks before more is made.

Each service refuses in its own way: Nova with 403, Neutron with 409, Cinder with 413, in their words.
Source: nova.exception.OverQuota and below, neutron_lib's OverQuota, cinder.exception.QuotaError.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, bindparam, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner.api.faults import Fault
from spawner.states import VmState
from spawner.store.servers import Flavor
from spawner.store.tables import (
    FLOATING_IPS,
    KEYPAIRS,
    NETWORKS,
    PORTS,
    PROJECT_QUOTAS,
    SECURITY_GROUP_RULES,
    SECURITY_GROUPS,
    SERVER_GROUPS,
    SERVERS,
    SUBNETS,
    VOLUMES,
)

UNLIMITED = -1
MOST = 2**31 - 1
# Service -> resource -> how much of it a project may have. 0: the cloud has none of it.
DEFAULTS: dict[str, dict[str, int]] = {
    "compute": {
        "instances": 100,
        "cores": 200,
        "ram": 512 * 1024,
        "key_pairs": 100,
        "metadata_items": 128,
        "server_groups": 10,
        "server_group_members": 100,
        "injected_files": 5,
        "injected_file_content_bytes": 10240,
        "injected_file_path_bytes": 255,
    },
    "network": {
        "network": 100,
        "subnet": 100,
        "port": 500,
        "security_group": 10,
        "security_group_rule": 100,
        "router": 0,
        "floatingip": 50,
        "subnetpool": 0,
        "rbac_policy": 0,
    },
    "volume": {
        "volumes": 100,
        "gigabytes": 10_000,
        "snapshots": 0,
        "backups": 0,
        "backup_gigabytes": 0,
        "groups": 0,
        "per_volume_gigabytes": 10_000,
    },
}
# What belongs to a file of a server is the same for every project.
FIXED = frozenset({"injected_files", "injected_file_content_bytes", "injected_file_path_bytes"})
NETWORK_TABLES: dict[str, Table] = {
    "network": NETWORKS,
    "subnet": SUBNETS,
    "port": PORTS,
    "floatingip": FLOATING_IPS,
    "security_group": SECURITY_GROUPS,
    "security_group_rule": SECURITY_GROUP_RULES,
}


_LIMITS = select(PROJECT_QUOTAS).where(
    PROJECT_QUOTAS.c.project_id == bindparam("project_id"), PROJECT_QUOTAS.c.service == bindparam("service")
)

# --- limits ---------------------------------------------------------------------------------------------


async def limits(connection: AsyncConnection, service: str, project_id: str) -> dict[str, int]:
    """Resource -> limit; -1 for none."""
    rows = await connection.execute(_LIMITS, {"project_id": project_id, "service": service})
    changed = {row.resource: row.limit for row in rows}
    return {name: changed.get(name, default) for name, default in DEFAULTS[service].items()}


async def change(
    connection: AsyncConnection,
    service: str,
    project_id: str,
    wanted: Mapping[str, int],
    *,
    used: Mapping[str, int],
    force: bool,
) -> None:
    """Set limits of a project. Raises Fault 400 for what cannot be one."""
    for name, limit in wanted.items():
        default = DEFAULTS[service].get(name)
        if default is None:
            raise Fault(400, f"Additional properties are not allowed ('{name[:64]}' was unexpected)")
        if not UNLIMITED <= limit <= MOST:
            raise Fault(400, f"Invalid input for field/attribute {name}. Value: {limit}. Use -1 to {MOST}.")
        if (default == 0 and limit != 0) or (name in FIXED and limit != default):
            raise Fault(400, f"Invalid input for field/attribute {name}: this cloud has {default}, always.")
        if not force and limit != UNLIMITED and limit < used.get(name, 0):
            raise Fault(
                400,
                f"Quota limit {limit} for {name} must be greater than or equal to already used and reserved"
                f" {used[name]}.",
            )
    for name, limit in wanted.items():
        await connection.execute(
            delete(PROJECT_QUOTAS).where(
                PROJECT_QUOTAS.c.project_id == project_id,
                PROJECT_QUOTAS.c.service == service,
                PROJECT_QUOTAS.c.resource == name,
            )
        )
        await connection.execute(
            insert(PROJECT_QUOTAS).values(project_id=project_id, service=service, resource=name, limit=limit)
        )


async def forget(connection: AsyncConnection, service: str, project_id: str) -> None:
    """Back to the defaults."""
    await connection.execute(
        delete(PROJECT_QUOTAS).where(
            PROJECT_QUOTAS.c.project_id == project_id, PROJECT_QUOTAS.c.service == service
        )
    )


def _is_over(limit: int, used: int, more: int) -> bool:
    return limit != UNLIMITED and used + more > limit


# --- what is used ---------------------------------------------------------------------------------------


async def _count(connection: AsyncConnection, table: Table, *conditions: Any) -> int:
    query = select(func.count()).select_from(table).where(*conditions)
    return int((await connection.execute(query)).scalar() or 0)


async def used_of_compute(connection: AsyncConnection, project_id: str) -> dict[str, int]:
    """What a project has of Nova's resources."""
    return dict((await connection.execute(_USED_OF_COMPUTE, {"project_id": project_id})).one()._mapping)


def _sum_of_flavors(name: str) -> ColumnElement[int]:
    """A field of the flavors that servers have, added up by the store: it need not hand over each server."""
    return func.coalesce(func.sum(SERVERS.c.flavor[name].as_integer()), 0)


def _count_of(table: Table) -> Select[Any]:
    """How many rows of a table are a project's."""
    return select(func.count()).select_from(table).where(table.c.project_id == bindparam("project_id"))


_USED_OF_COMPUTE = select(
    func.count().label("instances"),
    _sum_of_flavors("vcpus").label("cores"),
    _sum_of_flavors("ram_mib").label("ram"),
    _count_of(SERVER_GROUPS).scalar_subquery().label("server_groups"),
).where(SERVERS.c.project_id == bindparam("project_id"), SERVERS.c.vm_state != VmState.DELETED.value)


async def used_of_network(connection: AsyncConnection, project_id: str) -> dict[str, int]:
    """What a project has of Neutron's resources."""
    return {
        name: await _count(connection, table, table.c.project_id == project_id)
        for name, table in NETWORK_TABLES.items()
    }


async def used_of_volume(connection: AsyncConnection, project_id: str) -> dict[str, int]:
    """What a project has of Cinder's resources."""
    query = select(VOLUMES.c.size_gib).where(VOLUMES.c.project_id == project_id)
    sizes = list((await connection.execute(query)).scalars())
    return {"volumes": len(sizes), "gigabytes": sum(sizes)}


USED = {"compute": used_of_compute, "network": used_of_network, "volume": used_of_volume}


# --- checks ---------------------------------------------------------------------------------------------


async def servers_left(
    connection: AsyncConnection, project_id: str, flavor: Flavor, least: int, most: int
) -> int:
    """How many servers of a flavor there may be made, from `least` to `most`. Raises Fault 403 for fewer."""
    used = await used_of_compute(connection, project_id)
    allowed = await limits(connection, "compute", project_id)
    one = {"instances": 1, "cores": flavor.vcpus, "ram": flavor.ram_mib}
    for count in range(most, least - 1, -1):
        over = [name for name, size in one.items() if _is_over(allowed[name], used[name], count * size)]
        if not over:
            return count
    name = over[0]
    raise Fault(
        403,
        f"Quota exceeded for {name}: Requested {least * one[name]}, but already used {used[name]}"
        f" of {allowed[name]} {name}",
    )


async def check_resize(connection: AsyncConnection, project_id: str, old: Flavor, new: Flavor) -> None:
    """Raise Fault 403 when a larger flavor would pass what a project may have."""
    used = await used_of_compute(connection, project_id)
    allowed = await limits(connection, "compute", project_id)
    for name, more in (("cores", new.vcpus - old.vcpus), ("ram", new.ram_mib - old.ram_mib)):
        if more > 0 and _is_over(allowed[name], used[name], more):
            raise Fault(
                403,
                f"Quota exceeded for {name}: Requested {more}, but already used {used[name]}"
                f" of {allowed[name]} {name}",
            )


async def check_key_pairs(connection: AsyncConnection, project_id: str, user_id: str) -> None:
    """Raise Fault 403 when a user has as many key pairs as they may."""
    allowed = (await limits(connection, "compute", project_id))["key_pairs"]
    if _is_over(allowed, await _count(connection, KEYPAIRS, KEYPAIRS.c.user_id == user_id), 1):
        raise Fault(403, "Quota exceeded, too many key pairs.")


async def check_server_groups(connection: AsyncConnection, project_id: str) -> None:
    """Raise Fault 403 when a project has as many server groups as it may."""
    allowed = (await limits(connection, "compute", project_id))["server_groups"]
    used = await _count(connection, SERVER_GROUPS, SERVER_GROUPS.c.project_id == project_id)
    if _is_over(allowed, used, 1):
        raise Fault(403, "Quota exceeded, too many server groups.")


async def check_members(connection: AsyncConnection, project_id: str, group_id: str) -> None:
    """Raise Fault 403 when a server group has as many servers as it may."""
    allowed = (await limits(connection, "compute", project_id))["server_group_members"]
    used = await _count(
        connection, SERVERS, SERVERS.c.group_id == group_id, SERVERS.c.vm_state != VmState.DELETED.value
    )
    if _is_over(allowed, used, 1):
        raise Fault(403, "Quota exceeded, too many servers in group")


async def check_metadata(connection: AsyncConnection, project_id: str, items: int) -> None:
    """Raise Fault 403 for more items of metadata than a server may have; none at all are never too many."""
    if not items:
        return
    allowed = (await limits(connection, "compute", project_id))["metadata_items"]
    if _is_over(allowed, 0, items):
        raise Fault(403, f"Maximum number of metadata items exceeds {allowed}")


async def check_network(connection: AsyncConnection, project_id: str, resource: str, more: int = 1) -> None:
    """Raise Fault 409 when a project has as much of a resource of Neutron as it may."""
    if await _is_over_of_network(connection, project_id, resource, more):
        raise Fault(409, f"Quota exceeded for resources: ['{resource}'].", "OverQuota")


async def check_ports_of_server(connection: AsyncConnection, project_id: str, more: int) -> None:
    """Raise Fault 403, as Nova says it, when the ports of a new server are more than a project may have."""
    if await _is_over_of_network(connection, project_id, "port", more):
        raise Fault(403, "Maximum number of ports exceeded")


async def _is_over_of_network(connection: AsyncConnection, project_id: str, resource: str, more: int) -> bool:
    """Limit and count in one question: every new server asks it of its ports."""
    default, query = DEFAULTS["network"].get(resource, 0), _USED_AND_LIMIT.get(resource)
    if query is None:
        return _is_over(default, 0, more)
    used, limit = (await connection.execute(query, {"project_id": project_id})).one()
    return _is_over(default if limit is None else limit, used, more)


def _used_and_limit(resource: str, table: Table) -> Select[Any]:
    """How much a project has of a resource of Neutron, and what an admin has set for it."""
    limit = select(PROJECT_QUOTAS.c.limit).where(
        PROJECT_QUOTAS.c.project_id == bindparam("project_id"),
        PROJECT_QUOTAS.c.service == "network",
        PROJECT_QUOTAS.c.resource == resource,
    )
    return select(_count_of(table).scalar_subquery(), limit.scalar_subquery())


_USED_AND_LIMIT = {name: _used_and_limit(name, table) for name, table in NETWORK_TABLES.items()}


async def check_volumes(
    connection: AsyncConnection, project_id: str, more_gib: int, more_volumes: int
) -> None:
    """Raise Fault 413 when volumes or their sizes would pass what a project may have."""
    used = await used_of_volume(connection, project_id)
    allowed = await limits(connection, "volume", project_id)
    if _is_over(allowed["volumes"], used["volumes"], more_volumes):
        raise Fault(
            413,
            f"VolumeLimitExceeded: Maximum number of volumes allowed ({allowed['volumes']}) exceeded for"
            " quota 'volumes'.",
            headers={"Retry-After": "0"},
        )
    if _is_over(allowed["gigabytes"], used["gigabytes"], more_gib):
        raise Fault(
            413,
            "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes quota."
            f" Requested {more_gib}G, quota is {allowed['gigabytes']}G and {used['gigabytes']}G has been"
            " consumed.",
            headers={"Retry-After": "0"},
        )
