"""Each action as it is carried out below a root, commands recorded."""

import json
import stat
from collections.abc import Iterator
from typing import Any

import pytest

from boot_stages import actions
from boot_stages.actions import AppendFile, MakeDirectory, MakeLink, Remove, Rename, RunCommand, WriteFile
from boot_stages.errors import ActionFailed, CommandFailed, ModuleFailed
from boot_stages.log import SINKS, Record
from boot_stages.value import Secret


@pytest.fixture
def records() -> Iterator[list[Record]]:
    kept: list[Record] = []
    sink = kept.append
    SINKS.append(sink)
    yield kept
    SINKS.remove(sink)


def test_files_and_owners(make_guest: Any) -> None:
    guest = make_guest()
    effects = guest.effects
    effects.apply(WriteFile("/home/u/a", Secret("s"), 0o600, "u:g", own_parents=True))
    effects.apply(AppendFile("/home/u/a", b"t"))
    effects.apply(MakeDirectory("/var/x/y", 0o700, "u"))
    effects.apply(MakeLink("/etc/localtime", "/usr/share/zoneinfo/UTC"))
    effects.apply(MakeLink("/etc/localtime", "/usr/share/zoneinfo/Asia/Tokyo"))
    effects.apply(Rename("/home/u/a", "/home/u/b"))
    effects.apply(actions.SetMode("/home/u/b", 0o640, "root:adm"))
    assert (guest.root / "home/u/b").read_bytes() == b"st"
    assert stat.S_IMODE((guest.root / "home/u/b").stat().st_mode) == 0o640
    assert stat.S_IMODE((guest.root / "var/x/y").stat().st_mode) == 0o700
    assert (guest.root / "etc/localtime").readlink().as_posix() == "/usr/share/zoneinfo/Asia/Tokyo"
    assert effects.owners["/home"] == ("u", "g", "0755")
    assert effects.owners["/home/u/b"] == ("root", "adm", "0640")
    assert effects.owners["/var/x/y"] == ("u", "u", "0700")


def test_remove_takes_files_trees_and_absent_ones(make_guest: Any) -> None:
    guest = make_guest(files={"/a/b/c": "x", "/f": "x", "/l": {"link": "/a"}})
    for path in ("/l", "/f", "/nothing", "/no/where"):
        guest.effects.apply(Remove(path))
    assert (guest.root / "a/b/c").exists()
    guest.effects.apply(Remove("/a"))
    assert list(guest.root.iterdir()) == []


def test_an_error_of_the_system_names_the_action(make_guest: Any) -> None:
    guest = make_guest(files={"/etc": "a file"})
    with pytest.raises(ActionFailed, match=r"write /etc/x \(0 bytes, 0644\): Not a directory"):
        guest.effects.apply(WriteFile("/etc/x"))


def test_commands_are_recorded_with_all_they_get(make_guest: Any) -> None:
    guest = make_guest()
    guest.effects.stage, guest.effects.module = "init", "m"
    guest.effects.apply(RunCommand(("a", "b"), stdin=Secret("in"), environment=(("E", "1"),), cwd="/tmp"))
    assert json.loads(guest.lines[0]) == {
        "argv": ["a", "b"],
        "stdin": "in",
        "env": {"E": "1"},
        "cwd": "/tmp",
        "stage": "init",
        "module": "m",
    }
    assert guest.effects.results[0].argv == ("a", "b")


def test_ga_w09_a_failing_command_says_status_and_last_words(make_guest: Any) -> None:
    guest = make_guest(
        replies=[
            {"match": ["mkfs"], "rc": 2, "stderr": "hm\nno such device\n"},
            {"match": ["useradd"], "rc": -9},
            {"match": ["gone"], "rc": 127},
        ]
    )
    with pytest.raises(CommandFailed, match="command mkfs: exit status 2: no such device") as caught:
        guest.effects.apply(RunCommand(("mkfs", "/dev/x")))
    assert (caught.value.status, caught.value.tail) == (2, "hm\nno such device\n")
    with pytest.raises(CommandFailed, match="command useradd: ended by signal 9"):
        guest.effects.apply(RunCommand(("useradd", "x")))
    with pytest.raises(CommandFailed, match="gone is not installed"):
        guest.effects.apply(RunCommand(("gone",)))
    guest.effects.apply(RunCommand(("mkfs",), good=(0, 2)))
    guest.effects.apply(RunCommand(("mkfs",), otherwise=RunCommand(("true",))))
    assert [json.loads(line)["argv"] for line in guest.lines[-2:]] == [["mkfs"], ["true"]]


def test_run_parts_runs_all_and_counts(make_guest: Any) -> None:
    guest = make_guest(replies=[{"match": ["/s/a"], "rc": 1}])
    parts = actions.RunParts("/s", tuple(RunCommand((f"/s/{name}",), name=name) for name in "ab"))
    with pytest.raises(ModuleFailed, match=r"Runparts: 1 failures \(a\) in 2 attempted commands"):
        guest.effects.apply(parts)
    assert len(guest.lines) == 2


def test_download_and_what_stands_in_for_it(make_guest: Any) -> None:
    guest = make_guest(pages={"http://x/a": "page"})
    guest.effects.apply(actions.Download("http://x/a", "/a", 0o600))
    guest.effects.apply(actions.Download("http://x/a", "/a", append=True))
    guest.effects.apply(actions.Download("http://x/b", "/b", otherwise=WriteFile("/b", b"own")))
    assert (guest.root / "a").read_text() == "pagepage"
    assert (guest.root / "b").read_text() == "own"
    with pytest.raises(ActionFailed, match="download http://x/b to /c: 404 not found"):
        guest.effects.apply(actions.Download("http://x/b", "/c"))


def test_post_console_and_power(make_guest: Any) -> None:
    guest = make_guest(pages={"http://x/": ""})
    guest.effects.apply(actions.PostForm("http://x/", (("a", "1"),)))
    guest.effects.apply(actions.Console(Secret("pw\n")))
    power = actions.ChangePower(("poweroff",))
    guest.effects.apply(power)
    assert (guest.posted, guest.shown, guest.powered) == ([("http://x/", {"a": "1"})], [b"pw\n"], [power])
    with pytest.raises(ActionFailed, match="connection refused"):
        guest.effects.apply(actions.PostForm("http://y/", ()))


def test_post_once_is_no_failure_where_it_is_not_taken(make_guest: Any) -> None:
    pages = {"http://ok/": "200", "http://none/": "404", "http://has/": "409", "http://bad/": "500"}
    guest = make_guest(pages=pages)
    for url in ("http://ok/", "http://none/", "http://has/"):
        guest.effects.apply(actions.PostOnce(url, b"x", "it"))
    assert [url for url, _ in guest.posted] == ["http://ok/", "http://none/", "http://has/"]
    with pytest.raises(ActionFailed, match="post it to http://bad/: HTTP 500"):
        guest.effects.apply(actions.PostOnce("http://bad/", b"x", "it"))
    with pytest.raises(ActionFailed, match="connection refused"):
        guest.effects.apply(actions.PostOnce("http://y/", b"x", "it"))


def test_edit_shadow(make_guest: Any) -> None:
    guest = make_guest(
        files={"/etc/shadow": {"content": "root:*:1:0:9:7:::\nu:!x:1:0:9:7:::\n", "mode": "0640"}}
    )
    edit = actions.EditShadow("u", password=Secret("$6$h"), last_change=0, expire_day=20000, inactive_days=3)
    guest.effects.apply(edit)
    guest.effects.apply(actions.EditShadow("u", lock=True))
    guest.effects.apply(actions.EditShadow("u", lock=True))
    assert (guest.root / "etc/shadow").read_text() == "root:*:1:0:9:7:::\nu:!$6$h:0:0:9:7:3:20000:\n"
    guest.effects.apply(actions.EditShadow("u", lock=False))
    assert guest.facts.shadow_field("u") == "$6$h"
    assert stat.S_IMODE((guest.root / "etc/shadow").stat().st_mode) == 0o640
    with pytest.raises(ActionFailed, match="there is no such line in /etc/shadow"):
        guest.effects.apply(actions.EditShadow("nobody", lock=True))


def test_reports_become_records_and_fail_ends_the_module(make_guest: Any, records: Any) -> None:
    guest = make_guest()
    guest.effects.apply(actions.Report("DEPRECATED", "old"))
    with pytest.raises(ModuleFailed, match="so it ends"):
        guest.effects.apply(actions.Fail("so it ends"))
    assert [record.text for record in records if record.level == "DEPRECATED"] == ["old"]


def test_owners_by_name_come_from_the_guest(make_guest: Any) -> None:
    guest = make_guest(files={"/etc/passwd": "u:x:7:8::/:/bin/sh\n", "/etc/group": "g:x:9:\n"})
    guest.effects.apply_owners = True
    assert guest.effects.owner_ids("u:g") == (7, 9)
    assert guest.effects.owner_ids("u") == (7, 8)
    assert guest.effects.owner_ids("root:root") == (0, 0)
    assert guest.effects.owner_ids("55:66") == (55, 66)
    with pytest.raises(ActionFailed, match="owner nobody: there is no such user"):
        guest.effects.owner_ids("nobody")
    with pytest.raises(ActionFailed, match="group none: there is no such group"):
        guest.effects.owner_ids("u:none")
