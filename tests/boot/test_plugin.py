"""The pytest plugin with guests: tests share one, look inside, and the report of a failed one is kept."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from image_harness.expectations import failures, parse
from image_harness.guest_mark import Wanted
from image_harness.one_guest import one

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
ODD_TESTS = """
import pytest
from image_harness.errors import GuestBroken

@pytest.mark.guest(name="web", scope="function")
async def test_in_a_loop_of_its_own(guest):
    assert guest.run("hostname").stdout == "web\\n"

@pytest.mark.guest(name="ends", scope="function")
def test_a_guest_that_ends_says_so_and_has_its_result(guest):
    with pytest.raises(GuestBroken, match="it ended while it carried out 'poweroff -f'"):
        guest.run("poweroff -f")
    with pytest.raises(GuestBroken, match="it is not up"):
        guest.run("true")
    assert guest.result.status == "done"

@pytest.mark.guest(name="late", timeout_s=1)
def test_that_is_not_up_in_time(guest):
    raise AssertionError("there is no guest")
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


def test_loops_ends_and_late_guests(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    settings = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    pytester.makefile(".ini", pytest=settings)
    pytester.makepyfile(ODD_TESTS)
    result = pytester.runpytest_subprocess("-p", "image_harness.plugin", "-W", "error", "--guest-report=kept")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*BootFailed: late: not up after 1 s.", "*The guest's report: *"])
    (report,) = (pytester.path / "kept").iterdir()
    assert json.loads((report / "boot.json").read_text())["succeeded"] is False


def test_expectations_are_held_against_a_guest(tmp_path: Path) -> None:
    text = b"""
        result: {status: done, modules: {runcmd: {result: SUCCESS, max_seconds: 5}}}
        files: {/etc/hostname: {content: "web\\n", mode: "0644", owner: root}, /run/ran: {content: "no\\n"}}
        users: {alice: {groups: [adm]}}
        commands: [{run: cat /run/ran, stdout: "yes\\n"}]
    """
    with one(Wanted(user_data=USER_DATA.encode(), name="web"), tmp_path) as guest:
        found = failures(guest, parse(text, "x.yaml"))
    assert found == ("files./run/ran.content: 'no\\n' is expected, it is 'yes\\n'",)
    assert (guest.report / "result.json").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_disk_with_systemd_takes_commands_when_its_agent_is_done(tmp_path: Path) -> None:
    with one(Wanted(image="debian-13", user_data=USER_DATA.encode(), name="deb"), tmp_path) as guest:
        assert guest.result.status == "done"
        assert guest.run("systemctl is-system-running --wait").stdout == "running\n"
        assert guest.run("systemctl --failed --no-legend").stdout == ""
        assert guest.file("/run/ran").content == "yes\n"
        assert guest.user("alice").groups == {"alice", "adm"}
