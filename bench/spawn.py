"""Starting and stopping a guest, against bare QEMU with the same command line and against `virsh`.

From the request to QEMU answering QMP, at most 1.35 times bare QEMU: launcher, namespace, relay and change of
user included. Stopping until nothing is left: at most a tenth of `virsh destroy`. The peer is Debian's
libvirt daemon, in the same rounds, with the same machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

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
from spawner.compute.qemu.vm import Vm
from spawner.network import choose
from spawner.network.backend import Attachment, Backend
from spawner.network.namespace import NETDEV
from tests.boot import libvirt_daemon

ROUNDS = 15
# Debian's user and group for libvirt's QEMU.
LIBVIRT_QEMU = (64055, 64055)
GOAL_OF_BARE = 1.35
GOAL_OF_DESTROY = 0.1
ACCELERATOR = Accelerator(TCG, "for comparison", 0.0)
Milliseconds = list[float]


def run() -> None:
    """Measure and print; says at the end whether the goal is met."""
    with ExitStack() as stack:
        lacking = libvirt_daemon.missing()
        virsh = None if lacking else Virsh(stack.enter_context(libvirt_daemon.running()).local, _kernel())
        _measure(virsh)
        if lacking:
            print(f"not measured: virsh ({lacking})")


def _measure(virsh: Virsh | None) -> None:
    kernel = _kernel()
    choice = choose.probe(boot.QEMU)
    bare, ours, stopped, defined, destroyed = [], [], [], [], []
    for _ in range(ROUNDS):
        # In turns, so that a busy moment of the machine hits all.
        bare.append(_bare_start(kernel))
        started, ended = asyncio.run(_our_start(kernel, choice.backend))
        ours.append(started)
        stopped.append(ended)
        if virsh is not None:
            defined.append(virsh.start())
            destroyed.append(virsh.destroy())
    rows = [
        _row("bare QEMU, same devices, to QMP", bare, bare),
        _row(f"ours ({choice.backend.name}, launcher, relay), to QMP", ours, bare),
        _row("ours, stop until nothing is left", stopped, bare),
    ]
    if virsh is not None:
        rows += [
            _row("virsh define and start, one command", defined, bare),
            _row("virsh destroy", destroyed, bare),
        ]
    print_rows(("what", "median ms", "best ms", "of bare"), rows)
    _judge(ours, bare, "bare", GOAL_OF_BARE)
    if virsh is not None:
        _judge(stopped, destroyed, "virsh destroy", GOAL_OF_DESTROY)


def _judge(ours: Milliseconds, theirs: Milliseconds, peer: str, goal: float) -> None:
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(f"{'met   ' if ratio <= goal else 'MISSED'}  {ratio:.2f} times {peer}, goal {goal}")


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


async def _our_start(kernel: Path, backend: Backend) -> tuple[float, float]:
    """Milliseconds from the request to QMP's answer, and from `stop` until nothing is left."""
    started_s = time.perf_counter()
    run = RunDirectory.create()
    attachment: Attachment = backend.attach(run.metadata_socket, run.path)
    vm = Vm(_spec(kernel), run, ACCELERATOR, [attachment])
    await vm.start()
    answered_s = time.perf_counter()
    await vm.stop(grace_s=0)
    return (answered_s - started_s) * 1e3, (time.perf_counter() - answered_s) * 1e3


if __name__ == "__main__":
    run()
