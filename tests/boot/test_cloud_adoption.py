"""`guestling api` is killed under a real guest, again and again; the guest goes on, nothing else is left."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from image_harness import store
from spawner.client import Client, read_clouds
from spawner.compute.qemu import guest_record, process_marks
from spawner.network import bridge_networks

pytestmark = [pytest.mark.boot, pytest.mark.timeout(400)]

READY_S = 120.0
METADATA = "wget -q -O - http://169.254.169.254/openstack/latest/meta_data.json"
USER_DATA = b"#cloud-config\nhostname: survivor\nruncmd:\n  - echo said-by-$(hostname)\n"


class Cloud:
    """A cloud whose process is killed and started again on the same state."""

    def __init__(self, root: Path, port: int, options: Sequence[str] = ()) -> None:
        self._state, self._port, self.options = root / "state", port, tuple(options)
        self.instances, self.runs = self._state / "instances", root / "run"
        self.records = self._state / "bridges"
        self._environment = {**os.environ, "GUESTLING_RUN_DIR": str(self.runs)}
        self._process: subprocess.Popen[str] | None = None
        self._client: Client | None = None

    def start(self, guests: str = "adopt") -> Client:
        listen = f"127.0.0.1:{self._port}"
        command = [sys.executable, "-m", "guestling.main", "api", "--listen", listen, "--image", "tiny"]
        self._process = subprocess.Popen(
            [*command, "--state", str(self._state), "--guests", guests, "--format", "json", *self.options],
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "it did not start"
        self._client = Client(read_clouds(self._state / "clouds.yaml", "guestling"))
        self._client.sign_in()
        return self._client

    def end(self, number: signal.Signals) -> int:
        assert self._process is not None
        if self._client is not None:
            self._client.__exit__()
        with self._process as process:
            process.send_signal(number)
            return process.wait(READY_S)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.end(signal.SIGKILL)
        for who, run, home in guest_record.all_in(self.instances):
            guest_record.end(who, run, home)
        for run in self.runs.iterdir():
            process_marks.end(*bridge_marks(run))

    def bridges(self) -> list[int]:
        """Processes of networks that are bridges."""
        return [pid for run in self.runs.iterdir() for pid, _ in process_marks.marked(*bridge_marks(run))]

    def kill_bridge_holders(self) -> None:
        """Those that hold the namespaces and relay metadata; whatever else is in there goes on."""
        marks = [bridge_marks(run)[0] for run in self.runs.iterdir()]
        killed = {pid for pid, _ in process_marks.marked(*marks)}
        assert killed
        process_marks.kill(*marks)
        while killed.intersection(pid for pid, _ in process_marks.marked(*marks)):
            time.sleep(0.01)

    def qemus(self) -> dict[str, int]:
        """Server -> process id of its QEMU."""
        return {home.name: who.pid for who, _, home in guest_record.all_in(self.instances)}


@contextmanager
def cloud_here(port: int) -> Iterator[Cloud]:
    """A cloud whose guests are QEMU processes of its own."""
    root = Path(tempfile.mkdtemp(prefix="ga"))
    root.chmod(0o711)
    made = Cloud(root, port)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(root)


@pytest.fixture
def cloud(unused_tcp_port: int, tiny: store.Image) -> Iterator[Cloud]:
    assert tiny.kernel is not None
    with cloud_here(unused_tcp_port) as made:
        yield made


def bridge_marks(run: Path) -> tuple[str, ...]:
    return f"guestling-bridge-{run.name}.", f"--dhcp-hostsdir={run}/"


def create(client: Client, name: str) -> str:
    wish = {
        "name": name,
        "imageRef": client.image("tiny")["id"],
        "flavorRef": client.flavor("m1.tiny")["id"],
        "networks": "auto",
        "user_data": base64.b64encode(USER_DATA).decode(),
    }
    return str(client.call("POST", "/compute/v2.1/servers", {"server": wish})["server"]["id"])


def reports(client: Client, server: str) -> list[tuple[str, str]]:
    return [
        (event["type"], str(event["payload"].get("name", "")))
        for event in client.events(server)
        if event["type"].startswith("guest.")
    ]


def console(client: Client, server: str) -> str:
    path = f"/compute/v2.1/servers/{server}/action"
    return str(client.call("POST", path, {"os-getConsoleOutput": {}})["output"])


def said(client: Client, server: str, command: str) -> str:
    """What a command says in the guest; it must succeed."""
    done = client.execute(server, command, 60)
    assert done["status"] == 0, done
    return base64.b64decode(done["stdout"]).decode()


def address(client: Client, server: str) -> str:
    found = client.call("GET", f"/compute/v2.1/servers/{server}")["server"]["addresses"]
    return str(next(iter(found.values()))[0]["addr"])


def until_result(client: Client, server: str, limit_s: float = READY_S) -> dict[str, Any]:
    for event in client.follow(server, limit_s):
        if event["type"] == "guest.result":
            found: dict[str, Any] = event["payload"]
            return found
    raise AssertionError(f"no result; the console said {console(client, server)[-2000:]}")


def test_sp_06_a_guest_outlives_its_killed_spawner_and_is_taken_over(cloud: Cloud) -> None:
    client = cloud.start()
    server = create(client, "web-1")
    cloud.end(signal.SIGKILL)  # while it is being built

    client = cloud.start()
    assert client.until_settled(server, 60)["status"] == "ACTIVE"
    process = cloud.qemus()[server]
    cloud.end(signal.SIGKILL)  # while the guest boots, before it has asked for its metadata
    assert cloud.qemus() == {server: process}

    client = cloud.start()
    assert client.until_settled(server, 60)["status"] == "ACTIVE"
    assert until_result(client, server)["status"] == "done"  # its metadata came from the new life
    assert "said-by-survivor" in console(client, server)
    heard = reports(client, server)
    assert len(heard) == len(set(heard))  # each report once
    cloud.end(signal.SIGKILL)  # while it runs

    client = cloud.start()
    assert cloud.qemus() == {server: process}
    again = reports(client, server)
    assert again[: len(heard)] == heard
    assert len(again) == len(set(again))
    assert "said-by-survivor" in console(client, server)
    late = client.execute(server, "echo began; sleep 60", 2)
    assert (late["timed_out"], base64.b64decode(late["stdout"])) == (True, b"began\n")
    client.call("POST", f"/compute/v2.1/servers/{server}/action", {"os-stop": None})
    assert client.until_settled(server, 60)["status"] == "SHUTOFF"
    assert cloud.qemus() == {}
    client.call("POST", f"/compute/v2.1/servers/{server}/action", {"os-start": None})
    assert client.until_settled(server, 60)["status"] == "ACTIVE"
    assert cloud.end(signal.SIGTERM) == 0  # by default guests stay up then too
    assert list(cloud.qemus()) == [server]

    client = cloud.start()
    client.call("DELETE", f"/compute/v2.1/servers/{server}")
    cloud.end(signal.SIGKILL)  # while it is deleted
    client = cloud.start()
    client.until_gone(server, 60)
    assert cloud.qemus() == {}
    assert list(cloud.instances.iterdir()) == []
    assert list(cloud.runs.iterdir()) == []
    assert cloud.end(signal.SIGTERM) == 0


def test_sp_06_with_the_policy_end_a_killed_spawner_takes_its_guests_along(cloud: Cloud) -> None:
    client = cloud.start(guests="end")
    server = create(client, "web-1")
    assert client.until_settled(server, 60)["status"] == "ACTIVE"
    cloud.end(signal.SIGKILL)
    until_s = time.monotonic() + 5
    while cloud.qemus() and time.monotonic() < until_s:
        time.sleep(0.02)
    assert cloud.qemus() == {}
    client = cloud.start(guests="end")
    assert client.until_settled(server, 60)["status"] == "SHUTOFF"
    assert list(cloud.runs.iterdir()) == []


@pytest.mark.root
@pytest.mark.skipif(
    bool(bridge_networks.why_not()),
    reason=f"{bridge_networks.why_not()}; ./dev test as root has what it needs",
)
def test_sp_06_guests_of_a_bridge_outlive_their_killed_spawner_with_their_network(cloud: Cloud) -> None:
    cloud.options = ("--network", "bridge")
    client = cloud.start()
    first, second = (create(client, name) for name in ("web-1", "web-2"))
    for server in (first, second):
        assert until_result(client, server)["status"] == "done"
    before, networks = cloud.qemus(), cloud.bridges()
    assert len(networks) == 2  # the namespace's holder and dnsmasq
    cloud.end(signal.SIGKILL)
    assert (cloud.qemus(), sorted(cloud.bridges())) == (before, sorted(networks))

    client = cloud.start()
    assert (cloud.qemus(), sorted(cloud.bridges())) == (before, sorted(networks))
    for server, other in ((first, second), (second, first)):
        assert f'"uuid": "{server}"' in said(client, server, METADATA)  # from the new life
        assert "1 packets received" in said(client, server, f"ping -c 1 -W 20 {address(client, other)}")
    # A port that is made in this life gets a tap of its own.
    third = create(client, "web-3")
    assert until_result(client, third)["status"] == "done"
    assert "1 packets received" in said(client, third, f"ping -c 1 -W 20 {address(client, first)}")
    cloud.kill_bridge_holders()
    assert f'"uuid": "{first}"' in said(client, first, f"until {METADATA}; do sleep 0.2; done")
    client.call("DELETE", f"/compute/v2.1/servers/{first}")
    cloud.end(signal.SIGKILL)  # while it is deleted
    cloud.kill_bridge_holders()

    client = cloud.start()
    client.until_gone(first, 60)
    assert f'"uuid": "{second}"' in said(client, second, METADATA)
    assert "1 packets received" in said(client, third, f"ping -c 1 -W 20 {address(client, second)}")
    for server in (second, third):
        client.call("DELETE", f"/compute/v2.1/servers/{server}")
        client.until_gone(server, 60)
    assert cloud.qemus() == {}
    assert cloud.bridges() == []
    assert [list(each.iterdir()) for each in (cloud.instances, cloud.runs, cloud.records)] == [[], [], []]
    assert cloud.end(signal.SIGTERM) == 0
