"""`guestling plan`: what user data would change, through the agent's own code, without running anything."""

import json
from pathlib import Path
from typing import Any

import pytest

from guestling.main import main

CONFIG = """#cloud-config
hostname: web-1
users: [{name: ana, ssh_authorized_keys: [ssh-ed25519 AAAA a]}]
write_files: [{path: /etc/motd, content: hi, permissions: "0600"}]
runcmd: [echo hi]
packages: [vim]
"""


@pytest.fixture
def plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run `guestling plan` on a text; exit status, the JSON document, what was said on stderr."""

    def run(text: str, *options: str) -> tuple[int, dict[str, Any], str]:
        path = tmp_path / "user-data"
        path.write_text(text)
        status = main(["plan", str(path), "--format", "json", *options])
        said = capsys.readouterr()
        return status, json.loads(said.out) if said.out else {}, said.err

    return run


def actions(document: dict[str, Any], module: str) -> list[str]:
    return [
        action["summary"]
        for each in document["modules"]
        if each["module"] == module
        for action in each["actions"]
    ]


def test_later_modules_see_what_earlier_ones_planned(plan: Any) -> None:
    status, document, said = plan(CONFIG)
    assert (status, said, document["faults"]) == (0, "", [])
    assert actions(document, "write_files") == ["write /etc/motd (2 bytes, 0600)"]
    assert actions(document, "update_hostname") == [
        "write /var/lib/cloud/data/previous-hostname (6 bytes, 0644)"
    ]
    assert actions(document, "scripts_user") == [
        "run the scripts of /var/lib/cloud/instances/i-plan/scripts: runcmd"
    ]


def test_opaque_actions_are_marked(plan: Any) -> None:
    _status, document, _said = plan(CONFIG)
    opaque = {
        each["module"] for each in document["modules"] for action in each["actions"] if action["opaque"]
    }
    assert opaque == {"package_update_upgrade_install", "scripts_user"}


def test_scripts_of_the_user_data_are_planned(plan: Any) -> None:
    _status, document, _said = plan("#!/bin/sh\necho hi\n")
    assert actions(document, "consume_data") == [
        "write /var/lib/cloud/instances/i-plan/scripts/part-001 (18 bytes, 0700)"
    ]
    assert actions(document, "scripts_user") == [
        "run the scripts of /var/lib/cloud/instances/i-plan/scripts: part-001"
    ]


def test_vendor_data_stands_below_user_data(plan: Any, tmp_path: Path) -> None:
    vendor = tmp_path / "vendor-data"
    vendor.write_text("#cloud-config\nhostname: theirs\nwrite_files: [{path: /vendor}]\n")
    _status, document, _said = plan("#cloud-config\nhostname: mine\n", "--vendor-data", str(vendor))
    assert "run hostname mine" in actions(document, "set_hostname")
    assert actions(document, "write_files") == ["write /vendor (0 bytes, 0644)"]


def test_an_image_root_is_looked_at_and_left_alone(plan: Any, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/os-release").write_text("ID=alpine\n")
    (root / "etc/hostname").write_text("web-1\n")
    before = sorted(root.rglob("*"))
    _status, document, _said = plan(
        "#cloud-config\npackages: [vim]\nmounts: [[vdb, /srv]]\n", "--root", str(root)
    )
    assert document["distro"] == "alpine"
    assert actions(document, "package_update_upgrade_install") == ["run apk --quiet add vim"]
    assert sorted(root.rglob("*")) == before


def test_it_says_what_bake_does_and_what_is_left_for_the_first_boot(plan: Any, tmp_path: Path) -> None:
    (tmp_path / "root/etc").mkdir(parents=True)
    _status, document, _said = plan(CONFIG, "--root", str(tmp_path / "root"))
    acting = [each for each in document["modules"] if each["actions"]]
    assert {each["module"] for each in acting if each["bake"]} == {"write_files", "users_groups"}
    why = {each["module"]: each.get("why_at_boot") for each in acting if not each["bake"]}
    assert why["set_hostname"] == "the name is each machine's own"
    assert str(why["package_update_upgrade_install"]).startswith("its effect cannot be known: ")
    assert why["runcmd"] == "it prepares what a boot does"


def test_the_table_of_an_image_says_by_whom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "user-data").write_text("#cloud-config\nwrite_files: [{path: /x}]\nruncmd: [a]\n")
    assert main(["plan", str(tmp_path / "user-data"), "--root", str(tmp_path / "root")]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["STAGE", "BY", "MODULE", "WHAT"]
    assert ["network", "bake", "write_files"] in [row.split()[:3] for row in rows]
    assert ["config", "boot", "runcmd"] in [row.split()[:3] for row in rows]


def test_an_image_that_is_none_is_told_as_such(
    plan: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUESTLING_CACHE", str(tmp_path))
    status, _document, said = plan(CONFIG, "--image", "no-such-image")
    assert status == 2
    assert said.startswith("no-such-image: no such image. Known here: ")


def test_a_module_that_would_fail_makes_the_status_1(plan: Any) -> None:
    status, document, _said = plan("#cloud-config\nruncmd: [true]\n")
    assert status == 1
    (module,) = [each for each in document["modules"] if each["module"] == "runcmd"]
    (fault,) = module["faults"]
    assert fault.startswith("runcmd[0]: a text or a list is expected. Put it in quotes")


def test_keys_that_nobody_reads_are_listed(plan: Any) -> None:
    _status, document, _said = plan("#cloud-config\nwrite_file: []\nsnap: {commands: [x]}\nhostname: a\n")
    assert document["unread_keys"] == [
        {"key": "snap", "why": "its module snap is for ubuntu"},
        {"key": "write_file", "why": "no module knows it. Did you mean write_files?"},
    ]


def test_secrets_are_not_in_a_plan(plan: Any) -> None:
    _status, document, _said = plan(
        "#cloud-config\nchpasswd: {users: [{name: a, password: hunter2, type: text}]}\n"
    )
    assert "hunter2" not in json.dumps(document)
    assert actions(document, "set_passwords")[0] == "run chpasswd"


def test_a_table_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "user-data"
    path.write_text(CONFIG + "nonsense: 1\n")
    assert main(["plan", str(path), "--all"]) == 0
    shown = capsys.readouterr().out
    assert "config   runcmd" in shown
    assert "no module reads: nonsense" in shown
    assert "no key of it is set" in shown


def test_input_that_cannot_be_read(plan: Any, tmp_path: Path) -> None:
    assert main(["plan", str(tmp_path / "none")]) == 2
    assert plan("#cloud-config\n", "--root", str(tmp_path / "none"))[0] == 2
