"""The pytest plugin with a guest: tests share one, look inside, and the report of a failed one is kept."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.boot
ROOT = Path(__file__).parents[2]

TESTS = """
import os
import pytest

pytestmark = pytest.mark.guest(image="tiny", user_data="web.yaml", source="config-drive", name="web")

def test_inside(guest):
    assert guest.result.status == "done"
    assert guest.file("/etc/hostname").content == "web\\n"
    assert guest.file("/etc/sudoers.d").mode == 0o750
    assert not guest.file("/etc/no-such-file").exists
    assert guest.user("alice").groups == {"alice", "adm"}
    assert not guest.user("alice").can_use_password
    assert guest.result.module("runcmd").seconds < 5
    assert guest.requests == ()
    assert guest.run("sleep 20", timeout_s=1).status in (124, 143)
    answer = guest.run("cat /run/ran; echo hm >&2; false")
    assert (answer.status, answer.stdout, answer.stderr) == (1, "yes\\n", "hm\\n")
    guest.run("echo here > /run/seen")

def test_it_is_the_same_guest(guest):
    assert guest.file("/run/seen").content == "here\\n"

def test_that_fails(guest):
    assert guest.file("/run/ran").content == "no\\n"
"""
USER_DATA = """#cloud-config
users: [default, {name: alice, groups: [adm]}]
runcmd: [echo yes > /run/ran]
"""


def test_the_plugin_boots_shares_and_reports(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makefile(".ini", pytest="[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makefile(".yaml", web=USER_DATA)
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-p", "image_harness.plugin", "--junit-xml=junit.xml")
    result.assert_outcomes(passed=2, failed=1)
    (report,) = (pytester.path / "guest-reports").iterdir()
    result.stdout.fnmatch_lines([f"*{report}"])
    kept = {path.name for path in report.iterdir()}
    assert kept >= {
        "console.log",
        "events.jsonl",
        "requests.jsonl",
        "boot.json",
        "result.json",
        "cloud-init.log",
    }
    assert json.loads((report / "boot.json").read_text())["ending"]["reason"] == "powered off"
    properties = ElementTree.parse(pytester.path / "junit.xml").iter("property")
    assert {(each.get("name"), each.get("value")) for each in properties} == {("guest_report", str(report))}
