"""The spawner's speed, against the project's goals.

Starting: from the request to QEMU answering QMP, against bare QEMU with the same command line; launcher,
namespace, relay and change of user included, with and without the keeper that a server of `guestling api`
gets. Stopping until nothing is left, against `virsh destroy`: Debian's libvirt daemon, in the same rounds,
with the same machine. Whole guests up to their agent's result, cold and restored. Servers a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from bench import spawn_cloud, spawn_template
from guestling.output import print_rows
from image_harness import boot, images
from spawner.compute.driver import Nic, VmSpec
from spawner.compute.libvirt import agent_port
from spawner.compute.libvirt.domain import DomainWiring, domain_xml
from spawner.compute.qemu.accelerator import TCG, Accelerator
from spawner.compute.qemu.argv import Wiring, qemu_argv
from spawner.compute.qemu.confinement import find_qemu
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.compute.qemu.user import User
from spawner.compute.qemu.vm import Keeping, Vm
from spawner.network import choose
from spawner.network.backend import Attachment, Backend
from spawner.network.namespace import NETDEV
from tests.boot import libvirt_daemon

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "15"))
# Whole guests and bursts of servers take seconds each.
LONG_ROUNDS = max(1, ROUNDS // 5)
# Debian's user and group for libvirt's QEMU.
LIBVIRT_QEMU = (64055, 64055)
GOAL_OF_BARE = 1.35
GOAL_OF_DESTROY = 0.1
GOAL_COLD_S = 6.0
GOAL_RESTORED_S = 1.5
GOAL_PER_S = 50.0
ACCELERATOR = Accelerator(TCG, "for comparison", 0.0)
Milliseconds = list[float]


@dataclass(frozen=True)
class Goal:
    """One goal of the project: the median that was measured, and the best of the rounds."""

    what: str
    median: float
    best: float
    limit: float
    at_least: bool = False

    def row(self) -> tuple[str, ...]:
        """What `print_rows` shows."""
        met = self.median >= self.limit if self.at_least else self.median <= self.limit
        bound = f"{'at least' if self.at_least else 'at most'} {self.limit:g}"
        return self.what, f"{self.median:.2f}", f"{self.best:.2f}", bound, "met" if met else "NOT met"


@dataclass
class Starts:
    """Milliseconds of each round."""

    bare: Milliseconds = field(default_factory=list)
    ours: Milliseconds = field(default_factory=list)
    kept: Milliseconds = field(default_factory=list)
    stopped: Milliseconds = field(default_factory=list)
    defined: Milliseconds = field(default_factory=list)
    destroyed: Milliseconds = field(default_factory=list)


def run() -> None:
    """Measure and print; says at the end which goals are met."""
    waited_s, started_s = _waited_for_cpu_s(), time.monotonic()
    goals = [*_starts(), *_guests(), _creates()]
    print()
    print_rows(("goal", "median", "best", "", ""), [goal.row() for goal in goals])
    waiting = (_waited_for_cpu_s() - waited_s) / (time.monotonic() - started_s)
    print(f"Some process waited for a processor {waiting:.0%} of the time; on a quiet machine all is faster.")


def _waited_for_cpu_s() -> float:
    """Seconds since the host's start in which some process waited for a CPU; 0 where Linux does not tell."""
    try:
        some = Path("/proc/pressure/cpu").read_text().splitlines()[0]
    except OSError:
        return 0.0
    return int(some.rpartition("total=")[2]) / 1e6


def _starts() -> list[Goal]:
    with ExitStack() as stack:
        lacking = libvirt_daemon.missing()
        virsh = None if lacking else Virsh(stack.enter_context(libvirt_daemon.running()).local, _kernel())
        if lacking:
            print(f"not measured: virsh ({lacking})")
        return _judged(_measured(virsh))


def _measured(virsh: Virsh | None) -> Starts:
    kernel = _kernel()
    backend = choose.probe(boot.QEMU).backend
    starts = Starts()
    with tempfile.TemporaryDirectory(prefix="gb") as home:
        keeping = Keeping(Path(home), outlives=False)
        for _ in range(ROUNDS):
            # In turns, so that a busy moment of the machine hits all.
            starts.bare.append(_bare_start(kernel))
            started, ended = asyncio.run(_our_start(kernel, backend))
            starts.ours.append(started)
            starts.stopped.append(ended)
            starts.kept.append(asyncio.run(_our_start(kernel, backend, keeping))[0])
            if virsh is not None:
                starts.defined.append(virsh.start())
                starts.destroyed.append(virsh.destroy())
    return starts


def _judged(starts: Starts) -> list[Goal]:
    """Prints the times; gives the goals."""
    rows = [
        ("bare QEMU, same devices, to QMP", starts.bare),
        ("ours (namespace, launcher, relay), to QMP", starts.ours),
        ("ours with a keeper, to QMP", starts.kept),
        ("ours, stop until nothing is left", starts.stopped),
    ]
    goals = [
        _ratio("start to QMP, of bare QEMU", starts.ours, starts.bare, GOAL_OF_BARE),
        _ratio("start with a keeper to QMP, of bare QEMU", starts.kept, starts.bare, GOAL_OF_BARE),
    ]
    if starts.defined:
        rows += [
            ("virsh define and start, one command", starts.defined),
            ("virsh destroy", starts.destroyed),
        ]
        goals.append(_ratio("stop, of virsh destroy", starts.stopped, starts.destroyed, GOAL_OF_DESTROY))
    print_rows(("what", "median ms", "best ms", "of bare"), [_row(*row, starts.bare) for row in rows])
    return goals


def _ratio(what: str, ours: Milliseconds, theirs: Milliseconds, limit: float) -> Goal:
    medians = statistics.median(ours) / statistics.median(theirs)
    return Goal(what, medians, min(ours) / min(theirs), limit)


def _guests() -> list[Goal]:
    served, cold, restored = [], [], []
    with spawn_cloud.cloud("qemu") as clouds, spawn_template.guests() as guests:
        for _ in range(LONG_ROUNDS):
            served.append(spawn_cloud.until_result(clouds))
            cold.append(guests.until_result(template=False))
            restored.append(guests.until_result(template=True))
    return [
        _seconds("tiny guest cold, API's create to agent's result, s", served, GOAL_COLD_S),
        _seconds("tiny guest cold, fixture `guest` to agent's result, s", cold, GOAL_COLD_S),
        _seconds("tiny guest restored, fixture `guest` to agent's result, s", restored, GOAL_RESTORED_S),
    ]


def _seconds(what: str, took_s: list[float], limit: float) -> Goal:
    return Goal(what, statistics.median(took_s), min(took_s), limit)


def _creates() -> Goal:
    with spawn_cloud.cloud("fake") as clouds:
        bursts = [spawn_cloud.burst(clouds) for _ in range(LONG_ROUNDS)]
    active, asked = sum(each.active for each in bursts), sum(each.asked for each in bursts)
    per_s = [each.active / each.took_s for each in bursts]
    what = f"creates a second, fake driver on SQLite ({active} of {asked} became ACTIVE)"
    return Goal(what, statistics.median(per_s), max(per_s), GOAL_PER_S, at_least=True)


class Virsh:
    """libvirt's own client with the same machine: kernel, card, console, agent's port."""

    def __init__(self, uri: str, kernel: Path) -> None:
        self._uri = uri
        root = Path(uri.partition("socket=")[2]).parents[1]
        readable = root / "vmlinuz"
        shutil.copyfile(kernel, readable)
        readable.chmod(0o444)
        wiring = DomainWiring(
            virt_type="qemu",
            owner="bench",
            emulator=find_qemu(boot.QEMU),
            console_log=root / "console.log",
            run=root,
            netdevs=(NETDEV,),
            process_label="+{}:+{}".format(*LIBVIRT_QEMU),
        )
        agent_port.make(root, User(*LIBVIRT_QEMU))
        self._xml = root / "bench.xml"
        self._xml.write_text(domain_xml(_spec(readable), wiring))

    def start(self) -> float:
        """Milliseconds from the command to its end: libvirt has spoken to QEMU by then."""
        return self._timed(f"define {self._xml}; start bench")

    def destroy(self) -> float:
        """Milliseconds until libvirt says that it is gone."""
        took_ms = self._timed("destroy bench")
        self._timed("undefine bench")
        return took_ms

    def _timed(self, commands: str) -> float:
        started_s = time.perf_counter()
        done = libvirt_daemon.virsh(self._uri, commands)
        took_s = time.perf_counter() - started_s
        if done.returncode != 0:
            raise SystemExit(f"virsh {commands}: {done.stderr}")
        return took_s * 1e3


def _row(name: str, times: Milliseconds, bare: Milliseconds) -> tuple[str, str, str, str]:
    median = statistics.median(times)
    return name, f"{median:.1f}", f"{min(times):.1f}", f"{median / statistics.median(bare):.2f}"


def _kernel() -> Path:
    kernel = images.get("tiny", lambda _: None).image.kernel
    assert kernel is not None
    return kernel


def _spec(kernel: Path) -> VmSpec:
    return VmSpec(
        name="bench",
        uuid=UUID("6f2b9a36-4c1e-4d5a-9a77-3f0d5b1e8c42"),
        kernel=kernel,
        cmdline="console=ttyS0 quiet",
        memory_mib=256,
        nics=(Nic("52:54:00:12:34:56", slot=3),),
    )


def _bare_start(kernel: Path) -> float:
    """Milliseconds from starting QEMU as any script would to its answer to `qmp_capabilities`."""
    run = RunDirectory.create()
    try:
        with ExitStack() as stack:
            listeners = [stack.enter_context(run.listen(name)) for name in ("qmp", "console", "agent")]
            clients = [
                stack.enter_context(_connected(run.path / name)) for name in ("qmp", "console", "agent")
            ]
            qmp, console, agent = (listener.fileno() for listener in listeners)
            wiring = Wiring(TCG, qmp, console, agent, netdevs=(NETDEV,))
            argv = qemu_argv(_spec(kernel), wiring, find_qemu(boot.QEMU))
            started_s = time.perf_counter()
            qemu = stack.enter_context(
                subprocess.Popen(argv, pass_fds=[qmp, console, agent], stderr=subprocess.DEVNULL)
            )
            _handshake(clients[0])
            took_s = time.perf_counter() - started_s
            qemu.kill()
        return took_s * 1e3
    finally:
        run.remove()


def _connected(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(os.fspath(path))
    return client


def _handshake(qmp: socket.socket) -> None:
    lines = qmp.makefile("rb")
    lines.readline()
    qmp.sendall(json.dumps({"execute": "qmp_capabilities"}).encode())
    lines.readline()


async def _our_start(kernel: Path, backend: Backend, keeping: Keeping | None = None) -> tuple[float, float]:
    """Milliseconds from the request to QMP's answer, and from `stop` until nothing is left."""
    started_s = time.perf_counter()
    run = RunDirectory.create()
    attachment: Attachment = backend.attach(run.metadata_socket, run.path)
    vm = Vm(_spec(kernel), run, ACCELERATOR, [attachment], keeping=keeping)
    await vm.start()
    answered_s = time.perf_counter()
    await vm.stop(grace_s=0)
    return (answered_s - started_s) * 1e3, (time.perf_counter() - answered_s) * 1e3


if __name__ == "__main__":
    run()
