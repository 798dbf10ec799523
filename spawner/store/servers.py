"""Servers in the store: one typed value, and the queries on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from sqlalchemy import Row, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner.errors import NotFound
from spawner.states import PowerState, TaskState, VmState, status
from spawner.store.tables import SERVERS


@dataclass(frozen=True)
class Flavor:
    """What a server may use, as it was when the server was made."""

    id: str
    name: str
    vcpus: int
    ram_mib: int
    disk_gib: int
    ephemeral_gib: int = 0
    swap_mib: int = 0
    extra_specs: Mapping[str, str] = field(default_factory=dict)

    def resources(self) -> dict[str, int]:
        """What placement counts for a server with a disk of its own; see `Server.needs`."""
        disk_gib = self.disk_gib + self.ephemeral_gib + -(-self.swap_mib // 1024)
        return {"VCPU": self.vcpus, "MEMORY_MB": self.ram_mib, "DISK_GB": disk_gib}


@dataclass(frozen=True)
class Server:
    """One server as the store has it."""

    id: str
    name: str
    hostname: str
    project_id: str
    user_id: str
    flavor: Flavor
    created_at: float
    vm_state: VmState = VmState.BUILDING
    task_state: TaskState | None = TaskState.SCHEDULING
    power_state: PowerState = PowerState.NOSTATE
    host: str | None = None
    availability_zone: str = ""
    image_id: str | None = None
    key_name: str | None = None
    public_key: str | None = None
    user_data: bytes | None = None
    config_drive: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    networks: tuple[Mapping[str, str], ...] = ()
    files: tuple[Mapping[str, str], ...] = ()
    hints: Mapping[str, str] = field(default_factory=dict)
    group_id: str | None = None
    locked: bool = False
    locked_reason: str | None = None
    fault: Mapping[str, Any] | None = None
    old_flavor: Flavor | None = None
    client_token: str | None = None
    launched_at: float | None = None
    terminated_at: float | None = None
    updated_at: float | None = None

    @property
    def boots_from_volume(self) -> bool:
        """Whether a volume stands in place of a disk of its own: only then it has no image."""
        return self.image_id is None

    def needs(self, flavor: Flavor) -> dict[str, int]:
        """What placement counts for it with a flavor; the root disk only where that is on the host.

        Ephemeral and swap disks are there in any case. Source: Nova's `resources_from_flavor`.
        """
        return (replace(flavor, disk_gib=0) if self.boots_from_volume else flavor).resources()

    @property
    def is_in_rescue(self) -> bool:
        """Whether it boots, if it is started now, from its rescue image."""
        if self.task_state in {TaskState.RESCUING, TaskState.UNRESCUING}:
            return self.task_state is TaskState.RESCUING
        return self.vm_state is VmState.RESCUED

    @property
    def status(self) -> str:
        """The word that the API shows."""
        return status(self.vm_state, self.task_state)


_NAMES = tuple(each.name for each in fields(Server))
# What every create asks is built once, here and elsewhere: SQLAlchemy takes longer to build a statement of
# many columns than to carry it out. The parameters say which columns an INSERT or UPDATE sets.
_ADD = insert(SERVERS)
_GET = select(SERVERS).where(
    SERVERS.c.id == bindparam("server_id"), SERVERS.c.vm_state != VmState.DELETED.value
)
_CHANGE = update(SERVERS).where(SERVERS.c.id == bindparam("server_id"))
_PLACED = (
    select(SERVERS.c.host, func.count())
    .where(SERVERS.c.vm_state != VmState.DELETED.value, SERVERS.c.host.is_not(None))
    .group_by(SERVERS.c.host)
)


def _to_column(value: object) -> object:
    if isinstance(value, (VmState, TaskState)):
        return value.value
    if isinstance(value, PowerState):
        return int(value)
    if isinstance(value, Flavor):
        return {each.name: getattr(value, each.name) for each in fields(Flavor)}
    if isinstance(value, tuple):
        return list(value)
    return value


def _from_row(row: Row[Any]) -> Server:
    given = {name: getattr(row, name) for name in _NAMES if name != "metadata"}
    return Server(
        **{
            **given,
            "metadata": row._mapping["metadata"],  # the public name of a row's own columns
            "vm_state": VmState(row.vm_state),
            "task_state": TaskState(row.task_state) if row.task_state else None,
            "power_state": PowerState(row.power_state),
            "flavor": Flavor(**row.flavor),
            "old_flavor": Flavor(**row.old_flavor) if row.old_flavor else None,
            "tags": tuple(row.tags),
            "security_groups": tuple(row.security_groups),
            "networks": tuple(row.networks),
            "files": tuple(row.files),
        }
    )


async def add(connection: AsyncConnection, server: Server) -> None:
    """Store a new server."""
    await connection.execute(_ADD, {name: _to_column(getattr(server, name)) for name in _NAMES})


async def get(connection: AsyncConnection, server_id: str, project_id: str | None = None) -> Server:
    """One server that is not deleted. Raises NotFound, also for another project's."""
    row = (await connection.execute(_GET, {"server_id": server_id})).first()
    if row is None or project_id not in {None, row.project_id}:
        raise NotFound("Instance", server_id)
    return _from_row(row)


async def claim_of(connection: AsyncConnection, server_id: str, host: str) -> tuple[bool, bool]:
    """Whether a server is on this host, and whether what a host has of it can go: it is deleted, or on none.

    Of a server that was never here nothing is known, and nothing of it may go.
    """
    query = select(SERVERS.c.host, SERVERS.c.vm_state).where(SERVERS.c.id == server_id)
    row = (await connection.execute(query)).first()
    if row is None:
        return False, False
    is_over = row.vm_state == VmState.DELETED.value or row.host is None
    return row.host == host and not is_over, is_over


async def by_client_token(connection: AsyncConnection, project_id: str, token: str) -> Server | None:
    """The server that an earlier request with this token made."""
    query = select(SERVERS).where(SERVERS.c.project_id == project_id, SERVERS.c.client_token == token)
    row = (await connection.execute(query)).first()
    return _from_row(row) if row is not None else None


async def listed(
    connection: AsyncConnection, *, project_id: str | None = None, host: str | None = None
) -> tuple[Server, ...]:
    """Servers that are not deleted, newest first."""
    query = select(SERVERS).where(SERVERS.c.vm_state != VmState.DELETED.value)
    if project_id is not None:
        query = query.where(SERVERS.c.project_id == project_id)
    if host is not None:
        query = query.where(SERVERS.c.host == host)
    rows = await connection.execute(query.order_by(SERVERS.c.created_at.desc(), SERVERS.c.id))
    return tuple(_from_row(row) for row in rows)


async def change(connection: AsyncConnection, server_id: str, now: float, **changes: object) -> None:
    """Set some fields of a server."""
    values = {name: _to_column(value) for name, value in changes.items()}
    await connection.execute(_CHANGE, {"server_id": server_id, "updated_at": now, **values})


async def placed(connection: AsyncConnection) -> dict[str, int]:
    """Host -> how many servers are on it."""
    return {row[0]: row[1] for row in await connection.execute(_PLACED)}


async def group_hosts(connection: AsyncConnection, group_id: str) -> dict[str, int]:
    """Host -> how many members of a server group are on it."""
    query = select(SERVERS.c.host).where(
        SERVERS.c.group_id == group_id,
        SERVERS.c.vm_state != VmState.DELETED.value,
        SERVERS.c.host.is_not(None),
    )
    found: dict[str, int] = {}
    for host in (await connection.execute(query)).scalars():
        found[host] = found.get(host, 0) + 1
    return found
