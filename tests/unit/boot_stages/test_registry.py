"""The table of modules holds what the modules' files say, and nothing that has no file."""

from pathlib import Path
from typing import Any

import pytest

import boot_stages.modules
from boot_stages import apt_old_keys
from boot_stages.actions import Report
from boot_stages.distros import distro_of
from boot_stages.later import LATER
from boot_stages.module import FREQUENCIES
from boot_stages.registry import BY_NAME, MODULES, Entry, Later, entry, known_keys, nearest_key, unread
from boot_stages.runner import plan_module
from boot_stages.stages import DEFAULT_MODULES

FILES = {path.stem for path in Path(boot_stages.modules.__file__).parent.glob("*.py")} - {"__init__"}


def test_every_file_is_in_the_table_and_every_row_has_a_file() -> None:
    assert {row.name for row in MODULES if not isinstance(row, Later)} == FILES
    assert {row.name for row in MODULES if isinstance(row, Later)} == set(LATER)
    assert len(BY_NAME) == len(MODULES)


def test_d3_the_old_keys_of_apt_are_those_of_the_row() -> None:
    assert set(BY_NAME["apt_configure"].old_keys) == set(apt_old_keys.OLD_KEYS)
    assert unread(apt_old_keys.OLD_KEYS, ["apt_configure"], distro_of({"ID": "debian"})) == ()


@pytest.mark.parametrize("row", MODULES, ids=lambda row: row.name)
def test_a_row_says_what_the_file_says(row: Any) -> None:
    module = row.load()
    assert module.name == row.name
    assert set(row.keys) == set(module.config.names())
    assert set(row.activated_by) <= set(row.keys)
    assert row.frequency in FREQUENCIES


def test_every_module_stands_in_one_default_list() -> None:
    listed = [name for names in DEFAULT_MODULES.values() for name in names]
    assert len(listed) == len(set(listed))
    assert set(listed) == set(BY_NAME)


def test_entry_takes_every_spelling() -> None:
    assert entry("cc_write_files.py") is entry("write-files") is BY_NAME["write_files"]
    assert entry("nothing") is None


def test_ga_p13_an_unknown_key_has_a_nearest_known_one() -> None:
    assert nearest_key("write_file") == "write_files"
    assert nearest_key("ssh_authorised_keys") == "ssh_authorized_keys"
    assert nearest_key("qqqqqq") == ""
    assert {"runcmd", "merge_how", "ca-certs", "snap"} <= known_keys()


def test_keys_that_no_module_of_a_list_reads_say_why() -> None:
    listed = ["runcmd", "cc_set_hostname.py", "wireguard", "nope"]
    keys = ["runcmd", "hostname", "wireguard", "locale", "write_file", "qqqqqq", "merge_how", "runcmd_status"]
    debian = distro_of({"ID": "debian"})
    assert {each.key: each.why for each in unread(keys, listed, debian)} == {
        "locale": "its module locale is in none of the lists of modules",
        "qqqqqq": "no module knows it",
        "wireguard": "its module wireguard is for ubuntu",
        "write_file": "no module knows it. Did you mean write_files?",
    }
    assert "wireguard" not in {each.key for each in unread(keys, listed, debian, ["wireguard"])}
    assert "wireguard" not in {each.key for each in unread(keys, listed, distro_of({"ID": "ubuntu"}))}


@pytest.mark.parametrize(
    ("name", "config", "facts", "is_idle"),
    [
        ("set_passwords", {}, {}, True),
        ("set_passwords", {"password": "x"}, {}, False),
        ("seed_random", {}, {"cloud": {"random_seed": "x"}}, False),
        ("growpart", {}, {"have": ["growpart"]}, False),
        ("growpart", {}, {}, True),
        ("scripts_per_boot", {}, {"files": {"/var/lib/cloud/scripts/per-boot": {"directory": True}}}, True),
        ("scripts_per_boot", {}, {"files": {"/var/lib/cloud/scripts/per-boot/a": ""}}, False),
        ("scripts_user", {}, {"files": {"/var/lib/cloud/instances/i-1/scripts/a": ""}}, False),
        ("ssh", {}, {}, False),
    ],
)
def test_modules_with_nothing_to_do_are_not_imported(
    name: str, config: dict[str, object], facts: dict[str, object], is_idle: bool, make_guest: Any
) -> None:
    assert BY_NAME[name].is_idle(config, make_guest(**facts).facts) is is_idle


@pytest.mark.parametrize(
    "row", [row for row in MODULES if row.works_with is not None], ids=lambda row: row.name
)
def test_an_idle_module_would_have_planned_nothing(row: Entry, make_guest: Any) -> None:
    guest = make_guest(distro="debian")
    assert row.is_idle({}, guest.facts)
    plan, faults = plan_module(row, {}, guest.facts)
    assert [action for action in plan if not isinstance(action, Report)] == []
    assert faults == []
