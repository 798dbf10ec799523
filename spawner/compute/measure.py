"""What a guest has used of processors, memory, disks and network, read from what the system says. Pure.

Counters grow for as long as one run of a guest; a restart begins at nothing, as Prometheus wants it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Transfer:
    """Bytes and operations (for a network: packets) in and out: read and written, received and sent."""

    bytes_in: int = 0
    bytes_out: int = 0
    count_in: int = 0
    count_out: int = 0


@dataclass(frozen=True)
class Measure:
    """One guest at one moment. `cpu_s` is by virtual processor, blocks by device, networks by interface."""

    memory_bytes: int = 0
    resident_bytes: int = 0
    cpu_s: Mapping[str, float] = field(default_factory=dict)
    blocks: Mapping[str, Transfer] = field(default_factory=dict)
    networks: Mapping[str, Transfer] = field(default_factory=dict)


def thread_cpu_s(stat: str, ticks_per_s: int) -> float:
    """Seconds that a thread has run, of its /proc/PID/task/TID/stat (14th, 15th field; names may be odd)."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / ticks_per_s


def resident_bytes(statm: str, page_bytes: int) -> int:
    """Memory that a process really has, of its /proc/PID/statm."""
    return int(statm.split()[1]) * page_bytes


def block_transfers(answer: Any) -> dict[str, Transfer]:
    """Disk -> what went through it, of QMP's query-blockstats; only what the guest itself sees."""
    found = {}
    for entry in answer:
        name = str(entry.get("qdev") or entry.get("device") or entry.get("node-name") or "")
        stats = entry.get("stats", {})
        if name:
            found[name.removeprefix("/machine/peripheral/").removesuffix("/virtio-backend")] = Transfer(
                stats.get("rd_bytes", 0),
                stats.get("wr_bytes", 0),
                stats.get("rd_operations", 0),
                stats.get("wr_operations", 0),
            )
    return found


def network_transfers(net_dev: str) -> dict[str, Transfer]:
    """Interface -> what went through it, of /proc/PID/net/dev."""
    found = {}
    for line in net_dev.splitlines()[2:]:
        name, _, rest = line.partition(":")
        numbers = [int(word) for word in rest.split()]
        if len(numbers) >= 10:
            found[name.strip()] = Transfer(numbers[0], numbers[8], numbers[1], numbers[9])
    return found
