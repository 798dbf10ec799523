"""The four stages: what a boot leaves behind, in one process or in four."""

from __future__ import annotations

import stat
from collections import Counter
from pathlib import Path

import pytest

from boot_stages.stages import FINAL, LOCAL
from guest_agent import all_stages
from guest_agent.boot import Boot
from guest_agent.datasources.source_data import SourceData
from guest_agent.machine import Machine, Settings
from tests.unit.guest_agent.run.roots import CONFIG, MAC, Root

USER_DATA = """\
#cloud-config
hostname: web1
users: [default, {name: alice, ssh_authorized_keys: [ssh-ed25519 AAAA a]}]
write_files: [{path: /etc/motd, content: hello}]
runcmd: [echo hi]
"""


def test_a_boot_without_errors_is_done_and_leaves_the_files_of_the_contract(root: Root) -> None:
    root.seed(USER_DATA)
    assert root.all_stages() == [0, 0, 0, 0]
    assert root.text("etc/motd") == "hello"
    assert root.text("etc/hostname") == "web1\n"
    status = root.status()
    assert [status[key]["errors"] for key in ("init-local", "init", "modules-config", "modules-final")] == [
        []
    ] * 4
    assert status["stage"] is None
    assert root.json("var/lib/cloud/data/result.json") == {
        "v1": {"datasource": "DataSourceNoCloud [seed=/var/lib/cloud/seed/nocloud]", "errors": []}
    }
    assert (root.path / "run/cloud-init/result.json").readlink() == Path(
        "../../var/lib/cloud/data/result.json"
    )
    assert root.text("var/lib/cloud/data/previous-instance-id") == "NO_PREVIOUS_INSTANCE_ID\n"
    assert (root.path / "var/lib/cloud/instance").readlink() == Path("/var/lib/cloud/instances/i-1")
    assert root.machine().read_text("/run/cloud-init/cloud-id") == "nocloud\n"


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("var/lib/cloud/instances/i-1/user-data.txt", 0o600),
        ("var/lib/cloud/instances/i-1/cloud-config.txt", 0o600),
        ("var/lib/cloud/instances/i-1/obj.pkl", 0o400),
        ("var/lib/cloud/instances/i-1/scripts/runcmd", 0o700),
        ("var/lib/cloud/instances/i-1/network-config.json", 0o600),
        ("var/lib/cloud/instances/i-1/changes.jsonl", 0o600),
        ("var/lib/cloud/instances/i-1/sem/config_runcmd", 0o644),
        ("var/lib/cloud/data/instance-id", 0o644),
        ("run/cloud-init/instance-data-sensitive.json", 0o600),
        ("run/cloud-init/instance-data.json", 0o644),
        ("run/cloud-init/combined-cloud-config.json", 0o600),
        ("run/cloud-init/share", 0o700),
        ("var/log/cloud-init.log", 0o640),
    ],
)
def test_ga_s13_modes_of_the_agents_files(root: Root, name: str, mode: int) -> None:
    root.seed(USER_DATA)
    root.all_stages()
    assert stat.S_IMODE((root.path / name).stat().st_mode) == mode


def test_one_process_leaves_the_same_as_four(root: Root, tmp_path: Path) -> None:
    other = Root(tmp_path / "other")
    for each in (root, other):
        each.seed(USER_DATA)
    root.all_stages()
    assert all_stages.run(other.boot(), is_by_hand=True) == 0
    # The log has more lines where each process reads the cache; semaphores hold the process's number.
    # Four processes also read what the first of them wrote.
    apart = (
        "var/log", "run/cloud-init/sem", "run/cloud-init/owners.json", "var/lib/cloud/instances/i-1/sem",
        "var/lib/cloud/instances/i-1/known-documents.json",
    )  # fmt: skip
    assert root.tree(without=apart).keys() == other.tree(without=apart).keys()
    differing = [
        name
        for name, found in root.tree(without=apart).items()
        if found != other.tree(without=apart)[name] and not name.endswith("changes.jsonl")
    ]
    assert differing == []
    assert root.commands() == other.commands()


@pytest.mark.parametrize("is_rebooted", [True, False], ids=["second boot", "stages run again"])
@pytest.mark.parametrize("is_one_process", [True, False], ids=["one process", "four"])
def test_a_name_from_user_data_stays_when_the_source_has_another(
    root: Root, is_rebooted: bool, is_one_process: bool
) -> None:
    root.put("etc/cloud/cloud.cfg", CONFIG.replace("set_hostname,", "set_hostname, update_hostname,"))
    root.seed("#cloud-config\nhostname: db1\n")  # the meta-data says web1
    assert root.all_stages() == [0, 0, 0, 0]
    before = len(root.commands())
    if is_rebooted:
        root.reboot()
        before = 0
    if is_one_process:
        assert all_stages.run(root.boot(), is_by_hand=True) == 0
    else:
        assert root.all_stages() == [0, 0, 0, 0]
    assert root.text("etc/hostname") == "db1\n"
    assert [argv for argv in root.commands()[before:] if argv[0] == "hostname"] == []


class _Counting(Machine):
    """A guest that counts how often each of its files is read."""

    def __init__(self, settings: Settings) -> None:
        self.reads: Counter[str] = Counter()
        super().__init__(settings)

    def read_bytes(self, path: str) -> bytes | None:
        self.reads[path] += 1
        return super().read_bytes(path)


def test_the_local_stage_of_a_second_boot_loads_once_what_the_first_merged_from_user_data(root: Root) -> None:
    root.seed("#cloud-config\nhostname: db1\n")
    assert root.all_stages() == [0, 0, 0, 0]
    root.reboot()
    machine = _Counting(root.settings())
    boot = Boot(machine)
    assert boot.run(LOCAL) == 0
    assert boot.config["hostname"] == "db1"
    assert machine.reads["/var/lib/cloud/instances/i-1/cloud-config.txt"] == 1


def test_ga_s04_a_second_boot_of_the_same_instance_changes_nothing(root: Root) -> None:
    root.seed(USER_DATA)
    root.all_stages()
    volatile = (
        "run",
        "var/log",
        "var/lib/cloud/data/status.json",
        "var/lib/cloud/instances/i-1/changes.jsonl",
    )
    before = root.tree(without=volatile)
    root.reboot()
    root.put("proc/cmdline", FILES_OF_SECOND_BOOT)
    assert root.all_stages() == [0, 0, 0, 0]
    after = root.tree(without=volatile)
    assert {name for name in before if before[name] != after.get(name)} == {"proc/cmdline"}
    assert set(after) == set(before)
    assert root.commands() == []


FILES_OF_SECOND_BOOT = "root=/dev/vda1 quiet second\n"


def test_ga_s05_a_new_instance_runs_everything_again_and_an_old_one_does_not(root: Root) -> None:
    root.seed(USER_DATA, "i-1")
    root.all_stages()
    for instance_id, runs in (("i-2", True), ("i-1", False)):
        root.reboot()
        root.put("etc/motd", "changed by hand")
        root.seed(USER_DATA, instance_id)
        assert root.all_stages() == [0, 0, 0, 0]
        assert (root.text("etc/motd") == "hello") is runs
        assert root.text("var/lib/cloud/data/instance-id") == f"{instance_id}\n"


@pytest.mark.parametrize("instance_id", ["a/b", "x" * 300, "..", "é ü"])
def test_ga_s05_an_instance_id_never_chooses_a_path(root: Root, instance_id: str) -> None:
    root.seed(USER_DATA, f"'{instance_id}'")
    assert root.all_stages() == [0, 0, 0, 0]
    [directory] = list((root.path / "var/lib/cloud/instances").iterdir())
    assert directory.name == {"a/b": "a_b"}.get(instance_id, directory.name)
    assert directory.name.isascii()
    assert len(directory.name) <= 128


def test_no_source_is_an_error_in_every_stage_but_the_first(root: Root) -> None:
    root.put("etc/cloud/cloud.cfg", "datasource_list: [NoCloud, ConfigDrive]\n")
    assert root.all_stages() == [0, 1, 1, 1]
    status = root.status()
    assert status["init"]["errors"] == ["No instance datasource found."]
    assert status["modules-config"]["errors"] == [
        "Can not apply stage config, no datasource found! Likely bad things to come!"
    ]
    assert root.agent("status") == 1


def test_the_fallback_source_is_a_warning_at_the_end(root: Root) -> None:
    assert root.all_stages() == [0, 0, 0, 0]
    assert "Used fallback datasource" in root.status()["modules-final"]["recoverable_errors"]["WARNING"]
    assert root.agent("status") == 2


def test_d1_errors_stay_in_the_stage_that_had_them(root: Root) -> None:
    root.seed("#cloud-config\nbootcmd: [true]\n")
    assert root.all_stages()[1:] == [1, 0, 0]
    status = root.status()
    assert status["init"]["errors"][0].startswith("('bootcmd', ")
    assert [status[key]["errors"] for key in ("init-local", "modules-config", "modules-final")] == [
        [],
        [],
        [],
    ]
    assert len(root.json("var/lib/cloud/data/result.json")["v1"]["errors"]) == 1


def test_d2_recoverable_errors_keep_their_order_and_come_once(root: Root) -> None:
    boot = root.boot()
    end = boot.log.start()
    try:
        from boot_stages.log import logger

        say = logger("test")
        for text in ("second", "first", "second"):
            say.warning("%s", text)
        say.deprecated("old")
    finally:
        end()
    assert boot.log.recoverable_errors() == {"WARNING": ["second", "first"], "DEPRECATED": ["old"]}


def test_a_user_script_that_fails_is_an_error_in_the_words_of_the_contract(root: Root) -> None:
    root.seed("#!/bin/sh\nexit 3\n")
    replies = root.path / "replies.yaml"
    replies.write_text("- {match: [/var/lib/cloud/instances/i-1/scripts/part-001], rc: 3}\n")
    root.replies = str(replies)
    assert root.all_stages() == [0, 0, 0, 1]
    [error] = root.status()["modules-final"]["errors"]
    assert "Runparts: 1 failures (part-001) in 1 attempted commands" in error


def test_user_data_that_cannot_be_read_stops_the_stage_before_its_modules(root: Root) -> None:
    root.seed(b"MIME-Version: 1.0\nContent-Type: text/cloud-config\n\n\xff\xfe\n")
    codes = root.all_stages()
    assert codes[1] == 1
    assert codes[2:] == [0, 0]
    assert "init-network/config-" not in root.text("var/log/cloud-init.log")


def test_the_network_config_of_the_source_is_written_once_for_an_instance(root: Root) -> None:
    network = f"version: 2\nethernets: {{eth0: {{match: {{macaddress: '{MAC}'}}, dhcp4: true}}}}\n"
    root.seed("", network_config=network)
    root.all_stages()
    path = "etc/network/interfaces.d/50-cloud-init"
    assert "iface eth0 inet dhcp" in root.text(path)
    (root.path / path).unlink()
    root.reboot()
    root.all_stages()
    assert not (root.path / path).exists()


def test_a_nic_that_never_appears_fails_the_stage_and_nothing_is_written(root: Root) -> None:
    network = "version: 1\nconfig: [{type: physical, name: eth9, mac_address: '00:11:22:33:44:55'}]\n"
    root.seed("", network_config=network)
    assert root.agent("init", "--local") == 1
    assert "00:11:22:33:44:55" in root.status()["init-local"]["errors"][0]
    assert not (root.path / "etc/network/interfaces.d/50-cloud-init").exists()


@pytest.mark.parametrize("where", ["config", "cmdline"])
def test_a_disabled_network_config_writes_nothing(root: Root, where: str) -> None:
    root.seed(USER_DATA)
    if where == "config":
        root.put("etc/cloud/cloud.cfg.d/99-off.cfg", "network: {config: disabled}\n")
    else:
        root.put("proc/cmdline", "quiet network-config=disabled\n")
    assert root.all_stages() == [0, 0, 0, 0]
    assert not (root.path / "etc/network/interfaces.d").exists()


@pytest.mark.parametrize(
    ("user_data", "may_wait"),
    [
        ("", False),
        ("#cloud-config\nhostname: a\n", False),
        ("#cloud-config\nbootcmd: [ls]\n", True),
        ("#cloud-config\nrandom_seed: {command: [pollinate]}\n", True),
        ("#cloud-config\nwrite_files: [{path: /a, source: {uri: 'http://x/y'}}]\n", True),
        ("#cloud-config\nwrite_files: [{path: /a, source: {uri: 'file:///y'}}]\n", False),
        ("#!/bin/sh\n", True),
    ],
)
def test_the_network_is_waited_for_only_when_user_data_may_need_it(
    root: Root, user_data: str, may_wait: bool
) -> None:
    root.seed(user_data)
    root.agent("init", "--local")
    assert (root.path / "run/cloud-init/.skip-network").exists() is not may_wait


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({}, "http://169.254.169.254/openstack/latest/password"),
        ({"name": "ConfigDrive", "seed": "/dev/sr0"}, ""),
        ({"seed": "/dev/sr0"}, ""),
    ],
)
def test_os_14_a_password_may_be_left_with_openstacks_service_alone(
    root: Root, changes: dict[str, str], url: str
) -> None:
    boot = root.boot()
    fields = {"name": "OpenStack", "class_name": "C", "text": "t", "instance_id": "i", "metadata": {}}
    boot.source = SourceData(**{**fields, "seed": "http://169.254.169.254", **changes})  # type: ignore[arg-type]
    assert boot.facts().cloud.password_url == url


@pytest.mark.parametrize("where", ["user_data", "vendor_data"])
def test_who_hears_of_the_boot_is_said_in_user_data_too(root: Root, where: str) -> None:
    text = '#cloud-config\nreporting: {heat: {type: signal, endpoint: "http://192.0.2.1/signal"}}\n'
    root.seed(**{where: text})
    boot = root.boot()
    assert all_stages.run(boot, is_by_hand=True) == 0
    assert [type(each).__name__ for each in boot.reporter.listeners] == ["Signal"]
    # The last stage as a process of its own, which learns of it from what an earlier one kept.
    alone = root.boot()
    assert alone.run(FINAL) == 0
    assert [type(each).__name__ for each in alone.reporter.listeners] == ["Signal"]
