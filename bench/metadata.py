"""`./dev bench metadata`: our server beside aiohttp's bare one, beside real Nova, and with many instances.

Each server has CPU 0 to itself and wrk the other one; rounds go A B A B, so that a ratio is of the same
seconds. Ratios are medians of those of each round. `CPU` compares processor time per request, which holds
on a busy machine too, where rates tell more about the neighbours.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import shutil
import socket
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from bench import nova_api
from bench.load import Server, cpu_s, free_port, pss_kib, rss_kib, started, wrk
from tests.contract.peers import PeerMissingError

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
PATHS = (
    "/openstack/latest/meta_data.json",
    "/openstack/latest/network_data.json",
    "/latest/meta-data/instance-id",
)
UUID = "8f0a3c1e-5d27-4b43-9c55-2f6f2f5d9b10"
PROJECT = "b7c2a4f3d2f04b0f9c1ce4a6c0f5d001"
DOCUMENT = {
    "uuid": UUID,
    "name": "web-01",
    "hostname": "web-01",
    "project_id": PROJECT,
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


def run() -> None:
    """Print the tables."""
    if shutil.which("wrk") is None:
        sys.exit("bench metadata: wrk is missing. Install it, or use ./dev bench.")
    with tempfile.TemporaryDirectory(prefix="guestling-bench-") as name:
        directory = Path(name)
        compare(directory)
        beside_nova(directory)
        beside_a_crowd(directory)
        with_workers(directory)
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


def beside_nova(directory: Path) -> None:
    """Real Nova under uwsgi and ours behind the same signed headers; ratios of the same round."""
    try:
        nova = nova_api.install(directory / "nova", DOCUMENT)
    except PeerMissingError as missing:
        print(f"\nNova: not measured: {missing}")
        return
    columns = f"\n{'path':34} {'connection':12} {'Nova/s':>7} {'ours/s':>7} {'uvloop/s':>8}"
    with (
        nova_server(nova, cached=True) as theirs,
        signed(directory, "asyncio") as ours_,
        signed(directory, "uvloop") as fast,
    ):
        print(f"{columns} {'rate':>6} {'uvloop':>6} {'CPU':>6} {'uvloop':>6} {'errors':>6}")
        for path in PATHS:
            for close in (False, True):
                show_beside_nova(path, close, theirs, (ours_, fast))
        memory = [pss_kib(server.pid) / 1024 for server in (theirs, ours_, fast)]
    starts = start_ratios(nova, directory)
    print(f"start to first answer, of Nova's: {starts:.2f}    (goal: at most 0.25)")
    print(f"memory (PSS) MiB: Nova {memory[0]:.0f}, ours {memory[1]:.0f}, uvloop {memory[2]:.0f}", end="    ")
    print(f"of Nova's: {memory[1] / memory[0]:.2f}, {memory[2] / memory[0]:.2f}    (goal: at most 0.3)")
    never_seen(nova, directory)


def show_beside_nova(path: str, close: bool, theirs: Server, ours_: tuple[Server, Server]) -> None:
    for server in (theirs, *ours_):
        wrk(server, path, close=close, seconds=1)
    rounds = [[wrk(server, path, close=close) for server in (theirs, *ours_)] for _ in range(ROUNDS)]
    rates = [statistics.median(loads[i].per_s for loads in rounds) for i in range(3)]
    faster = [statistics.median(loads[i].per_s / loads[0].per_s for loads in rounds) for i in (1, 2)]
    leaner = [statistics.median(loads[0].cpu_us / loads[i].cpu_us for loads in rounds) for i in (1, 2)]
    errors = sum(load.errors for loads in rounds for load in loads)
    how = "per request" if close else "keep-alive"
    row = f"{path:34} {how:12} {rates[0]:7.0f} {rates[1]:7.0f} {rates[2]:8.0f}"
    print(f"{row} {faster[0]:6.1f} {faster[1]:6.1f} {leaner[0]:6.1f} {leaner[1]:6.1f} {errors:6}", flush=True)


def start_ratios(nova: nova_api.Nova, directory: Path) -> float:
    """Seconds from exec to the first answer, ours of Nova's, median of the rounds."""
    ratios = []
    for _ in range(ROUNDS):
        with nova_server(nova, cached=True) as theirs, signed(directory, "asyncio") as mine:
            ratios.append(mine.started_s / theirs.started_s)
    return statistics.median(ratios)


def never_seen(nova: nova_api.Nova, directory: Path, count: int = 1000) -> None:
    """An instance's first answer: Nova without its cache, ours `count` instances nobody asked for yet."""
    write_documents(directory / "fresh", count + 1)
    uuids = [json.loads((directory / "fresh" / f"{i}.json").read_text())["uuid"] for i in range(1, count + 1)]
    with nova_server(nova, cached=False) as theirs, signed(directory, "asyncio", "fresh") as mine:
        spent = []
        for server, asked in ((theirs, [UUID] * (count // 10)), (mine, uuids)):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            before, took = cpu_s(server.pid), []
            for uuid in asked:
                at = time.perf_counter()
                connection.request("GET", PATHS[0], headers=nova_api.headers(uuid, PROJECT))
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    raise SystemExit(f"bench metadata: {answer.status} for an instance never seen")
                took.append(time.perf_counter() - at)
            spent.append((statistics.median(took) * 1000, (cpu_s(server.pid) - before) / len(asked) * 1000))
            connection.close()
    (nova_ms, nova_cpu_ms), (our_ms, our_cpu_ms) = spent
    print(f"a first answer, ms (and CPU): Nova without its cache {nova_ms:.2f} ({nova_cpu_ms:.2f})")
    print(
        f"  ours {our_ms:.2f} ({our_cpu_ms:.2f}), of Nova's: {our_ms / nova_ms:.3f}    (goal: at most 0.03)"
    )


def beside_a_crowd(directory: Path, idle: int = 10_000, half_asked: int = 60) -> None:
    """Idle connections from many addresses and requests that never end, beside live traffic."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (idle + 2_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with ours(directory / "one", "uvloop") as server, contextlib.ExitStack() as crowd:
        alone = wrk(server, PATHS[0])
        for i in range(idle + half_asked):
            guest = crowd.enter_context(socket.socket())
            guest.bind((f"127.1.{i % 200}.1", 0))
            guest.connect(("127.0.0.1", server.port))
            if i >= idle:
                guest.send(b"GET /latest/meta-data/ HTT")
        crowded = wrk(server, PATHS[0])
        print(f"\nbeside {idle} idle connections and {half_asked} half requests: ", end="")
        print(f"errors {crowded.errors}, p99 {crowded.p99_ms:.1f} ms (alone {alone.p99_ms:.1f})", end="")
        print(f", CPU {crowded.cpu_us:.1f} us a request (alone {alone.cpu_us:.1f})", end="")
        print(f", RSS {rss_kib(server.pid) / 1024:.0f} MiB    (goal: no error, p99 at most 20, 200 MiB)")


def with_workers(directory: Path) -> None:
    """One and two server processes, each beside wrk on the same two CPUs."""
    loads = {}
    for workers in (1, 2):
        port = free_port()
        command = [*serve_command(directory / "one", "uvloop"), "--listen", f"127.0.0.1:{port}"]
        command += ["--workers", str(workers)]
        with started(command, port, PATHS[0], cpus="0,1") as server:
            rounds = [wrk(server, PATHS[0], cpus="0,1") for _ in range(ROUNDS)]
            loads[workers] = statistics.median(load.per_s for load in rounds)
    print(f"--workers, both CPUs shared with wrk: 1 {loads[1]:.0f}/s, 2 {loads[2]:.0f}/s", end="")
    print(f", ratio {loads[2] / loads[1]:.2f}")


@contextlib.contextmanager
def nova_server(nova: nova_api.Nova, *, cached: bool) -> Iterator[Server]:
    port = free_port()
    command, variables = nova.command(port, cached=cached)
    with started(command, port, PATHS[0], nova_api.headers(UUID, PROJECT), variables) as server:
        yield server


@contextlib.contextmanager
def signed(directory: Path, loop: str, documents: str = "one") -> Iterator[Server]:
    """Ours, which believes the headers that Neutron's agent signs, as Nova does."""
    port, secret = free_port(), directory / "secret"
    secret.touch(0o600)
    secret.write_text(nova_api.SECRET)
    command = serve_command(directory / documents, loop)
    command += ["--listen", f"127.0.0.1:{port},identity=proxy", "--secret-file", str(secret)]
    with started(command, port, PATHS[0], nova_api.headers(UUID, PROJECT)) as server:
        yield server


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


def serve_command(directory: Path, loop: str) -> list[str]:
    return [sys.executable, "-m", "guestling.main", "serve", "--instances", str(directory), "--loop", loop]


@contextlib.contextmanager
def ours(directory: Path, loop: str, *, nocloud: bool = False) -> Iterator[Server]:
    port, by_path = free_port(), free_port()
    command = [*serve_command(directory, loop), "--listen", f"127.0.0.1:{port}"]
    if nocloud:
        command += ["--listen", f"127.0.0.1:{by_path},identity=path"]
    with started(command, port, PATHS[0]) as server:
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
    command = [sys.executable, str(script), str(directory / "index.json"), str(port), loop]
    with started(command, port, PATHS[0]) as server:
        yield server


def first_answer_ms(port: int, index: int) -> float:
    """One request that makes the server render something new: another content of another version."""
    versions = ("2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15", "2016-06-30")
    before = time.monotonic()
    url = f"http://127.0.0.1:{port}/openstack/{versions[index % 5]}/meta_data.json?{index}"
    with urllib.request.urlopen(url) as answer:
        answer.read()
    return (time.monotonic() - before) * 1000
