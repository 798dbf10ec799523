"""The conductor: builds, retries, deletes during a build, refuses, and survives a kill at every point."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import placement
from spawner.compute.fake_node import FakeNode
from spawner.compute.node import OnHalt
from spawner.conductor import BUILDS_AT_ONCE, Caller, Conductor
from spawner.errors import Conflict, NotEnough, NotFound
from spawner.states import PowerState, TaskState, VmState
from spawner.store import events, servers
from spawner.store.engine import Store, open_store
from spawner.store.servers import Flavor, Server
from spawner.store.tables import SERVERS

TINY = Flavor("1", "m1.tiny", vcpus=1, ram_mib=512, disk_gib=1)
CALLER = Caller("project-1", "user-1", "req-1")
_requests = itertools.count(2)


def _caller() -> Caller:
    return replace(CALLER, request_id=f"req-{next(_requests)}")


def _server(number: int = 1, **changes: object) -> Server:
    server = Server(
        f"00000000-0000-0000-0000-{number:012d}",
        f"web-{number}",
        f"web-{number}",
        "project-1",
        "user-1",
        TINY,
        created_at=1000.0 + number,
        image_id="image-1",
    )
    return replace(server, **changes)  # type: ignore[arg-type]  # field names of Server


def _ids() -> Iterator[str]:
    return (f"10000000-0000-0000-0000-{number:012d}" for number in itertools.count())


def _conductor(store: Store, *nodes: FakeNode) -> Conductor:
    ids, clock = _ids(), itertools.count(2000)
    return Conductor(store, nodes, clock=lambda: float(next(clock)), new_id=lambda: next(ids))


async def _get(store: Store, server_id: str) -> Server:
    async with store.read() as connection:
        return await servers.get(connection, server_id)


async def _events(store: Store) -> list[str]:
    async with store.read() as connection:
        return [event.type for event in await events.after(connection)]


class _HaltsAtOnce(FakeNode):
    """A node whose guest is halted right after it was seen to run."""

    on_halt: OnHalt | None = None

    async def running(self) -> Mapping[str, PowerState]:
        seen = dict(await super().running())
        for server_id in seen:
            if self.guests[server_id] is PowerState.RUNNING and self.on_halt is not None:
                self.guests[server_id] = PowerState.PAUSED
                self.halted = asyncio.ensure_future(self.on_halt(server_id, "no space"))
                await asyncio.wait([self.halted], timeout=0.2)
        return seen


async def test_sp_07_a_guest_that_is_halted_while_it_is_built_is_paused(store: Store) -> None:
    node = _HaltsAtOnce("host-1")
    conductor = _conductor(store, node)
    await conductor.start()
    server = await conductor.create(_server(), _caller())
    await conductor.settled()
    await node.halted
    found = await _get(store, server.id)
    assert (found.status, found.power_state) == ("PAUSED", PowerState.PAUSED)
    assert (await _events(store))[-2:] == ["instance.create.end", "instance.pause.end"]


async def test_a_server_is_built_and_tells_so(store: Store) -> None:
    node = FakeNode("host-1")
    conductor = _conductor(store, node)
    await conductor.start()
    accepted = await conductor.create(_server(), _caller())
    assert accepted.status == "BUILD"
    await conductor.settled()
    server = await _get(store, accepted.id)
    assert (server.status, server.host, server.power_state) == ("ACTIVE", "host-1", PowerState.RUNNING)
    assert node.guests == {server.id: PowerState.RUNNING}
    assert await _events(store) == ["instance.create.start", "instance.update", "instance.create.end"]


async def test_a_failed_build_goes_to_another_host(store: Store) -> None:
    bad, good = FakeNode("host-1", memory_mib=65536), FakeNode("host-2", memory_mib=4096)
    bad.fail_spawn = "no such image"
    conductor = _conductor(store, bad, good)
    await conductor.start()
    server = await conductor.create(_server(), _caller())
    await conductor.settled()
    assert (await _get(store, server.id)).host == "host-2"
    async with store.read() as connection:
        (first, second) = await placement.providers(connection)
    assert (first.used, second.used) == ({}, TINY.resources())


async def test_when_no_host_is_left_the_fault_says_what_each_one_said(store: Store) -> None:
    nodes = [FakeNode("host-1"), FakeNode("host-2")]
    for node in nodes:
        node.fail_spawn = f"{node.name} is out of order"
    conductor = _conductor(store, *nodes)
    await conductor.start()
    await conductor.create(_server(), _caller())
    await conductor.settled()
    server = await _get(store, _server().id)
    assert server.status == "ERROR"
    assert server.fault is not None
    assert server.fault["message"] == "No valid host was found. There are not enough hosts available."
    assert "host-1: host-1 is out of order" in server.fault["details"]
    assert "host-2: host-2 is out of order" in server.fault["details"]
    assert (await _events(store))[-1] == "instance.create.error"


async def test_one_client_token_makes_one_server(store: Store) -> None:
    conductor = _conductor(store, FakeNode("host-1"))
    await conductor.start()
    first = await conductor.create(_server(1, client_token="again"), _caller())
    second = await conductor.create(_server(2, client_token="again"), _caller())
    await conductor.settled()
    assert second.id == first.id
    with pytest.raises(NotFound):
        await _get(store, _server(2).id)


async def test_a_delete_during_the_build_leaves_nothing(store: Store) -> None:
    node = FakeNode("host-1")
    node.spawn_takes_s = 30.0
    conductor = _conductor(store, node)
    await conductor.start()
    server = await conductor.create(_server(), _caller())
    while (await _get(store, server.id)).task_state is not TaskState.SPAWNING:
        pass
    await conductor.delete(server.id, _caller())
    await conductor.settled()
    assert await _invariants(store, node) == []
    with pytest.raises(NotFound):
        await _get(store, server.id)
    with pytest.raises(NotFound):
        await conductor.delete(server.id, _caller())


@pytest.mark.parametrize(
    ("action", "status", "power"),
    [
        ("stop", "SHUTOFF", PowerState.SHUTDOWN),
        ("pause", "PAUSED", PowerState.PAUSED),
        ("reboot", "ACTIVE", PowerState.RUNNING),
        ("hard-reboot", "ACTIVE", PowerState.RUNNING),
        ("rebuild", "ACTIVE", PowerState.RUNNING),
    ],
)
async def test_actions_end_in_their_state(store: Store, action: str, status: str, power: PowerState) -> None:
    node = FakeNode("host-1")
    conductor = _conductor(store, node)
    await conductor.start()
    server = await conductor.create(_server(), _caller())
    await conductor.settled()
    await conductor.act(server.id, action, _caller())
    await conductor.settled()
    after = await _get(store, server.id)
    assert (after.status, after.power_state, node.guests[server.id]) == (status, power, power)


async def test_a_resize_holds_both_until_it_is_confirmed_or_reverted(store: Store) -> None:
    conductor = _conductor(store, FakeNode("host-1"))
    await conductor.start()
    server = await conductor.create(_server(), _caller())
    await conductor.settled()
    larger = Flavor("9", "m9.larger", vcpus=2, ram_mib=1024, disk_gib=1)

    async def held() -> Mapping[str, int]:
        async with store.read() as connection:
            return (await placement.providers(connection))[0].used

    await conductor.resize(server.id, larger, _caller())
    await conductor.settled()
    after = await _get(store, server.id)
    assert (after.status, after.flavor, after.old_flavor) == ("VERIFY_RESIZE", larger, TINY)
    assert await held() == larger.resources()
    await conductor.revert_resize(server.id, _caller())
    await conductor.settled()
    after = await _get(store, server.id)
    assert (after.status, after.flavor, after.old_flavor) == ("ACTIVE", TINY, None)
    assert await held() == TINY.resources()
    await conductor.resize(server.id, larger, _caller())
    await conductor.settled()
    await conductor.confirm_resize(server.id, _caller())
    await conductor.settled()
    after = await _get(store, server.id)
    assert (after.status, after.flavor, after.old_flavor) == ("ACTIVE", larger, None)
    assert await held() == larger.resources()


async def _used(store: Store) -> Mapping[str, int]:
    """What is held of the first host."""
    async with store.read() as connection:
        return (await placement.providers(connection))[0].used


async def test_a_volume_that_is_booted_from_takes_nothing_of_the_hosts_disk(store: Store) -> None:
    """Ephemeral and swap disks do: 2 GiB of the 4 that there are. Source: Nova's `resources_from_flavor`."""
    node = FakeNode("host-1", disk_gib=4)
    conductor = _conductor(store, node)
    await conductor.start()
    flavor = replace(TINY, disk_gib=10, ephemeral_gib=1, swap_mib=512)
    for number, image in ((1, None), (2, "image-1")):
        await conductor.create(_server(number, flavor=flavor, image_id=image), _caller())
        await conductor.settled()
    assert (await _get(store, _server(1).id)).status == "ACTIVE"
    refused = (await _get(store, _server(2).id)).fault
    assert refused is not None
    assert refused["details"] == "host-1: ResourcesFilter: DISK_GB: 12 needed, 2 free"
    held = {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 2}
    assert await _used(store) == held
    await _conductor(store, node).start()
    assert await _used(store) == held


async def test_a_resize_of_a_server_that_boots_from_a_volume_leaves_the_root_disks_out(store: Store) -> None:
    node = FakeNode("host-1", disk_gib=4)
    conductor = _conductor(store, node)
    await conductor.start()
    server = await conductor.create(_server(image_id=None), _caller())
    await conductor.settled()
    assert await _used(store) == {"VCPU": 1, "MEMORY_MB": 512}
    huge = Flavor("9", "m9.huge", vcpus=2, ram_mib=1024, disk_gib=100, ephemeral_gib=3)
    held = {"VCPU": 2, "MEMORY_MB": 1024, "DISK_GB": 3}
    for end in (conductor.revert_resize, conductor.confirm_resize):
        await conductor.resize(server.id, huge, _caller())
        await conductor.settled()
        assert await _used(store) == held
        await _conductor(store, node).start()  # both flavors are what it needs then, too
        assert await _used(store) == held
        await end(server.id, _caller())
        await conductor.settled()
        after = held if end == conductor.confirm_resize else {"VCPU": 1, "MEMORY_MB": 512}
        assert await _used(store) == after


async def test_a_resize_that_the_host_cannot_hold_is_refused_and_changes_nothing(store: Store) -> None:
    conductor = _conductor(store, FakeNode("host-1", memory_mib=2048))
    await conductor.start()
    server = await conductor.create(_server(), _caller())
    await conductor.settled()
    with pytest.raises(NotEnough):
        await conductor.resize(server.id, Flavor("9", "huge", 1, 8192, 1), _caller())
    assert (await _get(store, server.id)).flavor == TINY


async def test_what_the_state_does_not_allow_is_refused_in_novas_words(store: Store) -> None:
    conductor = _conductor(store, FakeNode("host-1"))
    await conductor.start()
    server = await conductor.create(_server(), _caller())
    await conductor.settled()
    with pytest.raises(Conflict, match="Cannot 'start' instance while it is in vm_state active"):
        await conductor.act(server.id, "start", _caller())
    async with store.write() as connection:
        await servers.change(connection, server.id, 0.0, locked=True)
    with pytest.raises(Conflict, match="Instance is locked"):
        await conductor.act(server.id, "stop", _caller())


class CountingNode(FakeNode):
    """Counts how many guests are being started at a time."""

    starting = most_at_once = 0

    async def spawn(self, server: Server) -> None:
        self.starting += 1
        self.most_at_once = max(self.most_at_once, self.starting)
        try:
            await super().spawn(server)
        finally:
            self.starting -= 1


@pytest.mark.slow
async def test_sp_17_200_creates_at_once_never_oversubscribe(store: Store) -> None:
    """Memory for 30 servers on each of two hosts: 60 become active, 140 say that there was no host.

    A host starts ten at a time.
    """
    nodes = [CountingNode(name, memory_mib=512 + 30 * 512) for name in ("host-1", "host-2")]
    for node in nodes:
        node.spawn_takes_s = 0.05
    conductor = _conductor(store, *nodes)
    await conductor.start()
    for number in range(200):
        await conductor.create(_server(number), _caller())
    await conductor.settled()
    async with store.read() as connection:
        states = [server.status for server in await servers.listed(connection)]
    assert {state: states.count(state) for state in set(states)} == {"ACTIVE": 60, "ERROR": 140}
    assert [len(node.guests) for node in nodes] == [30, 30]
    assert all(1 < node.most_at_once <= BUILDS_AT_ONCE for node in nodes)


@pytest.mark.parametrize(
    ("flavor", "figures"),
    [
        (replace(TINY, vcpus=257), "VCPU: 257 needed, 255 free"),
        (replace(TINY, ram_mib=65_536), "MEMORY_MB: 65536 needed, 64512 free"),
        (replace(TINY, disk_gib=1001), "DISK_GB: 1001 needed, 999 free"),
    ],
    ids=["processors", "memory", "disk"],
)
async def test_sp_17_more_than_the_host_has_is_refused_with_figures_and_runs_nobody_over(
    store: Store, flavor: Flavor, figures: str
) -> None:
    node = FakeNode("host-1", vcpus=64)
    conductor = _conductor(store, node)
    await conductor.start()
    running = await conductor.create(_server(1), _caller())
    await conductor.settled()
    large = await conductor.create(_server(2, flavor=flavor), _caller())
    await conductor.settled()
    async with store.read() as connection:
        refused = await servers.get(connection, large.id)
        assert (await servers.get(connection, running.id)).status == "ACTIVE"
        assert await placement.allocations_of(connection, large.id) == {}
    assert refused.status == "ERROR"
    assert refused.fault is not None
    assert refused.fault["message"] == "No valid host was found. There are not enough hosts available."
    assert refused.fault["details"] == f"host-1: ResourcesFilter: {figures}"
    assert list(node.guests) == [running.id]


LARGER = Flavor("9", "m9.larger", vcpus=2, ram_mib=1024, disk_gib=1)
RUNNING, PAUSED, SHUTDOWN = PowerState.RUNNING, PowerState.PAUSED, PowerState.SHUTDOWN


@pytest.mark.parametrize(
    ("left", "guest", "status", "power"),
    [
        ({"task_state": TaskState.POWERING_OFF}, RUNNING, "SHUTOFF", SHUTDOWN),
        ({"task_state": TaskState.POWERING_ON, "vm_state": VmState.STOPPED}, SHUTDOWN, "ACTIVE", RUNNING),
        ({"task_state": TaskState.PAUSING}, RUNNING, "PAUSED", PAUSED),
        ({"task_state": TaskState.PAUSING}, SHUTDOWN, "SHUTOFF", SHUTDOWN),
        ({"task_state": TaskState.UNPAUSING, "vm_state": VmState.PAUSED}, PAUSED, "ACTIVE", RUNNING),
        ({"task_state": TaskState.REBOOTING}, RUNNING, "ACTIVE", RUNNING),
        ({"task_state": TaskState.REBOOTING}, SHUTDOWN, "ACTIVE", RUNNING),
        ({"task_state": TaskState.REBUILDING}, SHUTDOWN, "ACTIVE", RUNNING),
        ({"task_state": TaskState.IMAGE_SNAPSHOT}, PAUSED, "ACTIVE", RUNNING),
        ({"task_state": TaskState.IMAGE_SNAPSHOT, "vm_state": VmState.PAUSED}, PAUSED, "PAUSED", PAUSED),
        (
            {"task_state": TaskState.RESIZE_PREP, "flavor": LARGER, "old_flavor": TINY},
            SHUTDOWN,
            "VERIFY_RESIZE",
            RUNNING,
        ),
        (
            {"task_state": TaskState.RESIZE_REVERTING, "vm_state": VmState.RESIZED},
            SHUTDOWN,
            "ACTIVE",
            RUNNING,
        ),
        ({"task_state": TaskState.RESIZE_FINISH, "vm_state": VmState.RESIZED}, RUNNING, "ACTIVE", RUNNING),
        ({"power_state": RUNNING}, SHUTDOWN, "SHUTOFF", SHUTDOWN),
        ({}, PAUSED, "PAUSED", PAUSED),
    ],
)
async def test_sp_06_what_a_killed_conductor_had_begun_is_done_again(
    store: Store, left: Mapping[str, object], guest: PowerState, status: str, power: PowerState
) -> None:
    """A server as a kill in the middle of an action leaves it, and its guest as the node then has it."""
    node = FakeNode("host-1")
    conductor = _conductor(store, node)
    await conductor.start()
    server = await conductor.create(_server(), _caller())
    await conductor.settled()
    async with store.write() as connection:
        await servers.change(connection, server.id, 0.0, **left)
    node.guests[server.id] = guest
    again = _conductor(store, node)
    await again.start()
    await again.settled()
    after = await _get(store, server.id)
    assert (after.status, after.task_state, node.guests[server.id]) == (status, None, power)
    assert after.power_state is power


@pytest.mark.parametrize(("flavor", "old", "holds"), [(TINY, None, TINY), (TINY, LARGER, LARGER)])
async def test_sp_06_an_allocation_is_what_the_flavors_say(
    store: Store, flavor: Flavor, old: Flavor | None, holds: Flavor
) -> None:
    """Killed between a change of the allocation and the change of the server that it was for."""
    node = FakeNode("host-1")
    conductor = _conductor(store, node)
    await conductor.start()
    server = await conductor.create(_server(), _caller())
    await conductor.settled()
    async with store.write() as connection:
        provider = (await placement.providers(connection))[0]
        await placement.claim(connection, server.id, provider, {"VCPU": 7, "MEMORY_MB": 7, "DISK_GB": 7})
        await servers.change(connection, server.id, 0.0, flavor=flavor, old_flavor=old)
    await _conductor(store, node).start()
    async with store.read() as connection:
        assert (await placement.providers(connection))[0].used == holds.resources()


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


class MortalStore(Store):
    """A store that kills its user at the n-th transaction, before or after its commit."""

    def __init__(self, store: Store, life: Life) -> None:
        super().__init__(store.engine)
        self._life = life

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        self._life.step()
        async with super().write() as connection:
            yield connection
        self._life.step()


class Life:
    """Counts the points at which a kill makes a difference, and ends at the chosen one."""

    def __init__(self, ends_at: int) -> None:
        self.point = 0
        self._ends_at = ends_at

    def step(self) -> None:
        self.point += 1
        if self.point >= self._ends_at:
            raise Killed


class MortalNode(FakeNode):
    """A node whose asker dies before or after each thing it asks; the guests live on."""

    def __init__(self, node: FakeNode, life: Life) -> None:
        super().__init__(node.name)
        self.guests = node.guests
        self._life = life

    async def spawn(self, server: Server) -> None:
        self._life.step()
        await super().spawn(server)
        self._life.step()

    async def destroy(self, server_id: str) -> None:
        self._life.step()
        await super().destroy(server_id)
        self._life.step()

    async def power_off(self, server_id: str) -> None:
        self._life.step()
        await super().power_off(server_id)
        self._life.step()


async def _live(store: Store, node: FakeNode, life: Life) -> None:
    """One life: create two servers, stop one, delete the other."""
    conductor = _conductor(MortalStore(store, life), MortalNode(node, life))
    try:
        await conductor.start()
        for number in (1, 2):
            await conductor.create(_server(number), _caller())
            await _until_idle(conductor)
        await conductor.act(_server(1).id, "stop", _caller())
        await _until_idle(conductor)
        await conductor.delete(_server(2).id, _caller())
        await _until_idle(conductor)
    finally:
        await conductor.close()


async def _until_idle(conductor: Conductor) -> None:
    tasks = list(conductor._tasks.values())
    for task in tasks:
        await task


async def _invariants(store: Store, node: FakeNode) -> list[str]:
    """What is wrong: a guest without record, a record without guest, an allocation without server."""
    async with store.read() as connection:
        known = {server.id: server for server in await servers.listed(connection)}
        consumers = await placement.consumers(connection)
        rows = (await connection.execute(select(SERVERS.c.id, SERVERS.c.task_state))).all()
    wrong = [f"guest {server_id} without server" for server_id in set(node.guests) - set(known)]
    wrong += [f"allocation of {server_id} without server" for server_id in consumers - set(known)]
    wrong += [f"{row.id} still {row.task_state}" for row in rows if row.task_state]
    for server in known.values():
        if server.vm_state is VmState.ACTIVE and node.guests.get(server.id) is not PowerState.RUNNING:
            wrong.append(f"{server.id} is active without a guest")
        if server.vm_state in {VmState.ACTIVE, VmState.STOPPED} and server.id not in consumers:
            wrong.append(f"{server.id} has no allocation")
    return wrong


@pytest.mark.slow
async def test_sp_06_a_kill_at_every_point_is_recovered(tmp_path: Path) -> None:
    """Each point before and after a transaction or a request to the node; then a new life, then the check."""
    points = 0
    for ends_at in itertools.count(1):
        store = await open_store(str(tmp_path / f"{ends_at}.db"))
        node = FakeNode("host-1")
        life = Life(ends_at)
        try:
            await _live(store, node, life)
            survived = True
        except Killed:
            survived = False
        again = _conductor(store, node)
        await again.start()
        await again.settled()
        assert await _invariants(store, node) == [], f"killed at point {ends_at}"
        await again.close()
        await store.close()
        if survived:
            break
        points = ends_at
    assert points >= 30
