"""What the scheduler decides on, read from the store: what a server asks for, and the hosts there are."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import scheduler
from spawner.placement import Provider
from spawner.store import servers
from spawner.store.servers import Server
from spawner.store.tables import HOSTS, SERVER_GROUPS

_HOSTS = select(HOSTS)


async def request_of(
    connection: AsyncConnection, server: Server, failed: frozenset[str]
) -> scheduler.Request:
    """What a server asks of a host: what it needs, zone, traits and group. `failed`: hosts not to ask."""
    policy, group_hosts, most = "", {}, 1
    if server.group_id:
        query = select(SERVER_GROUPS).where(SERVER_GROUPS.c.id == server.group_id)
        group = (await connection.execute(query)).first()
        if group is not None:
            policy, most = group.policy, group.max_server_per_host
            group_hosts = await servers.group_hosts(connection, server.group_id)
    specs = server.flavor.extra_specs
    return scheduler.Request(
        resources=server.needs(server.flavor),
        zone=server.hints.get("availability_zone", ""),
        host=server.hints.get("host", ""),
        required_traits=frozenset(
            name.removeprefix("trait:") for name, value in specs.items() if value == "required"
        ),
        forbidden_traits=frozenset(
            name.removeprefix("trait:") for name, value in specs.items() if value == "forbidden"
        ),
        group_policy=policy,
        group_hosts=group_hosts,
        max_per_host=most,
        ignore_hosts=failed,
    )


async def hosts(
    connection: AsyncConnection, providers: Sequence[Provider], present: frozenset[str]
) -> list[scheduler.Host]:
    """Every host as the scheduler sees it; one whose compute service is not `present` counts as disabled."""
    placed = await servers.placed(connection)
    rows = {row.name: row for row in await connection.execute(_HOSTS)}
    return [
        scheduler.Host(
            provider.name,
            provider.id,
            zone=rows[provider.name].zone,
            enabled=not rows[provider.name].disabled and provider.name in present,
            disabled_reason=rows[provider.name].disabled_reason or "its compute service is not here",
            free={name: provider.free(name) for name in provider.inventories},
            total={name: inventory.capacity for name, inventory in provider.inventories.items()},
            traits=provider.traits,
            servers=placed.get(provider.name, 0),
        )
        for provider in providers
        if provider.name in rows
    ]
