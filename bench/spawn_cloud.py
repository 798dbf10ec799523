"""Servers of `guestling api`, a process of its own, asked for over HTTP as `guestling server` does."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from spawner.client import Client, read_clouds

POLL_S = 0.02
LIMIT_S = 120.0
# As many as a project may have at once, by the quota that it is born with.
BURST = 100
CLIENTS = 4


@dataclass(frozen=True)
class Burst:
    """Many servers asked for at once: how many became ACTIVE, and seconds until the last one was."""

    asked: int
    active: int
    took_s: float


@contextlib.contextmanager
def cloud(driver: str) -> Iterator[Path]:
    """A new cloud with the image `tiny` on SQLite; its clouds.yaml. It ends with the block, guests too."""
    root = Path(tempfile.mkdtemp(prefix="gb"))
    root.chmod(0o711)
    listen = f"127.0.0.1:{_free_port()}"
    command = [sys.executable, "-m", "guestling.main", "api", "--listen", listen, "--image", "tiny"]
    process = subprocess.Popen(
        [*command, "--state", str(root / "state"), "--driver", driver, "--guests", "end", "--format", "json"],
        stdout=subprocess.PIPE,
        env={**os.environ, "GUESTLING_RUN_DIR": str(root / "run")},
    )
    try:
        if process.stdout is None or not process.stdout.readline():
            raise SystemExit("bench spawn: `guestling api` did not start")
        yield root / "state" / "clouds.yaml"
    finally:
        process.terminate()
        process.wait(LIMIT_S)
        shutil.rmtree(root)


def until_result(clouds: Path) -> float:
    """Seconds from the request for a server to its agent's result. Ends the server again."""
    with _signed_in(clouds) as client:
        wish = _wish(client)
        started_s = time.perf_counter()
        server = _create(client, wish, "cold")
        status = _result(client, server)
        took_s = time.perf_counter() - started_s
        client.call("DELETE", f"/compute/v2.1/servers/{server}")
        client.until_gone(server, LIMIT_S)
    if status != "done":
        raise SystemExit(f"bench spawn: the guest's agent ended with {status!r}")
    return took_s


def burst(clouds: Path) -> Burst:
    """Ask for BURST servers from several connections, wait until nothing is done to any, delete them."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(_signed_in(clouds)) for _ in range(CLIENTS)]
        wish = _wish(clients[0])

        def create(part: int) -> None:
            for number in range(part, BURST, CLIENTS):
                _create(clients[part], wish, f"burst-{number}")

        started_s = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as threads:
            list(threads.map(create, range(CLIENTS)))
        servers = _settled(clients[0])
        took_s = time.perf_counter() - started_s
        for server in servers:
            clients[0].call("DELETE", f"/compute/v2.1/servers/{server}")
        for server in servers:
            clients[0].until_gone(server, LIMIT_S)
    return Burst(BURST, sum(status == "ACTIVE" for status in servers.values()), took_s)


@contextlib.contextmanager
def _signed_in(clouds: Path) -> Iterator[Client]:
    with Client(read_clouds(clouds, "guestling")) as client:
        client.sign_in()
        yield client


def _wish(client: Client) -> dict[str, object]:
    """A server of the smallest flavor, but for its name; found before the clock runs."""
    return {
        "imageRef": client.image("tiny")["id"],
        "flavorRef": client.flavor("m1.nano")["id"],
        "networks": "auto",
    }


def _create(client: Client, wish: dict[str, object], name: str) -> str:
    made = client.call("POST", "/compute/v2.1/servers", {"server": {**wish, "name": name}})
    return str(made["server"]["id"])


def _result(client: Client, server: str) -> str:
    deadline_s = time.monotonic() + LIMIT_S
    seen = 0
    while time.monotonic() < deadline_s:
        for event in client.events(server, seen):
            seen = event["number"]
            if event["type"] == "guest.result":
                return str(event["payload"]["status"])
        time.sleep(POLL_S)
    raise SystemExit(f"bench spawn: no result of the guest's agent within {LIMIT_S:g} s")


def _settled(client: Client) -> dict[str, str]:
    """Server -> status, once none is being built any more."""
    deadline_s = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline_s:
        listed = client.call("GET", "/compute/v2.1/servers/detail")["servers"]
        found = {server["id"]: server["status"] for server in listed}
        if "BUILD" not in found.values():
            return found
        time.sleep(POLL_S)
    raise SystemExit(f"bench spawn: servers are still being built after {LIMIT_S:g} s")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
