"""Placement: capacity, claims, generations; many at once never oversubscribe."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest

from spawner import placement
from spawner.errors import GenerationConflict, NotEnough, StoreTooNew
from spawner.placement import DISK_GB, MEMORY_MB, VCPU, Inventory, Provider
from spawner.store.engine import SCHEMA_VERSION, Store, open_store

SMALL = {VCPU: 1, MEMORY_MB: 512, DISK_GB: 1}


async def _provider(store: Store, name: str = "host-1", vcpus: int = 4) -> str:
    provider_id = str(uuid.uuid4())
    async with store.write() as connection:
        await placement.add_provider(connection, provider_id, name)
        inventories = {
            VCPU: Inventory(vcpus, allocation_ratio=2.0),
            MEMORY_MB: Inventory(65536, reserved=512),
            DISK_GB: Inventory(1000),
        }
        await placement.set_inventories(connection, provider_id, inventories, 0)
    return provider_id


async def _read(store: Store) -> tuple[Provider, ...]:
    async with store.read() as connection:
        return await placement.providers(connection)


@pytest.mark.parametrize(
    ("inventory", "capacity"),
    [
        (Inventory(4), 4),
        (Inventory(4, reserved=1), 3),
        (Inventory(4, allocation_ratio=16.0), 64),
        (Inventory(10, reserved=3, allocation_ratio=1.5), 10),
    ],
)
def test_capacity_is_what_is_not_reserved_times_the_ratio(inventory: Inventory, capacity: int) -> None:
    assert inventory.capacity == capacity


@pytest.mark.parametrize("amount", [0, 3, 5, 10])
def test_min_max_and_step_bound_one_consumer(amount: int) -> None:
    assert Inventory(100, min_unit=2, max_unit=8, step_size=2).refuses(amount)
    assert not Inventory(100, min_unit=2, max_unit=8, step_size=2).refuses(6)


async def test_a_claim_is_seen_and_can_be_given_back(store: Store) -> None:
    await _provider(store)
    async with store.write() as connection:
        (provider,) = await placement.providers(connection)
        await placement.claim(connection, "server-1", provider, SMALL)
    (after,) = await _read(store)
    assert after.used == SMALL
    assert after.generation == provider.generation + 1
    async with store.write() as connection:
        assert await placement.allocations_of(connection, "server-1") == {after.id: SMALL}
        await placement.release(connection, "server-1")
    assert (await _read(store))[0].used == {}


async def test_a_claim_on_what_has_changed_since_is_refused_and_writes_nothing(store: Store) -> None:
    await _provider(store)
    (stale,) = await _read(store)
    async with store.write() as connection:
        await placement.claim(connection, "server-1", stale, SMALL)
    with pytest.raises(GenerationConflict):
        async with store.write() as connection:
            await placement.claim(connection, "server-2", stale, SMALL)
    assert (await _read(store))[0].used == SMALL


async def test_more_than_is_free_is_refused_with_figures(store: Store) -> None:
    await _provider(store, vcpus=1)
    (provider,) = await _read(store)
    with pytest.raises(NotEnough, match="host-1: 3 VCPU needed, 2 free"):
        async with store.write() as connection:
            await placement.claim(connection, "server-1", provider, {VCPU: 3})


async def test_a_second_claim_of_one_consumer_replaces_the_first(store: Store) -> None:
    await _provider(store, vcpus=1)
    async with store.write() as connection:
        (provider,) = await placement.providers(connection)
        await placement.claim(connection, "server-1", provider, {VCPU: 1})
        (provider,) = await placement.providers(connection)
        await placement.claim(connection, "server-1", provider, {VCPU: 1, MEMORY_MB: 64})
    assert (await _read(store))[0].used == {VCPU: 1, MEMORY_MB: 64}


async def _claim_where_most_is_free(store: Store, name: str) -> bool:
    async with store.write() as connection:
        best = max(await placement.providers(connection), key=lambda provider: provider.free(VCPU))
        try:
            await placement.claim(connection, name, best, SMALL)
        except NotEnough:
            return False
        return True


async def test_200_claims_at_once_never_oversubscribe(store: Store) -> None:
    """Two hosts of 8 units each; of 200 that ask at the same time exactly 16 get one."""
    await _provider(store, "host-1")
    await _provider(store, "host-2")
    asked = (_claim_where_most_is_free(store, f"server-{number}") for number in range(200))
    got = await asyncio.gather(*asked)
    assert sum(got) == 16
    assert [provider.used[VCPU] for provider in await _read(store)] == [8, 8]


async def test_claims_on_what_was_read_before_the_transaction_never_oversubscribe(store: Store) -> None:
    """As Nova does it: read, decide, then claim with the generation that was seen; a conflict reads again."""
    await _provider(store, "host-1")

    async def ask(name: str) -> bool:
        for _try in range(100):
            (provider,) = await _read(store)
            try:
                async with store.write() as connection:
                    await placement.claim(connection, name, provider, SMALL)
            except GenerationConflict:
                continue
            except NotEnough:
                return False
            return True
        return False

    got = await asyncio.gather(*(ask(f"server-{number}") for number in range(24)))
    assert sum(got) == 8
    assert (await _read(store))[0].used[VCPU] == 8


async def test_sp_18_a_store_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    store = await open_store(str(tmp_path / "spawner.db"))
    async with store.write() as connection:
        await connection.exec_driver_sql("UPDATE schema_version SET version = 99")
    await store.close()
    before = (tmp_path / "spawner.db").read_bytes()
    with pytest.raises(StoreTooNew, match=f"version 99, this release knows up to {SCHEMA_VERSION}"):
        await open_store(str(tmp_path / "spawner.db"))
    assert (tmp_path / "spawner.db").read_bytes() == before
