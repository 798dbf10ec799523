"""Measure a guest that runs: QMP says what QEMU knows, /proc what its threads and its network did.

QEMU counts nothing for a user network, so what went in and out is read from the network namespace that a
guest has to itself; one that shares ours is told nothing about.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from spawner.compute import measure
from spawner.compute.measure import Measure, Transfer

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


async def measured(execute: Callable[[str], Awaitable[object]]) -> Measure:
    """What the guest behind a monitor has used in this run; its QEMU runs on this machine.

    Raises SpawnerError, OSError when it ends meanwhile.
    """
    processors: Any = await execute("query-cpus-fast")
    memory: Any = await execute("query-memory-size-summary")
    blocks = await execute("query-blockstats")
    # A thread's number finds the process too.
    process = Path("/proc", str(processors[0]["thread-id"]))
    return Measure(
        memory_bytes=int(memory["base-memory"]) + int(memory.get("plugged-memory", 0)),
        resident_bytes=measure.resident_bytes((process / "statm").read_text(), PAGE_BYTES),
        cpu_s={
            str(each["cpu-index"]): measure.thread_cpu_s(
                (process / "task" / str(each["thread-id"]) / "stat").read_text(), TICKS_PER_S
            )
            for each in processors
        },
        blocks=measure.block_transfers(blocks),
        networks=_networks(process),
    )


def _networks(process: Path) -> dict[str, Transfer]:
    with contextlib.suppress(OSError):
        if (process / "ns/net").readlink() != Path("/proc/self/ns/net").readlink():
            return measure.network_transfers((process / "net/dev").read_text())
    return {}
