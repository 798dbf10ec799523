"""`guestling explain`: out of a boot's report, who set a key and who changed a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guestling.main import main
from image_harness import explain

KEYS = [
    {"key": "users", "layer": "user-data", "line": 2, "rule": "replace", "includes": []},
    {
        "key": "users.0.name",
        "layer": "vendor-data",
        "line": None,
        "rule": "append",
        "includes": ["a", "b\x1b[2J"],
    },
    {"key": "usersx", "layer": "cloud.cfg", "line": 1, "rule": "set", "includes": []},
]
CHANGES = [
    {
        "stage": "init",
        "module": "set_hostname",
        "uptime_s": 3.25,
        "did": ["write /etc/hostname (4 bytes, 0644)"],
    },
    {"stage": "final", "module": "runcmd", "uptime_s": 4.5, "did": ["write /etc/hostname: x", "run sh"]},
]


@pytest.fixture
def report(tmp_path: Path) -> Path:
    changes = "".join(f"{json.dumps(change)}\n" for change in CHANGES)
    (tmp_path / explain.FILE).write_bytes(explain.document(json.dumps(KEYS).encode(), changes.encode()))
    return tmp_path


def _asked(report: Path, what: str, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str, str]:
    status = main(["explain", what, "--from", str(report), *more])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_a_key_and_all_below_it(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = _asked(report, "users", capsys)
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == ["KEY", "users", "users.0.name"]
    assert out.splitlines()[2].split(None, 3)[1:] == ["vendor-data", "append", "a -> b\\x1b[2J"]


def test_a_part_of_a_key_that_nobody_set_alone(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = _asked(report, "users.0.name.x", capsys, "--format", "json")
    assert status == 0
    assert [found["key"] for found in json.loads(out)] == ["users.0.name"]


def test_a_path_has_every_change_in_order(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = _asked(report, "/etc/hostname", capsys)
    assert status == 0
    assert [line.split(None, 4)[2:4] for line in out.splitlines()[1:]] == [
        ["init", "set_hostname"],
        ["final", "runcmd"],
    ]
    assert "run sh" not in out


@pytest.mark.parametrize("what", ["nope", "/etc/host", "user"])
def test_what_nobody_set_is_named(report: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = _asked(report, what, capsys)
    assert (status, out) == (1, "")
    assert err == f"{what}: nothing in that boot set it. Ask for another key or path.\n"


def test_a_directory_that_is_no_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = _asked(tmp_path, "x", capsys)
    assert status == 2
    assert f"it holds no {explain.FILE}: not a boot's report, or its agent tells no origins." in err


@pytest.mark.parametrize(
    "broken", ["", "{}", '{"keys": "[{}]", "changes": []}', '{"keys": "[]", "changes": ["x"]}']
)
def test_a_report_that_is_broken(tmp_path: Path, broken: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / explain.FILE).write_text(broken)
    status, _, err = _asked(tmp_path, "x", capsys)
    assert status == 2
    assert f"{explain.FILE} cannot be used (" in err
