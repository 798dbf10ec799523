"""Servers under load: one process pinned to CPU 0, wrk on CPU 1, processor time and memory from /proc."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SECONDS = int(os.environ.get("BENCH_SECONDS", "2"))


@dataclass(frozen=True, slots=True)
class Load:
    """One run of wrk."""

    per_s: float
    p99_ms: float
    cpu_us: float
    errors: int


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, how long it took to its first answer, and the headers that it must be asked with."""

    pid: int
    port: int
    started_s: float
    headers: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def started(
    command: list[str],
    port: int,
    path: str,
    headers: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
    cpus: str = "0",
) -> Iterator[Server]:
    """The server that `command` starts, from its first answer to `path` on; ended at the end of the block."""
    before = time.monotonic()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        ["taskset", "-c", cpus, *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**environment, **(variables or {})},
    )
    try:
        while not answers(port, path, headers or {}):
            if process.poll() is not None or time.monotonic() - before > 300:
                raise SystemExit(f"bench: {' '.join(command)} did not start")
            time.sleep(0.01)
        yield Server(process.pid, port, time.monotonic() - before, headers or {})
    finally:
        process.terminate()
        process.wait(20)


def answers(port: int, path: str, headers: Mapping[str, str]) -> bool:
    try:
        with urllib.request.urlopen(asked(port, path, headers), timeout=5):
            return True
    except OSError:
        return False


def asked(port: int, path: str, headers: Mapping[str, str]) -> urllib.request.Request:
    return urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=dict(headers))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wrk(server: Server, path: str, *, close: bool = False, seconds: int = SECONDS, cpus: str = "1") -> Load:
    """One run of wrk with 16 connections; `close`: a connection for each request. Any error counts."""
    command = ["taskset", "-c", cpus, "wrk", "-t1", "-c16", f"-d{seconds}s", "--latency"]
    for name, value in server.headers.items():
        command += ["-H", f"{name}: {value}"]
    command += ["-H", "Connection: close"] if close else []
    command.append(f"http://127.0.0.1:{server.port}{path}")
    before = cpu_s(server.pid)
    done = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = cpu_s(server.pid) - before
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", done)
    count = re.search(r"(\d+) requests in", done)
    if rate is None or p99 is None or count is None:
        raise SystemExit(f"bench: wrk said:\n{done}")
    errors = sum(
        int(number) for number in re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", done)
    )
    unit = {"us": 0.001, "ms": 1.0, "s": 1000.0}[p99[2]]
    return Load(float(rate[1]), float(p99[1]) * unit, used * 1e6 / max(int(count[1]), 1), errors)


def family(pid: int) -> list[int]:
    """A process and its children, theirs too."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


def cpu_s(pid: int) -> float:
    """Processor time of a process and its children so far."""
    ticks = 0
    for each in family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def rss_kib(pid: int) -> int:
    return _memory_kib(Path(f"/proc/{pid}/status"), "VmRSS")


def pss_kib(pid: int) -> int:
    """Memory of a process and its children, what they share counted once."""
    return sum(_memory_kib(Path(f"/proc/{each}/smaps_rollup"), "Pss:") for each in family(pid))


def _memory_kib(path: Path, name: str) -> int:
    return int(next(line for line in path.read_text().splitlines() if line.startswith(name)).split()[1])
