"""What a test sees of its guest, with this machine's own shell in the guest's place."""

from __future__ import annotations

import hashlib
import subprocess
import time
from pathlib import Path

import pytest

from image_harness.errors import GuestBroken
from image_harness.guest import File, Guest, User
from image_harness.guest_shell.protocol import OUTPUT_LIMIT_BYTES, Answer
from image_harness.timeline.spans import Span, Timeline, Track
from metadata_server.access import AccessRecord
from spawner.compute.agent_events import ModuleReport, Result

RESULT = Result("degraded", modules=(ModuleReport("config", "runcmd", "WARN", 0.25, ("ran it",)),))


class Here:
    """A channel whose guest is this machine."""

    report = Path("/nowhere")

    def __init__(self, result: Result | None = RESULT) -> None:
        self._result = result

    def run(self, command: str, timeout_s: float) -> Answer:
        started_s = time.monotonic()
        done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=timeout_s, check=False)
        out, err = done.stdout[:OUTPUT_LIMIT_BYTES], done.stderr[:OUTPUT_LIMIT_BYTES]
        return Answer(command, done.returncode, out, err, time.monotonic() - started_s)

    def result(self) -> Result | None:
        return self._result

    def console(self) -> bytes:
        return b"one\r\ntwo\xff\r\n"

    def requests(self) -> tuple[AccessRecord, ...]:
        return ()

    def timeline(self) -> Timeline:
        return Timeline((Span(Track.STAGE, "modules-final", 1.0, 3.0),), 4.0, 4.0)

    def wait(self) -> None:
        """This machine does not end."""


@pytest.fixture
def guest() -> Guest:
    return Guest(Here())


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A file whose name a careless shell would take apart."""
    path = tmp_path / "it's $(odd) -n"
    path.write_bytes("grün\n".encode())
    path.chmod(0o640)
    return path


def test_a_file_is_seen_whatever_its_name(guest: Guest, odd: Path) -> None:
    file = guest.file(str(odd))
    assert file.exists
    assert file.is_file
    assert not file.is_directory
    assert (file.content, file.mode, file.size_bytes) == ("grün\n", 0o640, 6)
    assert (file.owner, file.group) == (odd.owner(), odd.group())
    assert file.sha256 == hashlib.sha256("grün\n".encode()).hexdigest()


def test_links_and_directories_are_told_apart(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    link = guest.file(f"{tmp_path}/link")
    assert (link.exists, link.is_link, link.target) == (True, True, "nowhere")
    assert guest.file(str(tmp_path)).is_directory


def test_a_file_that_is_not_there_says_so(guest: Guest, tmp_path: Path) -> None:
    file = guest.file(f"{tmp_path}/none")
    assert not file.exists
    for read in (lambda: file.content, lambda: file.mode, lambda: file.owner, lambda: file.sha256):
        with pytest.raises(FileNotFoundError, match=r"/none: "):
            read()


def test_a_path_must_be_absolute(guest: Guest) -> None:
    with pytest.raises(ValueError, match="not an absolute path"):
        guest.file("etc/hostname")


def test_a_file_that_is_too_long_is_refused_and_not_cut(guest: Guest, tmp_path: Path) -> None:
    long = tmp_path / "long"
    long.write_bytes(bytes(OUTPUT_LIMIT_BYTES - 1))
    assert len(guest.file(str(long)).content_bytes) == OUTPUT_LIMIT_BYTES - 1
    long.write_bytes(bytes(OUTPUT_LIMIT_BYTES + 1))
    with pytest.raises(GuestBroken, match="compare its sha256"):
        _ = guest.file(str(long)).content_bytes


def test_a_command_has_status_and_both_outputs(guest: Guest) -> None:
    answer = guest.run("echo out; echo err >&2; exit 3")
    assert (answer.ok, answer.status, answer.stdout, answer.stderr) == (False, 3, "out\n", "err\n")
    assert not answer.cut


ACCOUNTS = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:Alice:/home/alice:/bin/bash\n",
    "/etc/group": "root:x:0:\nsudo:x:27:bob,alice\nadm:x:4:alicent\nalice:x:1000:\n",
    "/etc/shadow": "root:*:1::::::\nalice:!:1::::::\nbob:$6$x$y:1::::::\nopen::1::::::\n",
}


def test_an_account_has_its_own_and_its_other_groups() -> None:
    alice = User("alice", ACCOUNTS.__getitem__)
    assert alice.exists
    assert (alice.uid, alice.gid, alice.home, alice.shell) == (1000, 1000, "/home/alice", "/bin/bash")
    assert alice.gecos == "Alice"
    assert alice.groups == {"sudo", "alice"}


@pytest.mark.parametrize(("name", "can"), [("alice", False), ("bob", True), ("open", False), ("none", False)])
def test_a_password_that_lets_in_is_told_from_none(name: str, can: bool) -> None:
    assert User(name, ACCOUNTS.__getitem__).can_use_password is can


def test_an_account_that_is_not_there_says_so() -> None:
    nobody = User("mallory", ACCOUNTS.__getitem__)
    assert not nobody.exists
    with pytest.raises(KeyError, match="mallory: no such user"):
        _ = nobody.uid


def test_the_result_gives_modules_by_name(guest: Guest) -> None:
    module = guest.result.module("runcmd")
    assert (guest.result.status, module.result, module.seconds) == ("degraded", "WARN", 0.25)
    assert module.actions == ("ran it",)
    with pytest.raises(KeyError, match=r"bootcmd: no such module ran in this guest\. There were: runcmd"):
        guest.result.module("bootcmd")


def test_an_agent_that_does_not_report_is_named() -> None:
    with pytest.raises(GuestBroken, match="neither reported a result nor left one"):
        _ = Guest(Here(result=None)).result


def test_the_console_is_text_whatever_came(guest: Guest) -> None:
    assert guest.console == "one\ntwo\ufffd\n"


def test_files_ask_anew(guest: Guest, tmp_path: Path) -> None:
    file: File = guest.file(f"{tmp_path}/later")
    assert not file.exists
    (tmp_path / "later").write_text("now")
    assert file.content == "now"
