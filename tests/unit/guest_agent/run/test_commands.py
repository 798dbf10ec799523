"""The commands of `cloud-init`: what they print, and how they exit."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from guest_agent.cli import UsageError, main, take_settings
from tests.unit.guest_agent.run.roots import Root

USER_DATA = "#cloud-config\nhostname: web1\nwrite_files: [{path: /etc/motd, content: hello}]\n"


@pytest.fixture
def booted(root: Root) -> Root:
    """A guest after a boot without errors."""
    root.seed(USER_DATA)
    root.all_stages()
    return root


def _out(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_the_test_interface_is_taken_wherever_it_stands() -> None:
    words = ["status", "--root=/r", "--long", "--have", "a,b", "--epoch", "5", "--", "--root", "x"]
    settings, rest = take_settings(words, {})
    assert (settings.root, settings.have, settings.epoch_s) == ("/r", ("a", "b"), 5.0)
    assert rest == ["status", "--long", "--", "--root", "x"]
    assert take_settings([], {"AGENT_ROOT": "/e"})[0].root == "/e"


@pytest.mark.parametrize("words", [["--root"], ["--epoch", "soon"], ["--commands", "perhaps"]])
def test_a_bad_test_interface_is_a_usage_error(words: list[str]) -> None:
    with pytest.raises(UsageError):
        take_settings(words, {})


def test_no_command_is_exit_2_with_the_help(root: Root, capsys: pytest.CaptureFixture[str]) -> None:
    assert root.agent() == 2
    assert "error: a subcommand is required" in capsys.readouterr().err


def test_status_of_a_boot_without_errors(booted: Root, capsys: pytest.CaptureFixture[str]) -> None:
    _out(capsys)
    assert booted.agent("status", "--format", "json") == 0
    document = json.loads(_out(capsys))
    assert (document["status"], document["extended_status"], document["datasource"]) == (
        "done",
        "done",
        "nocloud",
    )


def test_status_of_a_boot_that_runs(root: Root, capsys: pytest.CaptureFixture[str]) -> None:
    root.seed("")
    root.agent("init", "--local")
    _out(capsys)
    root.agent("status", "--long")
    assert "extended_status: running" in _out(capsys)


@pytest.mark.parametrize(
    ("words", "code", "answer"),
    [
        (("v1.instance_id",), 0, "i-1"),
        (("v1.cloud-name",), 0, "unknown"),
        (("instance_id",), 0, "i-1"),
        (("ds.meta_data.local_hostname",), 0, "web1"),
        (("--list-keys", "ds"), 0, "_doc\nmeta_data"),
        (("--format", "{{ v1.cloud_id }}-{{ instance_id }}"), 0, "nocloud-i-1"),
        (("--list-keys", "v1.instance_id"), 1, ""),
        (("nothing",), 1, ""),
        (("v1.nothing",), 1, ""),
        ((), 1, ""),
    ],
)
def test_query(
    booted: Root, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, answer: str
) -> None:
    _out(capsys)
    assert booted.agent("query", *words) == code
    assert _out(capsys).strip() == answer


def test_query_says_which_part_of_the_name_is_wrong(booted: Root, capsys: pytest.CaptureFixture[str]) -> None:
    booted.agent("query", "nothing")
    booted.agent("query", "v1.nothing")
    said = capsys.readouterr().err
    assert "Undefined instance-data key 'nothing'" in said
    assert "instance-data 'v1' has no 'nothing'" in said


def test_instance_data_is_redacted_for_everybody_but_root(booted: Root) -> None:
    public = booted.json("run/cloud-init/instance-data.json")
    assert public["merged_cfg"] == public["merged_system_cfg"] == "redacted for non-root user"
    assert public["sensitive_keys"] == ["merged_cfg", "merged_system_cfg"]
    private = booted.json("run/cloud-init/instance-data-sensitive.json")
    assert private["merged_system_cfg"]["datasource_list"] == ["NoCloud", "ConfigDrive", "None"]
    assert private["v1"]["instance-id"] == private["v1"]["instance_id"] == "i-1"


@pytest.mark.parametrize(
    ("document", "code", "said"),
    [
        ("#cloud-config\nhostname: a\n", 0, "Valid schema"),
        ("#cloud-config\nhostname: [a]\n", 1, "hostname: "),
        ("#cloud-config\nnonsense: 1\n", 1, "nonsense: "),
        ("hostname: a\n", 1, "Unrecognized user-data header"),
        ("#cloud-config\n- a\n", 1, "a map is expected"),
        ("#cloud-config\na: [\n", 1, "doc"),
        ("#!/bin/sh\n", 0, "not currently evaluated"),
        ("", 0, "Nothing to validate"),
    ],
)
def test_schema(root: Root, capsys: pytest.CaptureFixture[str], document: str, code: int, said: str) -> None:
    root.put("doc.yaml", document)
    assert root.agent("schema", "-c", str(root.path / "doc.yaml")) == code
    captured = capsys.readouterr()
    assert said in captured.out + captured.err


def test_schema_marks_the_lines(root: Root, capsys: pytest.CaptureFixture[str]) -> None:
    root.put("doc.yaml", "#cloud-config\nhostname: [a]\nfinal_message: hello\nnonsense: 1\n")
    assert root.agent("schema", "-c", str(root.path / "doc.yaml"), "--annotate") == 1
    lines = _out(capsys).splitlines()
    assert lines[1].startswith("hostname: [a]\t\t# E")
    assert lines[2] == "final_message: hello"
    assert lines[3].startswith("nonsense: 1\t\t# E")
    assert "# Errors: -------------" in lines


def test_a_config_the_schema_does_not_allow_is_one_warning_at_boot(root: Root) -> None:
    root.seed("#cloud-config\nnonsense: 1\nother: 2\n")
    assert root.all_stages() == [0, 0, 0, 0]
    [warning] = root.status()["init"]["recoverable_errors"]["WARNING"]
    assert warning.startswith("cloud-config failed schema validation!")


def test_single_runs_one_module_by_its_semaphore(booted: Root) -> None:
    (booted.path / "etc/motd").unlink()
    assert booted.agent("single", "--name", "write_files") == 0
    assert not (booted.path / "etc/motd").exists()
    assert booted.agent("single", "--name", "cc_write-files", "--frequency", "always") == 0
    assert booted.text("etc/motd") == "hello"
    assert booted.agent("single", "--name", "nothing") == 1


def test_clean_leaves_the_seed_and_removes_what_the_config_made(booted: Root) -> None:
    booted.put(
        "etc/fstab", "/dev/vda1 / ext4 defaults 0 1\n/dev/vdb /mnt ext4 defaults,comment=cloudconfig 0 2\n"
    )
    booted.put("etc/network/interfaces", "# own\nauto lo\n")
    assert booted.agent("clean", "--logs", "--machine-id", "--configs", "all") == 0
    assert [path.name for path in (booted.path / "var/lib/cloud").iterdir()] == ["seed"]
    assert not (booted.path / "etc/network/interfaces.d/50-cloud-init").exists()
    assert not (booted.path / "var/log/cloud-init.log").exists()
    assert booted.text("etc/network/interfaces") == "# own\nauto lo\n"
    assert booted.text("etc/fstab") == "/dev/vda1 / ext4 defaults 0 1\n"
    assert booted.agent("clean", "--seed") == 0
    assert list((booted.path / "var/lib/cloud").iterdir()) == []


def test_clean_that_fails_does_not_reboot(booted: Root) -> None:
    booted.put("etc/cloud/clean.d/10-no", "#!/bin/sh\n", 0o755)
    replies = booted.path / "replies.yaml"
    replies.write_text("- {match: [/etc/cloud/clean.d/10-no], rc: 4, stderr: no}\n")
    booted.replies = str(replies)
    before = len(booted.commands())
    assert booted.agent("clean", "--reboot") == 1
    assert booted.commands()[before:] == [["/etc/cloud/clean.d/10-no"]]


def test_analyze_reads_the_boot_it_was(booted: Root, capsys: pytest.CaptureFixture[str]) -> None:
    _out(capsys)
    assert booted.agent("analyze", "show") == 0
    shown = _out(capsys)
    assert "-- Boot Record 01 --" in shown
    assert "Starting stage: init-local" in shown
    assert shown.endswith("1 boot records analyzed\n")
    assert booted.agent("analyze", "dump") == 0
    events = json.loads(_out(capsys))
    assert {event["event_type"] for event in events} == {"start", "finish"}
    assert events[0]["name"] == "init-local"
    assert booted.agent("analyze", "blame") == 0
    assert "(init-local/search-NoCloud)" in _out(capsys)
    assert booted.agent("analyze", "plot") == 0
    assert _out(capsys).startswith("<svg ")
    assert booted.agent("analyze", "boot") == 1


@pytest.mark.parametrize(
    ("log", "said"), [(None, "Cannot open file"), ("", "Empty file"), ("no events\n", "")]
)
def test_analyze_of_other_files(
    root: Root, capsys: pytest.CaptureFixture[str], log: str | None, said: str
) -> None:
    if log is not None:
        root.put("log", log)
    code = root.agent("analyze", "show", "-i", str(root.path / "log"))
    assert code == (1 if said else 0)
    assert said in capsys.readouterr().err


def test_d24_a_finish_without_its_start_is_left_out(root: Root, capsys: pytest.CaptureFixture[str]) -> None:
    line = "2026-11-22 12:00:0{n},000 - handlers.py[DEBUG]: {kind}: {name}: {rest}"
    lines = [
        line.format(n=1, kind="finish", name="modules-final/config-x", rest="SUCCESS: old"),
        line.format(n=2, kind="start", name="init-local", rest="begin"),
        line.format(n=4, kind="finish", name="init-local", rest="SUCCESS: end"),
    ]
    root.put("log", "\n".join(lines))
    assert root.agent("analyze", "show", "-i", str(root.path / "log")) == 0
    out = _out(capsys)
    assert "Finished stage: (init-local) 02.00000 seconds" in out
    assert "1 boot records analyzed" in out


def test_collect_logs_redacts_what_only_root_may_read(booted: Root, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("collect-logs needs root")
    for options, is_there in (((), True), (("--redact",), False)):
        archive = tmp_path / f"logs{len(options)}.tar.gz"
        assert booted.agent("collect-logs", "-t", str(archive), *options) == 0
        with tarfile.open(archive) as tar:
            names = [name.partition("/")[2] for name in tar.getnames()]
        assert ("run/cloud-init/instance-data-sensitive.json" in names) is is_there
        assert "run/cloud-init/instance-data.json" in names
        assert "version" in names
        assert archive.stat().st_mode & 0o077 == 0


def test_features_are_sorted(root: Root, capsys: pytest.CaptureFixture[str]) -> None:
    assert root.agent("features") == 0
    assert _out(capsys).split() == ["NETWORK_CONFIG_V1", "NETWORK_CONFIG_V2"]


def test_cloud_id(booted: Root, root: Root, capsys: pytest.CaptureFixture[str]) -> None:
    _out(capsys)
    assert main("cloud-id", ["--root", str(booted.path), "--long"]) == 0
    assert _out(capsys) == "nocloud\tn/a\n"
    booted.put("etc/cloud/cloud-init.disabled", "")
    (booted.path / "run/systemd/system").mkdir(parents=True)
    assert main("cloud-id", ["--root", str(booted.path)]) == 2


def test_cloud_id_before_the_boot(root: Root) -> None:
    assert main("cloud-id", ["--root", str(root.path)]) == 3


@pytest.mark.parametrize(("frequency", "runs"), [("once", 1), ("instance", 1), ("always", 2)])
def test_cloud_init_per(booted: Root, frequency: str, runs: int) -> None:
    replies = booted.path / "replies.yaml"
    replies.write_text("- {match: [make-it], rc: 3}\n")
    words = [
        "--root",
        str(booted.path),
        "--replies",
        str(replies),
        "--epoch",
        "1700000000",
        frequency,
        "a-b",
        "make-it",
    ]
    assert main("cloud-init-per", words) == 3
    assert main("cloud-init-per", words) == (3 if runs == 2 else 0)
    assert booted.commands()[-runs:] == [["make-it"]] * runs
    place = "var/lib/cloud/instance/sem" if frequency == "instance" else "var/lib/cloud/sem"
    marker = booted.machine().read_text(f"/{place}/bootper.a_b.{frequency}")
    assert marker == "3\t1700000000\n"


@pytest.mark.parametrize("words", [[], ["once", "a"], ["sometimes", "a", "b"], ["once", "../x", "b"]])
def test_cloud_init_per_used_badly(root: Root, words: list[str]) -> None:
    assert main("cloud-init-per", ["--root", str(root.path), *words]) == 1


def test_explain_names_line_rule_and_module(booted: Root, capsys: pytest.CaptureFixture[str]) -> None:
    _out(capsys)
    assert booted.agent("explain", "hostname") == 0
    assert "user-data part-001:2" in _out(capsys)
    assert booted.agent("explain", "datasource_list") == 0
    assert "/etc/cloud/cloud.cfg:1" in _out(capsys)
    assert booted.agent("explain", "/etc/motd", "--format", "json") == 0
    [change] = json.loads(_out(capsys))
    assert (change["stage"], change["module"]) == ("init-network", "write_files")
    assert booted.agent("explain", "no.such.key") == 1


def test_hotplug_writes_the_network_config_again(booted: Root) -> None:
    booted.put("etc/cloud/cloud.cfg.d/10.cfg", "updates: {network: {when: [boot-new-instance, hotplug]}}\n")
    path = "etc/network/interfaces.d/50-cloud-init"
    (booted.path / path).unlink()
    handle = ("handle", "--devpath=/devices/x/net/eth1", "--udevaction=add")
    assert booted.agent("devel", "hotplug-hook", "--subsystem=net", "query") == 0
    assert booted.agent("devel", "hotplug-hook", "--subsystem=net", *handle) == 0


def test_commands_are_recorded_with_all_that_was_handed_over(booted: Root) -> None:
    lines = [json.loads(line) for line in booted.text("run/cloud-init/commands.jsonl").splitlines()]
    assert all(set(line) == {"argv", "stdin", "env", "cwd", "stage", "module"} for line in lines)
    assert (booted.path / "run/cloud-init/commands.jsonl").stat().st_mode & 0o077 == 0
    owners = booted.json("run/cloud-init/owners.json")
    assert owners["/etc/motd"] == ["root", "root", "0644"]
    assert owners["/var/lib/cloud/instances/i-1/obj.pkl"] == ["root", "root", "0400"]


@pytest.mark.parametrize("how", ["marker", "command line"])
def test_ga_s12_nobody_waits_for_services_that_never_start(root: Root, how: str) -> None:
    """Without systemd (Alpine) the services heed both themselves."""
    if how == "marker":
        root.put("etc/cloud/cloud-init.disabled", "")
    else:
        root.put("proc/cmdline", "root=/dev/vda1 cloud-init=disabled\n")
    assert root.agent("status", "--wait") == 0
