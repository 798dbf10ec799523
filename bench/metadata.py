"""`./dev bench metadata`: our server beside aiohttp's bare low-level one, and what many instances cost.

Each server has CPU 0 to itself and wrk the other one; rounds go A B A B, so that a ratio is of the same
seconds. Ratios are medians of those of each round. `CPU` compares processor time per request, which holds
on a busy machine too, where rates tell more about the neighbours.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "2"))
PATHS = (
    "/openstack/latest/meta_data.json",
    "/openstack/latest/network_data.json",
    "/latest/meta-data/instance-id",
)
UUID = "8f0a3c1e-5d27-4b43-9c55-2f6f2f5d9b10"
DOCUMENT = {
    "uuid": UUID,
    "name": "web-01",
    "hostname": "web-01",
    "project_id": "b7c2a4f3d2f04b0f9c1ce4a6c0f5d001",
    "availability_zone": "nova",
    "keys": [{"name": "mykey", "type": "ssh", "data": "ssh-ed25519 " + "A" * 68 + " user@example"}],
    "meta": {"role": "web", "env": "prod", "owner": "team-a"},
    "user_data": "#cloud-config\npackages: []\n",
    "network": {
        "links": [{"id": "tap0", "type": "ovs", "ethernet_mac_address": "fa:16:3e:12:34:56", "mtu": 1450}],
        "networks": [
            {"link": "tap0", "type": "ipv4", "ip_address": "10.20.30.40/24", "gateway": "10.20.30.1"},
            {"link": "tap0", "type": "ipv6_slaac", "ip_address": "2001:db8:1::40/64"},
        ],
    },
    "identity": {"source_ips": ["127.0.0.1"]},
}


@dataclass(frozen=True, slots=True)
class Load:
    """One run of wrk."""

    per_s: float
    p99_ms: float
    cpu_us: float
    errors: int


@dataclass(frozen=True, slots=True)
class Server:
    """A running server and how long it took to its first answer."""

    pid: int
    port: int
    started_s: float


def run() -> None:
    """Print the tables."""
    if shutil.which("wrk") is None:
        sys.exit("bench metadata: wrk is missing. Install it, or use ./dev bench.")
    with tempfile.TemporaryDirectory(prefix="guestling-bench-") as name:
        directory = Path(name)
        compare(directory)
        many(directory)


def compare(directory: Path) -> None:
    """Ours and the bare server on the same bytes, both loops, both ways of connecting."""
    write_documents(directory / "one", 1)
    columns = (
        f"{'path':34} {'loop':8} {'connection':12} {'bare/s':>7} {'ours/s':>7} {'bare us':>7} {'ours us':>7}"
    )
    print(f"{columns} {'rate':>6} {'CPU':>6} {'p99':>6} {'errors':>6}")
    for loop in ("asyncio", "uvloop"):
        with ours(directory / "one", loop) as our, bare(directory, our, loop) as other:
            for path in PATHS:
                for close in (False, True):
                    show(path, loop, close, our, other)


def show(path: str, loop: str, close: bool, our: Server, other: Server) -> None:
    for server in (our, other):
        wrk(server, path, close=close, seconds=1)
    rounds = [(wrk(other, path, close=close), wrk(our, path, close=close)) for _ in range(ROUNDS)]
    ratio = statistics.median(mine.per_s / bare_.per_s for bare_, mine in rounds)
    p99 = statistics.median(mine.p99_ms / bare_.p99_ms for bare_, mine in rounds)
    cpu = statistics.median(bare_.cpu_us / mine.cpu_us for bare_, mine in rounds)
    bare_s, our_s = (statistics.median(pair[i].per_s for pair in rounds) for i in (0, 1))
    bare_us, our_us = (statistics.median(pair[i].cpu_us for pair in rounds) for i in (0, 1))
    errors = sum(load.errors for pair in rounds for load in pair)
    how = "per request" if close else "keep-alive"
    row = f"{path:34} {loop:8} {how:12} {bare_s:7.0f} {our_s:7.0f} {bare_us:7.1f} {our_us:7.1f}"
    print(f"{row} {ratio:6.2f} {cpu:6.2f} {p99:6.2f} {errors:6}", flush=True)


def many(directory: Path) -> None:
    """What the number of instances costs: start, rate, memory, and the first answer of a page."""
    columns = f"{'instances':>9} {'start s':>8} {'rate/s':>8} {'CPU us':>7} {'RSS MiB':>8}"
    print(f"\n{columns} {'B/instance':>10} {'first ms':>9}")
    base_kib = 0
    for count in (1, 1_000, 100_000):
        where = directory / f"n{count}"
        write_documents(where, count)
        with ours(where, "uvloop", nocloud=True) as server:
            kib = rss_kib(server.pid)
            base_kib = base_kib or kib
            loads = [wrk(server, PATHS[0]) for _ in range(ROUNDS)]
            rate, cpu = (
                statistics.median(getattr(load, name) for load in loads) for name in ("per_s", "cpu_us")
            )
            each = (kib - base_kib) * 1024 / count
            first = statistics.median(first_answer_ms(server.port, i) for i in range(5))
            row = f"{count:>9} {server.started_s:8.2f} {rate:8.0f} {cpu:7.1f} {kib / 1024:8.1f}"
            print(f"{row} {each:10.0f} {first:9.2f}", flush=True)


def write_documents(directory: Path, count: int) -> None:
    """The instance that is asked, and others that are idle."""
    directory.mkdir()
    (directory / "0.json").write_text(json.dumps(DOCUMENT))
    for i in range(1, count):
        uuid = f"{i:08x}-0000-4000-8000-000000000000"
        address = f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}"
        other = {**DOCUMENT, "uuid": uuid, "name": f"idle-{i}", "identity": {"source_ips": [address]}}
        (directory / f"{i}.json").write_text(json.dumps(other))


@contextlib.contextmanager
def ours(directory: Path, loop: str, *, nocloud: bool = False) -> Iterator[Server]:
    port, by_path = free_port(), free_port()
    command = [sys.executable, "-m", "guestling.main", "serve", "--instances", str(directory), "--loop", loop]
    command += ["--listen", f"127.0.0.1:{port}"]
    if nocloud:
        command += ["--listen", f"127.0.0.1:{by_path},identity=path"]
    with started(command, port) as server:
        yield server


@contextlib.contextmanager
def bare(directory: Path, our: Server, loop: str) -> Iterator[Server]:
    """The bare server with the bytes that ours sends."""
    index = {}
    for path in PATHS:
        with urllib.request.urlopen(f"http://127.0.0.1:{our.port}{path}") as answer:
            index[path] = (answer.read().decode(), answer.headers.get_content_type())
    (directory / "index.json").write_text(json.dumps(index))
    port = free_port()
    script = Path(__file__).with_name("bare_server.py")
    with started(
        [sys.executable, str(script), str(directory / "index.json"), str(port), loop], port
    ) as server:
        yield server


@contextlib.contextmanager
def started(command: list[str], port: int) -> Iterator[Server]:
    before = time.monotonic()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        ["taskset", "-c", "0", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    try:
        while not answers(port):
            if process.poll() is not None or time.monotonic() - before > 300:
                raise SystemExit(f"bench metadata: {' '.join(command)} did not start")
            time.sleep(0.01)
        yield Server(process.pid, port, time.monotonic() - before)
    finally:
        process.terminate()
        process.wait(20)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{PATHS[0]}", timeout=1):
            return True
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wrk(server: Server, path: str, *, close: bool = False, seconds: int = SECONDS) -> Load:
    command = ["taskset", "-c", "1", "wrk", "-t1", "-c16", f"-d{seconds}s", "--latency"]
    command += ["-H", "Connection: close"] if close else []
    command.append(f"http://127.0.0.1:{server.port}{path}")
    before = cpu_s(server.pid)
    done = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = cpu_s(server.pid) - before
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", done)
    count = re.search(r"(\d+) requests in", done)
    if rate is None or p99 is None or count is None:
        raise SystemExit(f"bench metadata: wrk said:\n{done}")
    errors = sum(
        int(number) for number in re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", done)
    )
    unit = {"us": 0.001, "ms": 1.0, "s": 1000.0}[p99[2]]
    return Load(float(rate[1]), float(p99[1]) * unit, used * 1e6 / max(int(count[1]), 1), errors)


def cpu_s(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def first_answer_ms(port: int, index: int) -> float:
    """One request that makes the server render something new: another content of another version."""
    versions = ("2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15", "2016-06-30")
    before = time.monotonic()
    url = f"http://127.0.0.1:{port}/openstack/{versions[index % 5]}/meta_data.json?{index}"
    with urllib.request.urlopen(url) as answer:
        answer.read()
    return (time.monotonic() - before) * 1000
