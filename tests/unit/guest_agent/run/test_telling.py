"""Who hears of a boot: log, channel, console, webhook, signal; and what never reaches them."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from boot_stages.apply import CommandResult
from boot_stages.commands import Answer, Command
from boot_stages.log import Record
from boot_stages.runner import Outcome
from boot_stages.value import Secret
from guest_agent import listeners, output
from guest_agent.log import LINE_LIMIT, line_of
from guest_agent.machine import Machine, Settings
from guest_agent.report import TAIL_OF_FAILED, TAIL_OF_GOOD, TAILS_LIMIT, Tails, told_of
from tests.unit.guest_agent.run.roots import Root

CANARY = "canary-5up3r-s3cr3t"


class Answering:
    """Commands that nobody runs: a program has its answer, every other one is silent."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        self._answers = answers

    def which(self, name: str) -> str | None:
        return None

    def run(self, command: Command) -> Answer:
        return self._answers.get(command.argv[0], Answer(0))


@pytest.fixture
def channel(root: Root) -> Iterator[list[dict[str, Any]]]:
    """The host's end of the virtio-serial port: what arrived, once the boot is over."""
    root.put("sys/class/virtio-ports/vport1p1/name", f"{listeners.PORT_NAME}\n")
    root.put("sys/class/virtio-ports/vport0p0/name", "org.qemu.guest_agent.0\n")
    (root.path / "dev").mkdir()
    fifo = root.path / "dev/vport1p1"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    heard: list[dict[str, Any]] = []
    text = bytearray()
    stop = threading.Event()

    def read() -> None:
        while not stop.wait(0.005):
            _drain(reading, text)

    reader = threading.Thread(target=read)
    reader.start()
    yield heard
    stop.set()
    reader.join()
    _drain(reading, text)
    os.close(reading)
    heard.extend(json.loads(line) for line in text.decode().splitlines())


def _drain(descriptor: int, text: bytearray) -> None:
    try:
        while piece := os.read(descriptor, 65536):
            text.extend(piece)
    except BlockingIOError:
        pass


def test_the_host_hears_each_step_and_one_result(root: Root, tmp_path: Path) -> None:
    root.seed("#cloud-config\nwrite_files: [{path: /etc/motd, content: hello}]\n")
    heard: list[dict[str, Any]] = []

    class Kept:
        """A listener that keeps what the channel would send."""

        def event(self, event: Any) -> None:
            heard.append({"event": event.kind, "name": event.name, "result": event.result})

        def result(self, document: dict[str, Any]) -> None:
            heard.append(document)

    from guest_agent import all_stages

    boot = root.boot()
    boot.reporter.listeners.append(Kept())
    all_stages.run(boot, is_by_hand=True)
    names = [each.get("name") for each in heard]
    assert names[0] == "init-local"
    assert "init-network/config-write_files" in names
    assert names.count(None) == 1
    result = heard[-1]
    assert (result["event"], result["status"], result["instance_id"]) == ("result", "done", "i-1")
    assert list(result["stages"]) == ["init-local", "init-network", "modules-config", "modules-final"]
    [wrote] = [each for each in result["modules"] if each["name"] == "write_files"]
    assert any("/etc/motd" in action for action in wrote["actions"])


def test_the_result_tells_how_each_command_ended_and_which_keys_nobody_read(root: Root) -> None:
    root.put("etc/cloud/cloud.cfg.d/90.cfg", "cloud_config_modules: [ntp, wireguard, runcmd]\n")
    root.seed("#cloud-config\nbootcmd: [exit 3]\nntp: {enabled: false}\nrun_cmd: [x]\nwireguard: null\n")
    boot = root.boot()
    boot.machine.commands = Answering(
        {"/bin/sh": Answer(3, err=b"no such thing\n" + b"x" * 5000, took_s=0.5)}
    )
    heard: list[dict[str, Any]] = []

    class Kept:
        def event(self, event: Any) -> None:
            return None

        def result(self, document: dict[str, Any]) -> None:
            heard.append(document)

    from guest_agent import all_stages

    boot.reporter.listeners.append(Kept())
    all_stages.run(boot, is_by_hand=True)
    [result] = heard
    modules = {each["name"]: each for each in result["modules"]}
    [command] = modules["bootcmd"]["commands"]
    assert (command["argv"][0], command["status"], command["took_s"]) == ("/bin/sh", 3, 0.5)
    assert command["tail"] == "x" * TAIL_OF_FAILED
    assert modules["ntp"]["why"] == "ntp.enabled is false: time is left alone"
    assert result["unread_keys"] == [
        {"key": "run_cmd", "why": "no module knows it. Did you mean runcmd?"},
        {"key": "wireguard", "why": "its module wireguard is for ubuntu"},
    ]
    lines = [json.loads(line) for line in root.text("var/lib/cloud/instances/i-1/changes.jsonl").splitlines()]
    [kept] = [each for each in lines if each["module"] == "bootcmd"]
    assert kept["commands"] == modules["bootcmd"]["commands"]


def test_the_output_in_a_result_is_bounded() -> None:
    outcome = Outcome("a", "FAIL", commands=(CommandResult(("a",), 1, "é" * 9000, 0.1),) * 100)
    told = told_of(outcome, Tails())
    assert sum(len(each["tail"]) for each in told["commands"]) == TAILS_LIMIT
    good = told_of(outcome.replace(commands=(CommandResult(("a",), 0, "b" * 9000, 0.1),)), Tails())
    assert len(good["commands"][0]["tail"]) == TAIL_OF_GOOD


def test_the_channel_is_found_by_its_name_and_gets_json_lines(
    root: Root, channel: list[dict[str, Any]], request: pytest.FixtureRequest
) -> None:
    root.seed("")

    def check() -> None:
        assert channel[0] == {"event": "start", "name": "init-local", "uptime_s": 12.5}
        finished = [each for each in channel if each["event"] == "finish"]
        assert all({"result", "took_s", "summary", "uptime_s"} <= set(each) for each in finished)
        assert [each["event"] for each in channel].count("result") == 1
        assert channel[-1]["status"] == "done"

    request.node.check = check
    root.all_stages()


@pytest.fixture(autouse=True)
def _checked_after_the_channel(request: pytest.FixtureRequest) -> Iterator[None]:
    """Checks of what the channel carried run when it has been read to its end."""
    yield
    check = getattr(request.node, "check", None)
    if check is not None:
        check()


@pytest.mark.slow
def test_a_host_that_does_not_read_delays_the_boot_two_seconds_at_most(root: Root) -> None:
    import time

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    channel = listeners.Channel(writing)
    started = time.monotonic()
    for _ in range(40):
        channel.result({"event": "result", "filler": "x" * 20000})
    assert time.monotonic() - started < listeners.CHANNEL_WAIT_S + 1.0
    os.close(reading)
    os.close(writing)


def test_without_the_port_nothing_is_said(root: Root) -> None:
    assert listeners.open_channel(root.machine()) is None


def test_the_console_gets_the_result_where_the_kernel_command_line_asks(root: Root) -> None:
    root.put("proc/cmdline", "quiet guestling.console=1\n")
    root.put("dev/console", "")
    root.seed("")
    root.all_stages()
    [line] = [line for line in root.text("dev/console").splitlines() if line.startswith("GUESTLING-RESULT ")]
    assert json.loads(line.partition(" ")[2])["status"] == "done"


class _Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append((self.path, json.loads(body)))  # type: ignore[attr-defined]  # set by the test
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """A web server that keeps what is posted to it."""
    server = HTTPServer(("127.0.0.1", 0), _Hook)
    server.heard = []  # type: ignore[attr-defined]  # see _Hook
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", server.heard  # type: ignore[attr-defined]  # see _Hook
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_webhook_has_cloud_inits_form(hook: tuple[str, list[tuple[str, dict[str, Any]]]]) -> None:
    from guest_agent.report import Event

    url, heard = hook
    machine = Machine(Settings())
    config = {"reporting": {"a": {"type": "webhook", "endpoint": f"{url}/hook"}, "b": {"type": "log"}}}
    [webhook] = listeners.configured(machine, config)
    webhook.event(Event("start", "init-local", "begin", 5.0, 1.0))
    webhook.event(Event("finish", "init-local", "end", 6.0, 2.0, "SUCCESS", 1.0))
    assert heard[0] == (
        "/hook",
        {"name": "init-local", "description": "begin", "event_type": "start", "origin": "cloudinit",
         "timestamp": 5.0},
    )  # fmt: skip
    assert (heard[1][1]["event_type"], heard[1][1]["result"]) == ("finish", "SUCCESS")


def test_the_signal_address_gets_one_word_on_the_boot(
    hook: tuple[str, list[tuple[str, dict[str, Any]]]],
) -> None:
    url, heard = hook
    config = {"reporting": {"heat": {"type": "signal", "endpoint": f"{url}/signal"}}}
    [signal] = listeners.configured(Machine(Settings()), config)
    signal.result({"status": "error", "instance_id": "i-1", "errors": ["no disk"], "datasource": "x"})
    [(path, document)] = heard
    assert path == "/signal"
    assert (document["status"], document["id"], document["reason"]) == ("FAILURE", "i-1", "no disk")


def test_nobody_listening_at_an_address_does_not_stop_the_boot(root: Root) -> None:
    root.seed("#cloud-config\nreporting: {a: {type: webhook, endpoint: 'http://127.0.0.1:1/', retries: 0}}\n")
    assert root.all_stages() == [0, 0, 0, 0]


def test_g7_a_secret_is_in_no_log_no_report_and_no_public_file(root: Root) -> None:
    root.put("dev/console", "")
    root.seed(
        "#cloud-config\n"
        f"users: [{{name: alice, plain_text_passwd: {CANARY}}}]\n"
        f"write_files: [{{path: /etc/key, permissions: '0600', content: {CANARY}}}]\n"
        f"nonsense: {CANARY}\n"
    )
    assert root.all_stages() == [0, 0, 0, 0]
    holding = {
        name for name, (_mode, content) in root.tree(without=("var/lib/cloud/seed",)).items()
        if CANARY.encode() in content
    }  # fmt: skip
    own = "var/lib/cloud/instances/i-1"
    assert holding == {
        "etc/key",
        "run/cloud-init/combined-cloud-config.json",
        "run/cloud-init/commands.jsonl",
        *(
            f"{own}/{name}"
            for name in ("cloud-config.txt", "known-documents.json", "user-data.txt", "user-data.txt.i")
        ),
    }
    assert all((root.path / name).stat().st_mode & 0o077 == 0 for name in holding)
    assert "***" in repr(Secret(CANARY))


def test_g11_a_log_line_cannot_move_a_cursor_or_fill_a_disk() -> None:
    line = line_of(Record("INFO", "x", "a\x1b[2Jb\x00c\n" + "y" * 10000), 0.0)
    assert line.startswith("1970-01-01 00:00:00,000 - x.py[INFO]: a\\x1b[2Jb\\x00c\n")
    assert len(line) < LINE_LIMIT + 100


@pytest.mark.parametrize(
    ("value", "ways"),
    [
        ({"all": "> /a"}, ("> /a", "")),
        ({"all": "/a", "init": "| tee -a /b"}, ("| tee -a /b", "")),
        ({"all": [">> /a", "&1"]}, (">> /a", "&1")),
        ({"init": {"output": "/a", "error": "/b"}}, ("> /a", "> /b")),
        ({"final": "/a"}, ("", "")),
        ("nonsense", ("", "")),
    ],
)
def test_where_the_output_goes(value: object, ways: tuple[str, str]) -> None:
    assert output.ways_of({"output": value}, "init") == ways


def test_tee_is_done_without_a_shell(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert output.tee_file("| tee -a /var/log/x.log") == "/var/log/x.log"
    assert output.tee_file("| tee /var/log/x.log") == ""
    both = output.Output()
    both.redirect("| tee -a /out.log", "", str(tmp_path))
    both.say("hello")
    assert capfd.readouterr().out == "hello\n"
    assert (tmp_path / "out.log").read_text() == "hello\n"
    assert (tmp_path / "out.log").stat().st_mode & 0o137 == 0
