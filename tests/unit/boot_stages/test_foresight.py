"""The guest as it will be: each kind of effect is seen by later plans, and nothing is written."""

from typing import Any

import pytest

from boot_stages import actions
from boot_stages.actions import (
    AppendFile,
    MakeDirectory,
    MakeLink,
    Remove,
    Rename,
    RunCommand,
    SetMode,
    WriteFile,
)
from boot_stages.foresight import Foresight, plan_boot


@pytest.fixture
def guest(make_guest: Any) -> Any:
    return make_guest(
        files={
            "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
            "/etc/group": "root:x:0:\nadm:x:4:\n",
            "/etc/shadow": "root:*:1:0:9:7:::\n",
            "/a/b": "old",
        }
    )


def foresee(guest: Any, *planned: actions.Action) -> Foresight:
    found = Foresight.over(guest.facts)
    for action in planned:
        found.foresee(action)
    return found


def test_files_and_directories(guest: Any) -> None:
    before = sorted(guest.root.rglob("*"))
    seen = foresee(
        guest,
        WriteFile("/x/y", b"1", 0o600),
        AppendFile("/x/y", b"2"),
        AppendFile("/a/b", b"er"),
        MakeDirectory("/d", 0o700, "root"),
        MakeLink("/l", "/x/y"),
        SetMode("/x/y", 0o640),
        actions.Download("http://x", "/fetched"),
    )
    assert seen.read_text("/x/y") == seen.read_text("/l") == "12"
    assert seen.read_text("/a/b") == "older"
    assert (seen.mode("/x/y"), seen.mode("/d"), seen.mode("/x")) == (0o640, 0o700, 0o755)
    assert (seen.is_directory("/x"), seen.is_file("/x/y"), seen.link_target("/l")) == (True, True, "/x/y")
    assert seen.names_in("/") == ("a", "d", "etc", "fetched", "l", "x")
    assert sorted(guest.root.rglob("*")) == before


def test_what_is_removed_is_gone_with_all_below_it(guest: Any) -> None:
    seen = foresee(guest, Remove("/a"), Rename("/etc/group", "/etc/g"))
    assert not seen.exists("/a/b")
    assert seen.read_bytes("/a/b") is None
    assert seen.names_in("/a") == ()
    assert (seen.exists("/etc/group"), seen.read_text("/etc/g")) == (False, "root:x:0:\nadm:x:4:\n")
    seen.foresee(WriteFile("/a/c", b""))
    assert seen.names_in("/a") == ("c",)


def test_accounts_that_commands_will_make(guest: Any) -> None:
    seen = foresee(
        guest,
        RunCommand(("groupadd", "web")),
        RunCommand(("useradd", "ana", "--groups", "web,adm", "--uid", "1200", "-m")),
        RunCommand(("adduser", "-D", "-H", "bo")),
        RunCommand(("usermod", "-a", "-G", "web", "root")),
        RunCommand(("addgroup", "bo", "adm")),
    )
    assert [(each.name, each.uid) for each in seen.accounts()] == [("root", 0), ("ana", 1200), ("bo", 1000)]
    assert (seen.is_directory("/home/ana"), seen.is_directory("/home/bo")) == (True, False)
    assert seen.group_members()["web"] == ("ana", "root")
    assert seen.group_members()["adm"] == ("ana", "bo")
    assert seen.shadow_field("ana") == "!"
    assert seen.owner("/home/ana") == (1200, 1200)


def test_keys_that_ssh_keygen_will_make_are_there_by_name(guest: Any) -> None:
    seen = foresee(guest, RunCommand(("ssh-keygen", "-t", "rsa", "-N", "", "-f", "/etc/ssh/k")))
    assert seen.names_in("/etc/ssh") == ("k", "k.pub")


def test_a_boot_planned_ahead(guest: Any) -> None:
    config = {
        "hostname": "web-1",
        "runcmd": ["ls"],
        "users": [{"name": "root", "sudo": 5}],
        "snap": {"commands": ["x"]},
    }
    planned = {each.module: each for each in plan_boot(config, guest.facts)}
    assert [action.summary() for action in planned["update_hostname"].actions] == [
        "write /var/lib/cloud/data/previous-hostname (6 bytes, 0644)"
    ]
    assert planned["scripts_user"].actions[0].summary().endswith(": runcmd")
    assert planned["snap"].skipped == "it is for ubuntu"
    assert planned["ntp"].skipped == "no key of it is set"
    assert isinstance(planned["users_groups"].actions[-1], actions.Fail)
    bad = {each.module: each for each in plan_boot({"runcmd": 5}, guest.facts)}
    assert (bad["runcmd"].error, len(bad["runcmd"].faults)) == ("its keys cannot be read", 1)


def test_modules_that_ran_are_left_out(guest: Any) -> None:
    planned = plan_boot({"runcmd": ["ls"]}, guest.facts, lambda name, _frequency: name == "runcmd")
    (runcmd,) = [each for each in planned if each.module == "runcmd"]
    assert runcmd.skipped == "previously ran (once-per-instance)"
