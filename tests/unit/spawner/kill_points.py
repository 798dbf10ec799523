"""Kill a spawner with SIGKILL at many moments of its life, let the next one recover, count what is wrong.

    kill_points.py fake|qemu DIRECTORY POINTS

A program of its own: it is single-threaded, forks each life from itself with everything imported, and is the
reaper of whatever a killed life leaves, so that no process can get away unseen. It prints one JSON document.
With `qemu` the nodes are real in all but the binary that plays QEMU, which is QEMU.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from select import POLLIN, poll
from typing import Any

from sqlalchemy import insert, select

from spawner import placement
from spawner.compute.fake_node import FakeNode
from spawner.compute.node import ComputeNode
from spawner.compute.qemu import guest_record
from spawner.compute.qemu.accelerator import Accelerator
from spawner.compute.qemu.node import QemuNode
from spawner.conductor import Caller, Conductor
from spawner.images import ImageFiles
from spawner.network.backend import Backend
from spawner.network.namespace import Namespace
from spawner.states import PowerState, VmState
from spawner.store import servers
from spawner.store.engine import Store, open_store
from spawner.store.servers import Flavor, Server
from spawner.store.tables import IMAGES, SERVERS

PR_SET_CHILD_SUBREAPER = 36
IMAGE = "20000000-0000-0000-0000-000000000001"
SMALL = Flavor("1", "small", vcpus=1, ram_mib=64, disk_gib=1)
LARGER = Flavor("2", "larger", vcpus=2, ram_mib=96, disk_gib=2)
ALL_GONE_S = 5.0
_requests = itertools.count(1)

Life = Callable[[Path], Coroutine[Any, Any, Any]]


class Lasting(dict[str, PowerState]):
    """Guests of a fake node that live on in a directory, as real ones would."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        super().__init__({file.name: PowerState(int(file.read_text())) for file in directory.iterdir()})

    def __setitem__(self, server_id: str, state: PowerState) -> None:
        part = self._directory.parent / f"{server_id}.part"
        part.write_text(str(state.value))
        part.replace(self._directory / server_id)
        super().__setitem__(server_id, state)

    def pop(self, server_id: str, *default: Any) -> Any:
        (self._directory / server_id).unlink(missing_ok=True)
        return super().pop(server_id, *default)


class Trial:
    """How lives are made: with which nodes, and what a life does."""

    def __init__(self, kind: str) -> None:
        self._backend: Backend | None = Namespace() if kind == "qemu" else None

    def nodes(self, where: Path, store: Store) -> list[ComputeNode]:
        if self._backend is not None:
            return [self._qemu(where, store, self._backend)]
        found: list[ComputeNode] = []
        for name in ("host-1", "host-2"):
            node = FakeNode(name, memory_mib=2048)
            node.guests = Lasting(where / name)
            found.append(node)
        return found

    def _qemu(self, where: Path, store: Store, backend: Backend) -> QemuNode:
        files = ImageFiles(where / "images")
        accelerator = Accelerator("tcg", "", 0.0)
        return QemuNode("host-1", where / "instances", store, files, accelerator, backend, outlive=True)

    async def live(self, where: Path) -> None:
        """Everything that a server can go through; what is accepted is written down at once."""
        store, conductor, _ = await self.begin(where)
        ids = [f"10000000-0000-0000-0000-{number:012d}" for number in (1, 2)]
        for server_id in ids:
            await conductor.create(_server(server_id), _caller())
            _acknowledge(where, "created", server_id)
        await conductor.settled()
        for name in ("stop", "start", "pause", "unpause", "reboot"):
            await conductor.act(ids[0], name, _caller())
            await conductor.settled()
        await conductor.resize(ids[0], LARGER, _caller())
        await conductor.settled()
        await conductor.confirm_resize(ids[0], _caller())
        await conductor.settled()
        await conductor.act(ids[1], "rebuild", _caller())
        await conductor.delete(ids[1], _caller())
        _acknowledge(where, "deleted", ids[1])
        await conductor.settled()
        await store.close()

    async def begin(self, where: Path) -> tuple[Store, Conductor, list[ComputeNode]]:
        store = await open_store(str(where / "spawner.db"))
        nodes = self.nodes(where, store)
        conductor = Conductor(store, nodes, clock=time.time, new_id=_new_id)
        await _offer(where, store)
        await conductor.start()
        return store, conductor, nodes

    async def check(self, where: Path) -> dict[str, Any]:
        """Recover; say what is wrong; then delete everything and say what is left."""
        started_s = time.monotonic()
        store, conductor, nodes = await self.begin(where)
        took_s = time.monotonic() - started_s
        await conductor.settled()
        wrong = await _wrong(where, store, nodes)
        async with store.read() as connection:
            known = await servers.listed(connection)
        for server in known:
            await conductor.delete(server.id, _caller())
        await conductor.settled()
        wrong += [f"after all is deleted: {what}" for what in await _wrong(where, store, nodes)]
        await conductor.close()
        for node in nodes:
            if isinstance(node, QemuNode):
                await node.close()
        await store.close()
        return {"wrong": wrong, "took_s": took_s, "states": [server.vm_state.value for server in known]}


def _new_id() -> str:
    return f"{random.getrandbits(128):032x}"


def _caller() -> Caller:
    return Caller("project", "user", f"req-{os.getpid()}-{next(_requests)}")


def _server(server_id: str) -> Server:
    return Server(server_id, "web", "web", "project", "user", SMALL, image_id=IMAGE, created_at=time.time())


def _acknowledge(where: Path, what: str, server_id: str) -> None:
    with (where / "acknowledged").open("a") as file:
        file.write(f"{what} {server_id}\n")


async def _offer(where: Path, store: Store) -> None:
    async with store.write() as connection:
        if (await connection.execute(select(IMAGES.c.id))).first() is not None:
            return
        await ImageFiles(where / "images").receive(IMAGE, "raw", _disk())
        await connection.execute(
            insert(IMAGES).values(
                id=IMAGE, name="tiny", status="active", owner="project", disk_format="raw",
                container_format="bare", properties={}, tags=[], created_at=time.time(),
            )
        )  # fmt: skip


async def _disk() -> AsyncIterator[bytes]:
    yield bytes(1 << 20)


# --- what is wrong ------------------------------------------------------------------------------------------


async def _wrong(where: Path, store: Store, nodes: list[ComputeNode]) -> list[str]:
    async with store.read() as connection:
        rows = {row.id: row for row in await connection.execute(select(SERVERS))}
        known = {server.id: server for server in await servers.listed(connection)}
        providers = {provider.id: provider for provider in await placement.providers(connection)}
        consumers = await placement.consumers(connection)
        held = {each: await placement.allocations_of(connection, each) for each in consumers}
    running = {
        (node.name, server_id): power for node in nodes for server_id, power in (await node.running()).items()
    }
    wrong = [f"{server_id} is still {row.task_state}" for server_id, row in rows.items() if row.task_state]
    wrong += [f"{each} has an allocation and is no server" for each in consumers - set(known)]
    wrong += [
        f"{server_id} runs on {host} without a server"
        for host, server_id in running
        if server_id not in known or known[server_id].host != host
    ]
    for server in known.values():
        power = running.get((server.host or "", server.id), PowerState.SHUTDOWN)
        wanted = PowerState.SHUTDOWN if server.vm_state is VmState.STOPPED else PowerState.RUNNING
        if server.vm_state is VmState.PAUSED:
            wanted = PowerState.PAUSED
        if power is not wanted:
            wrong.append(f"{server.id} is {server.vm_state.value} and its guest {power.name}")
        amounts = [amount for its_host, amount in held.get(server.id, {}).items() if its_host in providers]
        needed = server.flavor.resources()
        if server.old_flavor is not None:
            needed = {name: max(needed[name], server.old_flavor.resources()[name]) for name in needed}
        if amounts != [needed]:
            wrong.append(f"{server.id} holds {amounts}, it needs {needed}")
    for line in _lines(where / "acknowledged"):
        what, server_id = line.split()
        if server_id not in rows or (what == "deleted" and server_id in known):
            wrong.append(f"{server_id} was acknowledged as {what} and is not")
    if any(isinstance(node, QemuNode) for node in nodes):
        wrong += _wrong_on_host(where, {server_id for _, server_id in running}, set(known))
    return wrong


def _wrong_on_host(where: Path, running: set[str], known: set[str]) -> list[str]:
    """QEMU processes, disks, run directories, sockets and helpers, all of them looked for on the host."""
    qemus = {home.name: (who.pid, run) for who, run, home in guest_record.all_in(where / "instances")}
    wrong = []
    if set(qemus) != running:
        wrong.append(f"QEMU runs for {sorted(qemus)}, {sorted(running)} are said to run")
    homes = {home.name for home in (where / "instances").iterdir()}
    if homes != known:
        wrong.append(f"disks of {sorted(homes)}, servers are {sorted(known)}")
    runs = set((where / "run").iterdir()) if (where / "run").exists() else set()
    if runs != {run for _, run in qemus.values()}:
        wrong.append(f"run directories {runs}")
    sockets = {Path(line.split()[-1]).parent for line in _lines(Path("/proc/net/unix")) if str(where) in line}
    if not sockets <= runs:
        wrong.append(f"sockets in {sockets - runs}")
    # A launch server that was being started when its spawner died finds out once it is ready.
    until_s = time.monotonic() + ALL_GONE_S
    while strange := _strange_processes({pid for pid, _ in qemus.values()}):
        if time.monotonic() > until_s:
            break
        time.sleep(0.02)
    return wrong + [f"a process is left: {what}" for what in strange]


def _strange_processes(qemus: set[int]) -> list[str]:
    """Descendants of the reaper that are neither this life nor its launch server nor a guest's own."""
    parents = _parents()
    me, reaper = os.getpid(), os.getppid()
    keepers = {parents[pid] for pid in qemus if pid in parents}
    strange = []
    for pid in parents:
        if not _is_below(pid, reaper, parents) or pid == me:
            continue
        expected = pid in qemus or pid in keepers or parents[pid] in qemus or parents[pid] == me
        if not expected and (words := _command(pid)):
            strange.append(f"{pid} (of {parents[pid]}): {words}")
    return strange


def _parents() -> dict[int, int]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    return found


def _is_below(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == ancestor:
            return True
    return False


def _command(pid: int) -> str:
    """Empty for a process that is gone, a zombie too."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    except OSError:
        return ""


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []


# --- lives and deaths ---------------------------------------------------------------------------------------


def _fork(life: Life, where: Path) -> tuple[int, int]:
    """A life in a process of its own: its pid, and where it writes what it found."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid:
        os.close(theirs)
        return pid, ours
    os.close(ours)
    status = 1
    try:
        os.environ["GUESTLING_RUN_DIR"] = str(where / "run")
        found = asyncio.run(life(where))
        os.write(theirs, json.dumps(found).encode())
        status = 0
    except Exception as error:
        os.write(theirs, json.dumps({"wrong": [f"a life ended with {error!r}"]}).encode())
        raise
    finally:
        sys.stderr.flush()
        os._exit(status)


def _ended(pid: int, pipe: int) -> dict[str, Any]:
    with os.fdopen(pipe, "rb") as file:
        said = file.read()
    os.waitpid(pid, 0)
    found: dict[str, Any] | None = json.loads(said) if said else None
    return found or {}


def _kill_after(pid: int, pipe: int, seconds: float) -> float | None:
    """None when it was killed then; else how many seconds it took to its own end."""
    started_s = time.monotonic()
    end = poll()
    end.register(pipe, POLLIN)
    ended = end.poll(seconds * 1000)
    took_s = time.monotonic() - started_s
    os.kill(pid, signal.SIGKILL)
    os.close(pipe)
    killed = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL and not ended
    return None if killed else took_s


def _all_gone() -> list[str]:
    """Wait until nothing is below us; what stays is left over."""
    until_s = time.monotonic() + ALL_GONE_S
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return []
        if time.monotonic() > until_s:
            parents = _parents()
            return [_command(pid) for pid in parents if _is_below(pid, os.getpid(), parents)]
        time.sleep(0.01)


def main(arguments: list[str]) -> int:
    kind, root, points = arguments[0], Path(arguments[1]), int(arguments[2])
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    trial = Trial(kind)
    calm = root / "calm"
    calm.mkdir()
    started_s = time.monotonic()
    wrong = _ended(*_fork(trial.live, calm)).get("wrong", [])
    whole_s = time.monotonic() - started_s
    wrong += _ended(*_fork(trial.check, calm))["wrong"] + _all_gone()
    killed = twice = 0
    recovery_s = 0.0
    states: dict[str, int] = {}
    chance = random.Random(points)
    for point in range(points):
        where = root / f"p{point}"
        where.mkdir()
        seconds = 1.3 * whole_s * (point + chance.random()) / points
        took_s = _kill_after(*_fork(trial.live, where), seconds)
        if took_s is None:
            killed += 1
        else:  # the first life may have been a slow one, on a machine that had more to do
            whole_s = (whole_s + took_s) / 2
        if point % 3 == 0:
            twice += _kill_after(*_fork(trial.check, where), chance.random() * whole_s / 3) is None
        found = _ended(*_fork(trial.check, where))
        left = found.get("wrong", ["no answer"]) + [f"left over: {what}" for what in _all_gone()]
        wrong += [f"point {point}: {what}" for what in left]
        recovery_s = max(recovery_s, found.get("took_s", 0.0))
        for state in found.get("states", []):
            states[state] = states.get(state, 0) + 1
        shutil.rmtree(where)
    print(
        json.dumps(
            {"points": points, "killed": killed, "killed_again": twice, "life_s": round(whole_s, 2),
             "slowest_recovery_s": round(recovery_s, 2), "servers_found": states, "wrong": wrong}
        )
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
