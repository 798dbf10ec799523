"""Starting a guest: from the request to QEMU answering QMP, against bare QEMU with the same command line.

The goal is at most 1.35 times bare QEMU: launcher, namespace, relay and change of user included.
"""

from __future__ import annotations

import asyncio
import json
import os
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
from spawner.compute.qemu.accelerator import TCG, Accelerator
from spawner.compute.qemu.argv import Wiring, qemu_argv
from spawner.compute.qemu.confinement import find_qemu
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.compute.qemu.vm import Vm
from spawner.network import choose
from spawner.network.backend import Attachment, Backend
from spawner.network.namespace import NETDEV

ROUNDS = 15
GOAL_OF_BARE = 1.35
ACCELERATOR = Accelerator(TCG, "for comparison", 0.0)
Milliseconds = list[float]


def run() -> None:
    """Measure and print; says at the end whether the goal is met."""
    kernel = _kernel()
    choice = choose.probe(boot.QEMU)
    bare, ours, stopped = [], [], []
    for _ in range(ROUNDS):
        # In turns, so that a busy moment of the machine hits both.
        bare.append(_bare_start(kernel))
        started, ended = asyncio.run(_our_start(kernel, choice.backend))
        ours.append(started)
        stopped.append(ended)
    print_rows(
        ("what", "median ms", "best ms", "of bare"),
        [
            _row("bare QEMU, same devices, to QMP", bare, bare),
            _row(f"ours ({choice.backend.name}, launcher, relay), to QMP", ours, bare),
            _row("ours, stop until nothing is left", stopped, bare),
        ],
    )
    ratio = statistics.median(ours) / statistics.median(bare)
    print(f"{'met   ' if ratio <= GOAL_OF_BARE else 'MISSED'}  {ratio:.2f} times bare, goal {GOAL_OF_BARE}")


def _row(name: str, times: Milliseconds, bare: Milliseconds) -> tuple[str, str, str, str]:
    median = statistics.median(times)
    return name, f"{median:.1f}", f"{min(times):.1f}", f"{median / statistics.median(bare):.2f}"


def _kernel() -> Path:
    return images.get("tiny", lambda _: None).image.kernel


def _spec(kernel: Path) -> VmSpec:
    return VmSpec(
        name="bench",
        uuid=UUID("6f2b9a36-4c1e-4d5a-9a77-3f0d5b1e8c42"),
        kernel=kernel,
        cmdline="console=ttyS0 quiet",
        memory_mib=256,
        nics=(Nic("52:54:00:12:34:56"),),
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
