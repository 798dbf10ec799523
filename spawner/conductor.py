"""The conductor: the one writer of a server's state.

Every change of state is one transaction that also records its event. What the conductor is about to do
stands in the store before it does it, so that after a kill at any moment `recover` can finish it or clean
up: see the table in its docstring.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from metadata_server.access import AccessRecord
from spawner import demand, devices, placement, root_volume, scheduler, signals
from spawner.compute.agent_events import AgentEvent
from spawner.compute.measure import Measure
from spawner.compute.node import CommandAnswer, ComputeNode, Console, NoticesHalts
from spawner.errors import Conflict, NotEnough, NoValidHost, SpawnerError
from spawner.signals import Signal
from spawner.states import ACTIONS, PowerState, TaskState, VmState, why_refused
from spawner.store import events, servers
from spawner.store.engine import Store
from spawner.store.servers import Flavor, Server
from spawner.store.tables import ACTIONS as ACTION_ROWS
from spawner.store.tables import HOSTS
from spawner.work import WORK, Work, after_resize, rescue_with, revert_resize, work_again

LOG = logging.getLogger(__name__)
MAX_ATTEMPTS = 3
BUILDS_AT_ONCE = 10
"""Guests that one host starts at a time; the others wait their turn. Nova's `max_concurrent_builds`."""
_BEGIN_ACTION = insert(ACTION_ROWS)
_END_ACTIONS = update(ACTION_ROWS).where(
    ACTION_ROWS.c.server_id == bindparam("of_server"), ACTION_ROWS.c.finished_at.is_(None)
)
Plugging = Callable[[ComputeNode, Server], Awaitable[None]]


@dataclass(frozen=True)
class Caller:
    """On whose behalf something is done, and under which request id."""

    project_id: str
    user_id: str
    request_id: str


class Conductor:
    """Builds, changes and deletes servers on compute nodes.

    `clock` gives seconds since 1970, `new_id` a fresh UUID as text. `create`, `act` and `delete` return when
    the request is accepted and stored; the work goes on in a task, which `settled` waits for.
    """

    def __init__(
        self,
        store: Store,
        nodes: Sequence[ComputeNode],
        *,
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._nodes = {node.name: node for node in nodes}
        self._clock = clock
        self._new_id = new_id
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._plugging: dict[str, asyncio.Lock] = {}
        self._turns = {node.name: asyncio.Semaphore(BUILDS_AT_ONCE) for node in nodes}
        self.on_deleted: Callable[[str], Awaitable[None]] | None = None
        """Told of each server that is gone, before it is deleted in the store."""

    # --- start and end ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Make the nodes known to placement, then recover what an earlier life left."""
        for node in self._nodes.values():
            await self._register(node)
            node.on_report, node.on_end = self._guest_reported, self._guest_ended
            node.on_signal = self._guest_signalled
            if isinstance(node, NoticesHalts):
                node.on_halt = self._guest_halted
            await node.adopt()
        await self.recover()

    async def close(self) -> None:
        """Stop working; guests run on, and what is unfinished is recovered at the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def settled(self, server_id: str | None = None) -> None:
        """Wait until nothing is being done to a server, or to any."""
        while tasks := [task for key, task in self._tasks.items() if server_id in {None, key}]:
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _register(self, node: ComputeNode) -> None:
        now = self._clock()
        async with self._store.write() as connection:
            known = (await connection.execute(select(HOSTS.c.id).where(HOSTS.c.name == node.name))).scalar()
            if known is None:
                known = self._new_id()
                await connection.execute(
                    insert(HOSTS).values(id=known, name=node.name, driver=node.driver, created_at=now)
                )
                await placement.add_provider(connection, known, node.name)
            provider = await self._provider(connection, node.name)
            if provider.inventories != node.inventories():
                await placement.set_inventories(connection, known, node.inventories(), provider.generation)
                provider = await self._provider(connection, node.name)
            if provider.traits != node.traits():
                await placement.set_traits(connection, known, node.traits(), provider.generation)

    async def _provider(self, connection: AsyncConnection, name: str) -> placement.Provider:
        return next(each for each in await placement.providers(connection) if each.name == name)

    # --- create -----------------------------------------------------------------------------------------

    async def create(self, server: Server, caller: Caller) -> Server:
        """Accept a new server and begin to build it.

        A request with the client token of an earlier one gives the server that one made.
        """
        async with self._store.write() as connection:
            if server.client_token:
                earlier = await servers.by_client_token(connection, server.project_id, server.client_token)
                if earlier is not None:
                    return earlier
            await self.accept(connection, server, caller)
        self.begin(server)
        return server

    async def accept(self, connection: AsyncConnection, server: Server, caller: Caller) -> None:
        """Store a new server, in the transaction of what comes with it; `begin` once that is committed."""
        await servers.add(connection, server)
        await self._begin_action(connection, server.id, "create", caller)
        await self._tell(connection, server, "instance.create.start")

    def begin(self, server: Server) -> None:
        """Begin to build a server that was accepted."""
        self._work(server.id, self._build(server))

    async def explain(self, server: Server) -> scheduler.Selection:
        """Which host would take a server, and what every other one falls to. Changes nothing."""
        async with self._store.read() as connection:
            providers = await placement.providers(connection)
            return scheduler.select(
                await demand.request_of(connection, server, frozenset()),
                await demand.hosts(connection, providers, frozenset(self._nodes)),
            )

    async def _build(self, accepted: Server) -> None:
        """Schedule, claim, spawn; on another host after a failure; ERROR with the fault when none is left."""
        server_id, failed = accepted.id, dict[str, str]()
        try:
            await root_volume.take_when_made(self._store, accepted, self._clock())
        except Conflict as error:
            await self._give_up(server_id, error, failed)
            return
        while True:
            try:
                server = await self._place(server_id, frozenset(failed))
            except NoValidHost as error:
                await self._give_up(server_id, error, failed)
                return
            node = self._nodes[server.host or ""]
            try:
                async with self._turns[node.name]:
                    await node.spawn(server)
            except SpawnerError as error:
                LOG.warning("server %s: %s failed: %s", server_id, node.name, error)
                failed[node.name] = str(error)
                await node.destroy(server_id)
                await self._unplace(server_id, str(error))
                if len(failed) >= MAX_ATTEMPTS:
                    await self._give_up(server_id, error, failed)
                    return
                continue
            await self._built(server_id, node)
            return

    async def _built(self, server_id: str, node: ComputeNode) -> None:
        """Active, unless the guest was halted at once."""
        power = (await node.running()).get(server_id, PowerState.RUNNING)
        await self._finish(
            server_id,
            "instance.create.end",
            vm_state=VmState.PAUSED if power is PowerState.PAUSED else VmState.ACTIVE,
            power_state=power,
            launched_at=self._clock(),
        )

    async def _place(self, server_id: str, failed: frozenset[str]) -> Server:
        """Choose a host and claim on it, in one transaction. Raises NoValidHost."""
        async with self._store.write() as connection:
            server = await servers.get(connection, server_id)
            request = await demand.request_of(connection, server, failed)
            by_name = {provider.name: provider for provider in await placement.providers(connection)}
            hosts = await demand.hosts(connection, tuple(by_name.values()), frozenset(self._nodes))
            selection = scheduler.select(request, hosts)
            for host in selection.hosts:
                try:
                    await placement.claim(connection, server_id, by_name[host.name], request.resources)
                except NotEnough:
                    # Only what one consumer may have at most can be the reason: amounts were filtered.
                    continue
                await devices.plug_ports(connection, server_id)
                changes = {
                    "host": host.name,
                    "availability_zone": host.zone,
                    "task_state": TaskState.SPAWNING,
                }
                await servers.change(connection, server_id, self._clock(), **changes)
                await self._tell(connection, server, "instance.update", {"host": host.name})
                return replace(
                    server,
                    host=host.name,
                    availability_zone=host.zone,
                    task_state=TaskState.SPAWNING,
                )
        raise NoValidHost(scheduler.explain(selection))

    async def _unplace(self, server_id: str, why: str) -> None:
        async with self._store.write() as connection:
            server = await servers.get(connection, server_id)
            await placement.release(connection, server_id)
            await servers.change(
                connection, server_id, self._clock(), host=None, task_state=TaskState.SCHEDULING
            )
            await self._tell(connection, server, "instance.update", {"failed_on": server.host, "why": why})

    async def _give_up(self, server_id: str, error: SpawnerError, failed: Mapping[str, str]) -> None:
        details = "\n".join(f"{host}: {why}" for host, why in failed.items())
        if isinstance(error, NoValidHost):
            details = "\n".join(part for part in (details, error.explanation) if part)
        fault = {"code": 500, "message": str(error), "details": details, "created": self._clock()}
        await self._finish(
            server_id, "instance.create.error", vm_state=VmState.ERROR, fault=fault, failed=str(error)
        )

    # --- delete and other actions -----------------------------------------------------------------------

    async def delete(self, server_id: str, caller: Caller) -> None:
        """Accept a delete, in any state and during a build. Raises NotFound, Conflict (locked)."""
        async with self._store.write() as connection:
            server = await servers.get(connection, server_id)
            refused = why_refused(ACTIONS["delete"], server.vm_state, server.task_state, locked=server.locked)
            if refused:
                raise Conflict(refused)
            if server.task_state is TaskState.DELETING and server_id in self._tasks:
                return
            await servers.change(connection, server_id, self._clock(), task_state=TaskState.DELETING)
            await self._begin_action(connection, server_id, "delete", caller)
            await self._tell(connection, server, "instance.delete.start")
        before = self._tasks.pop(server_id, None)
        self._work(server_id, self._delete(server_id, before))

    async def _delete(self, server_id: str, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            before.cancel()
            await asyncio.gather(before, return_exceptions=True)
        async with self._store.read() as connection:
            server = await servers.get(connection, server_id)
        if server.host in self._nodes:
            await self._nodes[server.host].destroy(server_id)
        if self.on_deleted is not None:
            await self.on_deleted(server_id)
        self._plugging.pop(server_id, None)
        async with self._store.write() as connection:
            await placement.release(connection, server_id)
            await devices.let_go_of_all(connection, server_id)
        await self._finish(
            server_id,
            "instance.delete.end",
            vm_state=VmState.DELETED,
            power_state=PowerState.NOSTATE,
            terminated_at=self._clock(),
        )

    async def act(
        self, server_id: str, name: str, caller: Caller, work: Work | None = None, /, **changes: object
    ) -> None:
        """Accept an action of `states.ACTIONS`: `work`, or what the table `WORK` has for it.

        `changes` are fields that it sets on the server. Raises NotFound, Conflict with Nova's words.
        """
        action = ACTIONS[name]
        async with self._store.write() as connection:
            server = await servers.get(connection, server_id)
            refused = why_refused(action, server.vm_state, server.task_state, locked=server.locked)
            if refused:
                raise Conflict(refused)
            await servers.change(connection, server_id, self._clock(), task_state=action.task, **changes)
            await self._begin_action(connection, server_id, name, caller)
            await self._tell(connection, server, f"{action.notification}.start")
            server = await servers.get(connection, server_id)
        self._work(server_id, self._act(server, name, work or WORK[name]))

    async def resize(self, server_id: str, flavor: Flavor, caller: Caller) -> None:
        """Accept a resize on the server's own host: what both flavors need is held until it is confirmed.

        Raises NotFound, Conflict, NotEnough.
        """
        async with self._store.read() as connection:
            server = await servers.get(connection, server_id)
        await self._hold(server, _larger(server.needs(server.flavor), server.needs(flavor)))
        await self.act(server_id, "resize", caller, flavor=flavor, old_flavor=server.flavor)

    async def confirm_resize(self, server_id: str, caller: Caller) -> None:
        """Keep the new flavor. Raises NotFound, Conflict."""
        async with self._store.read() as connection:
            server = await servers.get(connection, server_id)
        await self.act(server_id, "confirm-resize", caller, after_resize(server), old_flavor=None)
        await self._hold(server, server.needs(server.flavor))

    async def revert_resize(self, server_id: str, caller: Caller) -> None:
        """Go back to the old flavor. Raises NotFound, Conflict."""
        async with self._store.read() as connection:
            server = await servers.get(connection, server_id)
        old = server.old_flavor or server.flavor
        await self.act(server_id, "revert-resize", caller, revert_resize(server), flavor=old, old_flavor=None)
        await self._hold(server, server.needs(old))

    async def _hold(self, server: Server, resources: Mapping[str, int]) -> None:
        """Change what a placed server has of its host. Raises NotEnough."""
        async with self._store.write() as connection:
            provider = await self._provider(connection, server.host or "")
            await placement.claim(connection, server.id, provider, resources)

    async def rescue(self, server_id: str, image_id: str, caller: Caller) -> None:
        """Accept a restart from a rescue image. Raises NotFound, Conflict."""
        await self.act(server_id, "rescue", caller, rescue_with(self._store, image_id, self._clock()))

    async def reconfigure(self, server_id: str, name: str, caller: Caller, do: Plugging) -> None:
        """Plug something into a server, or take it out, and return when that is done.

        One at a time for a server, others wait. Raises NotFound, Conflict, and what `do` raises; the server
        stays what it was then.
        """
        action = ACTIONS[name]
        async with self._plugging.setdefault(server_id, asyncio.Lock()):
            async with self._store.write() as connection:
                server = await servers.get(connection, server_id)
                refused = why_refused(action, server.vm_state, server.task_state, locked=server.locked)
                if refused:
                    raise Conflict(refused)
                await self._begin_action(connection, server_id, name, caller)
                await self._tell(connection, server, f"{action.notification}.start")
            failed: str | None = "the spawner was stopped"
            try:
                await do(self._nodes[server.host or ""], server)
                failed = None
            except SpawnerError as error:
                failed = str(error)
                raise
            finally:
                await self._end_action(server, caller.request_id, action.notification, failed)

    async def _end_action(
        self, server: Server, request_id: str, notification: str, failed: str | None
    ) -> None:
        async with self._store.write() as connection:
            await connection.execute(
                update(ACTION_ROWS)
                .where(ACTION_ROWS.c.request_id == request_id)
                .values(
                    finished_at=self._clock(),
                    result="Error" if failed else "Success",
                    message=failed,
                    host=server.host,
                )
            )
            outcome = "error" if failed else "end"
            await self._tell(
                connection, server, f"{notification}.{outcome}", {"fault": failed} if failed else {}
            )

    async def refresh(self, server_id: str) -> None:
        """Let a server's guest, where it has one, read what the store now says. Raises SpawnerError.

        One at a time for a server: the last to come is the last to be read.
        """
        async with self._plugging.setdefault(server_id, asyncio.Lock()):
            async with self._store.read() as connection:
                server = await servers.get(connection, server_id)
            if server.host in self._nodes:
                await self._nodes[server.host].refresh(server)

    async def execute(self, server_id: str, command: str, timeout_s: float) -> CommandAnswer:
        """Carry out a command in a server's guest. Raises NotFound, SpawnerError."""
        node, server = await self._node_of(server_id)
        return await node.execute(server.id, command, timeout_s)

    async def console(self, server_id: str) -> Console:
        """A connection to a server's serial console. Raises NotFound, SpawnerError."""
        node, server = await self._node_of(server_id)
        return node.console(server.id)

    async def _node_of(self, server_id: str) -> tuple[ComputeNode, Server]:
        async with self._store.read() as connection:
            server = await servers.get(connection, server_id)
        if server.host not in self._nodes:
            raise Conflict(f"Instance {server_id} is on no host.")
        return self._nodes[server.host], server

    def console_output(self, server: Server) -> bytes:
        """What a server's serial console kept; nothing where it is on no node of ours."""
        node = self._nodes.get(server.host or "")
        return node.console_output(server.id) if node is not None else b""

    async def measures(self) -> dict[str, Measure]:
        """What every guest that runs has used, by server."""
        found: dict[str, Measure] = {}
        for node in self._nodes.values():
            found.update(await node.measures())
        return found

    def metadata_requests(self, server: Server) -> Sequence[AccessRecord]:
        """What a server's guest asked its metadata service for in this run."""
        node = self._nodes.get(server.host or "")
        return node.metadata_requests(server.id) if node is not None else ()

    async def _act(self, server: Server, name: str, work: Work) -> None:
        notification = ACTIONS[name].notification
        node = self._nodes[server.host or ""]
        try:
            await work.do(node, server)
        except SpawnerError as error:
            broken: dict[str, object] = {}
            if work.breaks:
                fault = {"code": 500, "message": str(error), "details": "", "created": self._clock()}
                broken = {"vm_state": VmState.ERROR, "fault": fault}
            await self._finish(server.id, f"{notification}.error", failed=str(error), **broken)
            return
        await self._finish(
            server.id,
            f"{notification}.end",
            vm_state=work.vm_state or server.vm_state,
            power_state=server.power_state if work.power_state is None else work.power_state,
            fault=None,
        )

    # --- after a restart --------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Finish or clean up what a killed conductor left.

        | in the store | on the node | then |
        |---|---|---|
        | deleting | anything | the delete is finished |
        | building | runs | it is active |
        | building | not there | it is built again |
        | an action of `WORK` | anything | it is done again |
        | another task | anything | it is forgotten, the power state is the node's |
        | snapshot of an active server | paused | the guest goes on |
        | active | not there | it is stopped |
        | a flavor | another allocation | what the flavor says is held |
        | none | runs | it is ended |
        | allocation without server | | it is released |
        """
        async with self._store.read() as connection:
            known = await servers.listed(connection)
            consumers = await placement.consumers(connection)
        power = {name: await node.running() for name, node in self._nodes.items()}
        by_id = {server.id: server for server in known}
        for name, guests in power.items():
            for server_id in guests:
                if server_id not in by_id or by_id[server_id].host != name:
                    LOG.warning("%s runs %s, which is not its server: ending it", name, server_id)
                    await self._nodes[name].destroy(server_id)
        for server_id in consumers - set(by_id):
            async with self._store.write() as connection:
                await placement.release(connection, server_id)
        for server in known:
            await self._recover(server, power.get(server.host or "", {}).get(server.id))

    async def _recover(self, server: Server, power: PowerState | None) -> None:
        if server.task_state is TaskState.DELETING:
            self._work(server.id, self._delete(server.id, None))
        elif server.vm_state is VmState.BUILDING:
            if power is PowerState.RUNNING:
                await self._finish(
                    server.id,
                    "instance.create.end",
                    vm_state=VmState.ACTIVE,
                    power_state=power,
                    launched_at=self._clock(),
                )
                return
            if server.host is not None:
                await self._nodes[server.host].destroy(server.id)
                await self._unplace(server.id, "the spawner was restarted")
            self._work(server.id, self._build(server))
        elif server.host in self._nodes:
            await self._hold_what_it_needs(server)
            again = work_again(server, power)
            if again is not None:
                self._work(server.id, self._act(server, *again))
                return
            if server.task_state is TaskState.IMAGE_SNAPSHOT and power is PowerState.PAUSED:
                power = await self._unpause(server)
            state = _STATE_OF_POWER.get(power, server.vm_state)
            if server.vm_state in {VmState.ERROR, VmState.RESCUED, VmState.RESIZED}:
                state = server.vm_state
            found = PowerState.SHUTDOWN if power is None else power
            if (state, None, found) != (server.vm_state, server.task_state, server.power_state):
                await self._finish(server.id, "instance.update", vm_state=state, power_state=found)

    async def _unpause(self, server: Server) -> PowerState:
        """A snapshot had stopped the guest for a moment; one that its user had paused stays so."""
        if server.vm_state is VmState.PAUSED:
            return PowerState.PAUSED
        await self._nodes[server.host or ""].unpause(server.id)
        return PowerState.RUNNING

    async def _hold_what_it_needs(self, server: Server) -> None:
        """The allocation as flavor and old flavor say: a change of one is not in one transaction with it."""
        needed = server.needs(server.flavor)
        if server.old_flavor is not None:
            needed = _larger(needed, server.needs(server.old_flavor))
        async with self._store.write() as connection:
            provider = await self._provider(connection, server.host or "")
            held = (await placement.allocations_of(connection, server.id)).get(provider.id, {})
            if held != {name: amount for name, amount in needed.items() if amount}:
                await placement.claim(connection, server.id, provider, needed)

    # --- what guests do ---------------------------------------------------------------------------------

    async def _guest_reported(self, server_id: str, event: AgentEvent) -> None:
        """Record what a guest's agent says: `guest.start`, `guest.finish`, `guest.result`."""
        payload: dict[str, object] = msgspec.to_builtins(event)
        kind = f"guest.{payload.pop('event', 'malformed')}"
        async with self._store.write() as connection:
            await events.record(connection, self._clock(), kind, server_id, None, payload)

    async def _guest_signalled(self, server_id: str, signal: Signal) -> None:
        """Record a signal of a guest to those who wait for it."""
        async with self._store.write() as connection:
            await events.record(connection, self._clock(), signals.EVENT, server_id, None, signal.payload())

    async def _guest_ended(self, server_id: str) -> None:
        """A guest powered off by itself: the server is stopped, unless something is being done to it."""
        async with self._store.read() as connection:
            server = await servers.get(connection, server_id)
        if server.task_state is None:
            await self._finish(
                server_id,
                "instance.power_off.end",
                vm_state=VmState.STOPPED,
                power_state=PowerState.SHUTDOWN,
            )

    async def _guest_halted(self, server_id: str, why: str) -> None:
        """A guest cannot write its disk: paused until there is room and somebody unpauses it (SP-07).

        What is being done to it goes first: it ends with a state that it may have found before the halt.
        """
        await self.settled(server_id)
        node, _server = await self._node_of(server_id)
        if (await node.running()).get(server_id) is not PowerState.PAUSED:
            return
        async with self._store.write() as connection:
            server = await servers.get(connection, server_id)
            paused = {"vm_state": VmState.PAUSED, "power_state": PowerState.PAUSED}
            if server.task_state is None:
                await servers.change(connection, server_id, self._clock(), **paused)
            await self._tell(connection, server, "instance.pause.end", {"why": why})

    # --- what all of them do ----------------------------------------------------------------------------

    def _work(self, server_id: str, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        task = asyncio.create_task(run(), name=f"server {server_id}")
        self._tasks[server_id] = task
        task.add_done_callback(lambda done: self._forget(server_id, done))

    def _forget(self, server_id: str, done: asyncio.Task[None]) -> None:
        if self._tasks.get(server_id) is done:
            del self._tasks[server_id]
        if not done.cancelled() and done.exception() is not None:
            LOG.error("server %s: its task failed", server_id, exc_info=done.exception())

    async def _finish(
        self, server_id: str, event: str, *, failed: str | None = None, **changes: object
    ) -> None:
        """End what is being done to a server: its state, its action and the event in one transaction."""
        now = self._clock()
        async with self._store.write() as connection:
            server = await servers.get(connection, server_id)
            await servers.change(connection, server_id, now, task_state=None, **changes)
            outcome = {"finished_at": now, "result": "Error" if failed else "Success", "message": failed}
            await connection.execute(_END_ACTIONS, {"of_server": server_id, "host": server.host, **outcome})
            await self._tell(connection, server, event, {"fault": failed} if failed else {})

    async def _begin_action(
        self, connection: AsyncConnection, server_id: str, action: str, caller: Caller
    ) -> None:
        await connection.execute(
            _BEGIN_ACTION,
            {
                "request_id": caller.request_id,
                "server_id": server_id,
                "action": action,
                "project_id": caller.project_id,
                "user_id": caller.user_id,
                "started_at": self._clock(),
            },
        )

    async def _tell(
        self,
        connection: AsyncConnection,
        server: Server,
        kind: str,
        more: Mapping[str, object] | None = None,
    ) -> None:
        payload = {"name": server.name, "host": server.host, "state": server.vm_state.value, **(more or {})}
        await events.record(connection, self._clock(), kind, server.id, server.project_id, payload)


def _larger(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    """The larger amount of each resource class."""
    return {name: max(first.get(name, 0), second.get(name, 0)) for name in {*first, *second}}


_STATE_OF_POWER = {
    None: VmState.STOPPED,
    PowerState.RUNNING: VmState.ACTIVE,
    PowerState.PAUSED: VmState.PAUSED,
    PowerState.SHUTDOWN: VmState.STOPPED,
    PowerState.CRASHED: VmState.STOPPED,
}
