"""A file of expectations: what it finds in a guest, and how its own faults are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from image_harness.errors import InvalidExpectations
from image_harness.expectations import failures, parse
from image_harness.guest import Guest
from tests.unit.image_harness.test_guest import Here


@pytest.fixture
def motd(tmp_path: Path) -> Path:
    path = tmp_path / "motd"
    path.write_text("hello\n")
    path.chmod(0o644)
    return path


def _failures(text: str) -> tuple[str, ...]:
    return failures(Guest(Here()), parse(text.encode(), "x.yaml"))


def test_a_guest_that_is_as_expected_has_no_failures(motd: Path) -> None:
    text = f"""
        result: {{status: degraded, modules: {{runcmd: {{result: WARN, max_seconds: 1}}}}}}
        files:
          {motd}: {{content: "hello\\n", contains: ell, mode: "0644", exists: true}}
          {motd}.none: {{exists: false}}
        users:
          root: {{exists: true, uid: 0, groups: [root], home: /root}}
          no-such-user: {{exists: false}}
        commands:
          - {{run: "echo yes"}}
          - {{run: "echo yes; exit 3", status: 3, stdout: "yes\\n", contains: es}}
    """
    assert _failures(text) == ()
    assert _failures(f"files: {{{motd}: {{mode: 0644}}}}") == ()


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("result: {status: done}", "result.status: 'done' is expected, it is 'degraded'"),
        (
            "result: {modules: {runcmd: {max_seconds: 0.1}}}",
            "runcmd.max_seconds: 0.1 is expected, it is 0.25",
        ),
        (
            "result: {modules: {ntp: {result: SUCCESS}}}",
            "ntp.result: 'SUCCESS' is expected, but: 'ntp: no such",
        ),
        ("files: {MOTD: {mode: '0600'}}", "motd.mode: '0600' is expected, it is 420"),
        ("files: {MOTD: {content: bye}}", "motd.content: 'bye' is expected, it is 'hello\\n'"),
        ("files: {MOTD: {contains: bye}}", "motd.contains: 'bye' is expected"),
        ("files: {MOTD: {exists: false}}", "motd.exists: False is expected, it is True"),
        (
            "files: {/no/such: {owner: root}}",
            "files./no/such.owner: 'root' is expected, but: /no/such: not in",
        ),
        ("users: {root: {groups: [no-such-group]}}", "users.root.groups: ['no-such-group'] is expected"),
        ("users: {no-such-user: {uid: 1}}", "users.no-such-user.uid: 1 is expected, but: 'no-such-user:"),
        ("commands: [{run: 'false'}]", "commands[0].status: 0 is expected, it is 1"),
    ],
)
def test_what_is_otherwise_is_named(text: str, failure: str, motd: Path) -> None:
    (found,) = _failures(text.replace("MOTD", str(motd)))
    assert failure in found


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "x.yaml: nothing is expected. Give some of result, files,"),
        ("a: [", "x.yaml: not YAML: "),
        ("file: {}", "x.yaml: file: no such section. Use result, files, users, services,"),
        ("files: []", "x.yaml: files: keys with values are expected."),
        ("files: {etc/motd: {exists: true}}", "x.yaml: files.etc/motd: not an absolute path."),
        ("files: {/a: {size: 1}}", "x.yaml: files./a.size: no such key. Use exists, content,"),
        ("files: {/a: {exists: 1}}", "x.yaml: files./a.exists: 1 is of another type."),
        ("users: {a: {uid: true}}", "x.yaml: users.a.uid: True is of another type."),
        ("commands: {}\nusers: {a: {uid: 1}}", ""),
        ("commands: {a: b}", "x.yaml: commands: a list is expected."),
        ("commands: [{status: 0}]", "x.yaml: commands[0].run: a command is expected."),
    ],
)
def test_faults_of_the_file_are_named(text: str, fault: str) -> None:
    if not fault:
        assert len(parse(text.encode(), "x.yaml")) == 1
        return
    with pytest.raises(InvalidExpectations) as caught:
        parse(text.encode(), "x.yaml")
    assert str(caught.value).startswith(fault)


def test_all_faults_come_at_once() -> None:
    with pytest.raises(InvalidExpectations) as caught:
        parse(b"files: {a: {b: c}}\nother: 1", "x.yaml")
    assert len(caught.value.faults) == 3
