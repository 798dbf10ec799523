"""The single-process protocol: sockets, the five bytes, the answer, and what systemd is told."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from guest_agent import all_stages
from tests.unit.guest_agent.run.roots import Root

HAND_OVER = Path(__file__).parents[4] / "packaging/agent/systemd/hand-over"
NAMES = ("local", "network", "config", "final")


def _say(root: Root, name: str, words: bytes = b"start") -> str:
    """What a unit does: connect, say start, read the answer to its end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(20)
        client.connect(str(root.path / f"run/cloud-init/share/{name}.sock"))
        client.sendall(words)
        answer = b""
        while piece := client.recv(4096):
            answer += piece
    return answer.decode()


class Told(threading.Thread):
    """A systemd that listens on NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(20)
        self.lines: list[str] = []
        self.ready = threading.Event()

    def run(self) -> None:
        while "STOPPING=1" not in self.lines:
            self.lines.append(self.socket.recv(4096).decode())
            if self.lines[-1] == "READY=1":
                self.ready.set()
        self.socket.close()


@pytest.fixture(params=["path", "abstract"])
def told(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    """D4: an abstract NOTIFY_SOCKET is as good as a path."""
    address = f"@guestling-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    listener = Told(address)
    listener.start()
    return listener


def _in_background(root: Root) -> tuple[threading.Thread, list[int]]:
    status: list[int] = []
    thread = threading.Thread(target=lambda: status.append(all_stages.run(root.boot(), is_by_hand=False)))
    thread.start()
    return thread, status


def test_units_hand_over_stage_by_stage(root: Root, told: Told) -> None:
    root.seed("#cloud-config\nhostname: web1\n")
    thread, status = _in_background(root)
    assert told.ready.wait(20)
    answers = [_say(root, name) for name in NAMES]
    thread.join(20)
    told.join(20)
    assert answers == [
        f"echo 'Completed socket interaction for boot stage {name}'; exit 0;\n" for name in NAMES
    ]
    assert status == [0]
    assert told.lines[0] == "READY=1"
    assert told.lines[-2:] == ["STATUS=Completed", "STOPPING=1"]
    assert "STATUS=Running (config stage)" in told.lines
    assert not list((root.path / "run/cloud-init/share").glob("*.sock"))


def test_a_stage_with_errors_exits_with_their_count_and_later_stages_run(root: Root) -> None:
    root.seed("#cloud-config\nbootcmd: [true]\n")
    thread, status = _in_background(root)
    _await(root, "local")
    answers = [_say(root, name) for name in NAMES]
    thread.join(20)
    assert [answer.rpartition("exit ")[2] for answer in answers] == ["0;\n", "1;\n", "0;\n", "0;\n"]
    assert "systemctl status cloud-init-main.service" in answers[1]
    assert status == [1]


def test_other_words_than_start_are_an_error_of_that_stage_alone(root: Root) -> None:
    root.seed("")
    thread, status = _in_background(root)
    _await(root, "local")
    assert "exit 1;" in _say(root, "local", b"stop!")
    for name in NAMES[1:]:
        _say(root, name)
    thread.join(20)
    assert status == [1]
    assert "b'stop!'" in root.status()["init-local"]["errors"][0]


def test_a_unit_that_is_slow_to_listen_hears_its_answer_without_an_error(root: Root, told: Told) -> None:
    """netcat sends a line end that nobody needs, and drops an answer that comes with an error."""
    root.seed()
    thread, _status = _in_background(root)
    assert told.ready.wait(20)
    for name in NAMES[:-1]:
        _say(root, name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(root.path / f"run/cloud-init/share/{NAMES[-1]}.sock"))
        client.sendall(b"start\n")
        thread.join(20)  # the other end has been closed
        ready = select.poll()
        ready.register(client, select.POLLIN)
        [(_, events)] = ready.poll(0)
        assert not events & select.POLLERR
        assert client.recv(4096).endswith(b"exit 0;\n")
        assert client.recv(4096) == b""


def test_the_answer_never_holds_data(root: Root) -> None:
    """The unit gives it to a shell: an error text of user data must not be in it."""
    root.seed("#cloud-config\nbootcmd: [[\"x'; touch /tmp/owned; echo '\"], true]\n")
    thread, _status = _in_background(root)
    _await(root, "local")
    answers = [_say(root, name) for name in NAMES]
    thread.join(20)
    assert not any("owned" in answer for answer in answers)


def test_ga_s13_sockets_are_the_owners_alone(root: Root) -> None:
    doors = all_stages.Doors(root.machine())
    try:
        for path in (root.path / "run/cloud-init/share").glob("*.sock"):
            assert path.stat().st_mode & 0o077 == 0
    finally:
        doors.close()


@pytest.mark.parametrize("netcat", ["", "fake"])
def test_the_units_program_hands_over(root: Root, tmp_path: Path, netcat: str) -> None:
    """With a netcat and without: the same words, the same exit status."""
    root.seed("#cloud-config\nbootcmd: [true]\n")
    thread, _status = _in_background(root)
    _await(root, "local")
    environment = {**os.environ, "CLOUD_INIT_SHARE": str(root.path / "run/cloud-init/share")}
    environment["CLOUD_INIT_NETCAT"] = str(_fake_netcat(tmp_path)) if netcat else ""
    done = [_unit(name, environment) for name in NAMES]
    thread.join(20)
    assert [each.returncode for each in done] == [0, 1, 0, 0]
    assert "Completed socket interaction for boot stage local" in done[0].stdout


def test_without_the_process_a_unit_runs_its_stage_itself(tmp_path: Path) -> None:
    """Also behind a socket that nobody listens on any more."""
    agent = tmp_path / "cloud-init"
    agent.write_text('#!/bin/sh\necho "ran $*"\nexit 7\n')
    agent.chmod(0o755)
    stale = tmp_path / "config.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.bind(str(stale))
    environment = {**os.environ, "CLOUD_INIT_SHARE": str(tmp_path), "CLOUD_INIT": str(agent)}
    environment["CLOUD_INIT_NETCAT"] = ""
    for name, words in (("local", "init --local"), ("config", "modules --mode=config")):
        done = subprocess.run(
            ["sh", str(HAND_OVER), name],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert (done.returncode, done.stdout) == (7, f"ran {words}\n")


def _unit(name: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    argv = ["sh", str(HAND_OVER), name]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=30)


def _fake_netcat(directory: Path) -> Path:
    """What `nc -U SOCKET` does, for machines without one."""
    program = directory / "nc"
    program.write_text(
        "#!/usr/bin/env python3\nimport socket, sys\n"
        "d = socket.socket(socket.AF_UNIX)\nd.connect(sys.argv[2])\n"
        "d.sendall(sys.stdin.buffer.read())\n"
        "while True:\n    p = d.recv(4096)\n    if not p:\n        break\n    sys.stdout.write(p.decode())\n"
    )
    program.chmod(0o755)
    return program


def _await(root: Root, name: str) -> None:
    import time

    path = root.path / f"run/cloud-init/share/{name}.sock"
    for _ in range(2000):
        if path.exists():
            return
        time.sleep(0.01)
    raise TimeoutError(str(path))
