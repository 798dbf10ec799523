"""Placement: what each host has, who uses how much of it, and claims that never oversubscribe.

A claim names the generation of the provider it has seen; the provider's row is changed only if that is still
so. Two claims at once therefore cannot both count the same free unit, on SQLite and on PostgreSQL alike.
Source: OpenStack Placement API (resource providers, inventories, allocations, generations).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner.errors import GenerationConflict, NotEnough, NotFound
from spawner.store.tables import ALLOCATIONS, INVENTORIES, PROVIDERS, TRAITS

VCPU = "VCPU"
MEMORY_MB = "MEMORY_MB"
DISK_GB = "DISK_GB"


@dataclass(frozen=True)
class Inventory:
    """What a provider has of one resource class. Capacity is (total - reserved) x allocation_ratio."""

    total: int
    reserved: int = 0
    allocation_ratio: float = 1.0
    min_unit: int = 1
    max_unit: int | None = None
    step_size: int = 1

    @property
    def capacity(self) -> int:
        """How much may be allocated in all."""
        return int((self.total - self.reserved) * self.allocation_ratio)

    def refuses(self, amount: int) -> bool:
        """Whether one consumer may not have this amount, however much is free."""
        largest = self.total if self.max_unit is None else self.max_unit
        return not self.min_unit <= amount <= largest or amount % self.step_size != 0


@dataclass(frozen=True)
class Provider:
    """A resource provider with its inventories, what is used of them, and its traits."""

    id: str
    name: str
    generation: int
    inventories: Mapping[str, Inventory] = field(default_factory=dict)
    used: Mapping[str, int] = field(default_factory=dict)
    traits: frozenset[str] = frozenset()

    def free(self, resource_class: str) -> int:
        """How much of a class can still be allocated; 0 for a class it does not have."""
        inventory = self.inventories.get(resource_class)
        return inventory.capacity - self.used.get(resource_class, 0) if inventory else 0


async def add_provider(connection: AsyncConnection, provider_id: str, name: str) -> None:
    """Make a provider with no inventory."""
    await connection.execute(insert(PROVIDERS).values(id=provider_id, name=name, generation=0))


async def set_inventories(
    connection: AsyncConnection, provider_id: str, inventories: Mapping[str, Inventory], generation: int
) -> None:
    """Replace a provider's inventories. Raises GenerationConflict, NotFound."""
    await _next_generation(connection, provider_id, generation)
    await connection.execute(delete(INVENTORIES).where(INVENTORIES.c.provider_id == provider_id))
    for resource_class, inventory in inventories.items():
        await connection.execute(
            insert(INVENTORIES).values(
                provider_id=provider_id,
                resource_class=resource_class,
                total=inventory.total,
                reserved=inventory.reserved,
                min_unit=inventory.min_unit,
                max_unit=inventory.total if inventory.max_unit is None else inventory.max_unit,
                step_size=inventory.step_size,
                allocation_ratio=inventory.allocation_ratio,
            )
        )


async def set_traits(
    connection: AsyncConnection, provider_id: str, traits: frozenset[str], generation: int
) -> None:
    """Replace a provider's traits. Raises GenerationConflict, NotFound."""
    await _next_generation(connection, provider_id, generation)
    await connection.execute(delete(TRAITS).where(TRAITS.c.provider_id == provider_id))
    for trait in sorted(traits):
        await connection.execute(insert(TRAITS).values(provider_id=provider_id, trait=trait))


async def providers(connection: AsyncConnection) -> tuple[Provider, ...]:
    """Every provider, by name, with inventories, usage and traits.

    One that another process adds meanwhile is in a later answer. What else it changes shows when it comes to
    a claim: the generation is another then.
    """
    rows = (await connection.execute(_WITH_INVENTORIES)).all()
    found = {row.provider_id: row for row in rows}
    inventories: dict[str, dict[str, Inventory]] = {each: {} for each in found}
    used: dict[str, dict[str, int]] = {each: {} for each in found}
    for row in rows:
        if row.resource_class is not None:
            inventories[row.provider_id][row.resource_class] = Inventory(
                row.total, row.reserved, row.allocation_ratio, row.min_unit, row.max_unit, row.step_size
            )
        if row.used is not None:
            used[row.provider_id][row.resource_class] = int(row.used)
    traits: dict[str, set[str]] = {each: set() for each in found}
    for row in await connection.execute(_ALL_TRAITS):
        if row.provider_id in traits:
            traits[row.provider_id].add(row.trait)
    return tuple(
        Provider(each, row.name, row.generation, inventories[each], used[each], frozenset(traits[each]))
        for each, row in found.items()
    )


def _with_inventories() -> Select[Any]:
    """Each provider with each of its inventories and what is used of it, by name; NULL where it has none."""
    used = (
        select(func.sum(ALLOCATIONS.c.used))
        .where(ALLOCATIONS.c.provider_id == INVENTORIES.c.provider_id)
        .where(ALLOCATIONS.c.resource_class == INVENTORIES.c.resource_class)
    )
    columns = [column for column in INVENTORIES.c if column.name != "provider_id"]
    return (
        select(PROVIDERS.c.id.label("provider_id"), PROVIDERS.c.name, PROVIDERS.c.generation, *columns)
        .add_columns(used.scalar_subquery().label("used"))
        .outerjoin_from(PROVIDERS, INVENTORIES)
        .order_by(PROVIDERS.c.name, INVENTORIES.c.resource_class)
    )


_WITH_INVENTORIES = _with_inventories()
_ALL_TRAITS = select(TRAITS)
_OF_CONSUMER = select(ALLOCATIONS).where(ALLOCATIONS.c.consumer_id == bindparam("consumer_id"))
_ALLOCATE = insert(ALLOCATIONS)
_STEP = update(PROVIDERS).where(
    PROVIDERS.c.id == bindparam("provider_id"), PROVIDERS.c.generation == bindparam("seen")
)


async def claim(
    connection: AsyncConnection, consumer_id: str, provider: Provider, resources: Mapping[str, int]
) -> None:
    """Allocate resources of a provider to a consumer, all or none of them.

    `provider` is as it was read; if it changed since, nothing is written. A claim of the same consumer on the
    same provider is replaced. Raises GenerationConflict (read again), NotEnough.
    """
    own = (await allocations_of(connection, consumer_id)).get(provider.id, {})
    for resource_class, amount in resources.items():
        inventory = provider.inventories.get(resource_class)
        free = provider.free(resource_class) + own.get(resource_class, 0)
        if amount and (inventory is None or inventory.refuses(amount) or amount > free):
            raise NotEnough(provider.name, resource_class, amount, free)
    await _next_generation(connection, provider.id, provider.generation)
    if own:
        await connection.execute(
            delete(ALLOCATIONS).where(
                ALLOCATIONS.c.consumer_id == consumer_id, ALLOCATIONS.c.provider_id == provider.id
            )
        )
    rows = [
        {"consumer_id": consumer_id, "provider_id": provider.id, "resource_class": name, "used": amount}
        for name, amount in resources.items()
        if amount
    ]
    if rows:
        await connection.execute(_ALLOCATE, rows)


async def release(connection: AsyncConnection, consumer_id: str) -> None:
    """Give back all that a consumer has; nothing is fine."""
    held = select(ALLOCATIONS.c.provider_id).where(ALLOCATIONS.c.consumer_id == consumer_id).distinct()
    for provider_id in (await connection.execute(held)).scalars().all():
        await connection.execute(
            update(PROVIDERS)
            .where(PROVIDERS.c.id == provider_id)
            .values(generation=PROVIDERS.c.generation + 1)
        )
    await connection.execute(delete(ALLOCATIONS).where(ALLOCATIONS.c.consumer_id == consumer_id))


async def allocations_of(connection: AsyncConnection, consumer_id: str) -> dict[str, dict[str, int]]:
    """Provider id -> resource class -> amount that a consumer has."""
    found: dict[str, dict[str, int]] = {}
    for row in await connection.execute(_OF_CONSUMER, {"consumer_id": consumer_id}):
        found.setdefault(row.provider_id, {})[row.resource_class] = row.used
    return found


async def consumers(connection: AsyncConnection) -> frozenset[str]:
    """Everybody who has anything."""
    return frozenset((await connection.execute(select(ALLOCATIONS.c.consumer_id).distinct())).scalars())


async def _next_generation(connection: AsyncConnection, provider_id: str, seen: int) -> None:
    """Step the generation if it is still the one that was seen: the compare and the set are one statement."""
    changed = await connection.execute(
        _STEP, {"provider_id": provider_id, "seen": seen, "generation": seen + 1}
    )
    if changed.rowcount == 1:
        return
    query = select(PROVIDERS.c.generation).where(PROVIDERS.c.id == provider_id)
    found = (await connection.execute(query)).scalar()
    if found is None:
        raise NotFound("Resource provider", provider_id)
    raise GenerationConflict(provider_id, seen, found)
