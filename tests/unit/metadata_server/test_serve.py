"""`guestling serve` as a process: start, reload, stop, workers, inherited sockets, giving up root."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# Each starts a server: left to ./dev test.
pytestmark = pytest.mark.slow


UUID = "aaaaaaaa-0000-4000-8000-000000000001"
COMMAND = (sys.executable, "-m", "guestling.main")


class Serving:
    """A running `guestling serve` and the first address it listens on."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process = process
        self.address = address

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        host, _, port = self.address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        try:
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@contextlib.contextmanager
def serving(*arguments: str | Path, **environment: str) -> Iterator[Serving]:
    command = (*COMMAND, "serve", "--format", "json", *map(str, arguments))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    assert process.stdout is not None
    try:
        text = ""
        while not text.endswith("}\n"):
            line = process.stdout.readline()
            assert line, "the server ended before it was ready"
            text += line
        yield Serving(process, json.loads(text)["listening"][0])
    finally:
        process.terminate()
        process.wait(15)
        process.stdout.close()


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    directory = tmp_path / "instances"
    directory.mkdir()
    identity = {"source_ips": ["127.0.0.1"], "path": "a-path-key-nobody-guesses"}
    document = {"uuid": UUID, "name": "first", "identity": identity}
    (directory / "a.json").write_text(json.dumps(document))
    return directory


def name_of(server: Serving) -> str:
    status, body = server.get("/openstack/latest/meta_data.json")
    return str(json.loads(body)["name"]) if status == 200 else str(status)


def wait_for(server: Serving, name: str) -> None:
    deadline = time.monotonic() + 10
    while name_of(server) != name:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_serves_follows_and_stops(documents: Path) -> None:
    with serving("--instances", documents, "--listen", "127.0.0.1:0") as server:
        assert name_of(server) == "first"
        path = documents / "a.json"
        text = path.read_text().replace("first", "second")
        path.with_suffix(".tmp").write_text(text)
        path.with_suffix(".tmp").replace(path)
        server.process.send_signal(signal.SIGHUP)
        wait_for(server, "second")
        path.unlink()
        wait_for(server, "404")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0


def test_path_mode_serves_nocloud_at_its_root(documents: Path) -> None:
    with serving("--instances", documents, "--listen", "127.0.0.1:0,identity=path") as server:
        assert b"instance-id" in server.get("/a-path-key-nobody-guesses/meta-data")[1]
        assert server.get("/a-path-key-nobody-guesses/vendor-data") == (200, b"")
        assert server.get("/a-path-key-nobody-guesses/latest/meta-data/instance-id")[0] == 200
        assert server.get("/another-key-of-some-length/meta-data")[0] == 404


def test_workers_share_the_address(documents: Path) -> None:
    port = free_port()
    arguments = ("--instances", documents, "--listen", f"127.0.0.1:{port}", "--workers", "2")
    with serving(*arguments) as server:
        assert [name_of(server) for _ in range(20)] == ["first"] * 20
        token_free = {server.get("/latest/meta-data/instance-id") for _ in range(20)}
        assert len(token_free) == 1
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_worker_that_cannot_start_ends_all(documents: Path) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{taken.getsockname()[1]}"
    with taken:
        done = run("serve", "--instances", documents, "--listen", address, "--workers", "2")
    assert done.returncode != 0
    assert done.stdout == ""
    assert address in done.stderr


def test_sockets_of_systemd_are_used(documents: Path) -> None:
    """systemd hands over file descriptor 3 and says so to the process it started."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        opened.listen()
        start = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True);"
            " os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');"
            " os.execv(sys.executable, [sys.executable, '-m', 'guestling.main', *sys.argv[2:]])"
        )
        process = subprocess.Popen(
            (sys.executable, "-c", start, str(opened.fileno()), "serve", "--instances", documents),
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(opened.fileno(),),
        )
        assert process.stdout is not None
        try:
            address = f"127.0.0.1:{opened.getsockname()[1]}"
            assert address in process.stdout.readline()
            assert name_of(Serving(process, address)) == "first"
        finally:
            process.terminate()
            assert process.wait(10) == 0
            process.stdout.close()


@pytest.mark.root
def test_ms_d14_root_is_given_up(documents: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give up root")
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    arguments = ("--instances", documents, "--listen", "127.0.0.1:0", "--state", tmp_path / "state")
    with serving(*arguments, "--user", "nobody") as server:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert set(facts["Uid"].split()) == {"65534"}
        assert facts["Groups"].strip() == ""
        assert int(facts["CapEff"], 16) == 0
        assert facts["NoNewPrivs"] == "1"
        assert name_of(server) == "first"


@pytest.mark.root
def test_ms_d14_root_keeps_no_capability(documents: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has capabilities to give up")
    with serving("--instances", documents, "--listen", "127.0.0.1:0") as server:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        assert "CapEff:\t0000000000000000" in status
        assert "CapBnd:\t0000000000000000" in status
        assert name_of(server) == "first"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = (*COMMAND, *map(str, arguments))
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_bad_02_check_reports_and_fails(documents: Path) -> None:
    assert run("serve", "--instances", documents, "--check").returncode == 0
    (documents / "b.yaml").write_text("uuid: 1\n")
    done = run("serve", "--instances", documents, "--check", "--format", "json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["instances"], len(found["faults"])) == (1, 1, 1)
    assert "b.yaml:1: uuid: " in run("serve", "--instances", documents, "--check").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--listen", "localhost:80"), "not an IP address"),
        (("--listen", "127.0.0.1:0,identity=guess"), "unknown mode"),
        (("--listen", "127.0.0.1:0,colour=red"), "unknown option"),
        (("--identity", "proxy"), "needs a shared secret"),
        (("--rate-limit", "many"), "not a rate"),
        (("--vendor-data", "/nowhere.json"), "cannot be read"),
        (("--secret-file", "/nowhere"), "cannot be read"),
    ],
)
def test_ms_a09_wrong_options_are_2(documents: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run("serve", "--instances", documents, *arguments)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert done.stderr.count("\n") == 1


def test_ms_d13_a_taken_port_is_1(documents: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("serve", "--instances", documents, "--listen", address)
    assert (done.returncode, address in done.stderr) == (1, True)


def test_os_13_broken_vendor_data_is_refused_at_the_start(documents: Path, tmp_path: Path) -> None:
    path = tmp_path / "vendor.json"
    path.write_text("{")
    assert run("serve", "--instances", documents, "--vendor-data", path).returncode == 2


def test_os_13_the_last_good_vendor_data_stays(documents: Path, tmp_path: Path) -> None:
    vendor, admin = tmp_path / "vendor.json", tmp_path / "admin"
    vendor.write_text('{"a": 1}')
    arguments = ("--instances", documents, "--listen", "127.0.0.1:0", "--vendor-data", vendor)
    with serving(*arguments, "--admin", f"unix:{admin}") as server:
        for text, served, health in (("{", b'{"a": 1}', "degraded"), ('{"a": 2}', b'{"a": 2}', "ok")):
            vendor.write_text(text)
            server.process.send_signal(signal.SIGHUP)
            wait_for_health(admin, health)
            assert server.get("/openstack/latest/vendor_data.json") == (200, served)


def wait_for_health(admin: Path, status: str) -> None:
    deadline = time.monotonic() + 10
    while True:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(admin))
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(4096), b""))
        if json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == status:
            return
        assert time.monotonic() < deadline, answer
        time.sleep(0.05)


def test_a_single_file_and_a_missing_one(documents: Path) -> None:
    path = documents / "a.json"
    with serving("--instances", path, "--listen", "127.0.0.1:0") as server:
        assert name_of(server) == "first"
        path.rename(documents / "away")
        wait_for(server, "404")
        (documents / "away").rename(path)
        wait_for(server, "first")
    done = run("serve", "--instances", "/nowhere", "--listen", "127.0.0.1:0")
    assert (done.returncode, "cannot be read" in done.stderr) == (2, True)


def test_a_directory_that_goes_keeps_its_instances(documents: Path, tmp_path: Path) -> None:
    with serving("--instances", documents, "--listen", "127.0.0.1:0") as server:
        documents.rename(tmp_path / "away")
        time.sleep(1.2)
        assert name_of(server) == "first"


def test_http_08_the_server_header(documents: Path) -> None:
    arguments = ("--instances", documents, "--listen", "127.0.0.1:0")
    for options, header in (((), None), (("--ec2-profile", "aws"), "EC2ws"), (("--server-name", "x"), "x")):
        with serving(*arguments, *options) as server:
            connection = http.client.HTTPConnection(server.address, timeout=5)
            connection.request("GET", "/")
            answer = connection.getresponse()
            assert answer.headers["Server"] == header
            connection.close()


def test_metadata_show(documents: Path) -> None:
    path = documents / "a.json"
    assert json.loads(run("metadata", "show", path, "latest/meta_data.json").stdout)["name"] == "first"
    assert "latest/meta_data.json" in run("metadata", "show", path).stdout
    assert run("metadata", "show", path, "latest/meta-data/hostname", "--dialect", "ec2").stdout == "first"
    listed = json.loads(run("metadata", "show", path, "--dialect", "nocloud", "--format", "json").stdout)
    assert set(listed) == {"meta-data", "user-data", "vendor-data", "network-config"}
    assert run("metadata", "show", path, "--dialect", "ec2", "/latest/meta-data/hostname").stdout == "first"
    assert run("metadata", "show", path, "/openstack/2012-08-10").stdout == "meta_data.json"
    assert run("metadata", "show", path, "meta-data", "--dialect", "nocloud").stdout.startswith("instance-id")
    assert run("metadata", "show", path, "nothing").returncode == 1
    assert run("metadata", "show", "/nowhere").returncode == 2
