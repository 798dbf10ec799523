"""What differs between two roots, and what does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guestling import image_seal
from guestling.main import main
from image_harness import root_diff
from image_harness.root_diff import Difference

DPKG = """Package: bash
Status: install ok installed
Version: 5.2-1

Package: gone
Status: deinstall ok config-files
Version: 1
"""
APK = "C:Q1\nP:busybox\nV:1.36-r0\n\nC:Q2\nP:musl\nV:1.2-r0\n"


def _root(where: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        (where / name).write_text(content)
    return where


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    files = {
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
        "etc/shadow": "root:*:1::::::\n",
        "etc/group": "root:x:0:\n",
        "var/lib/dpkg/status": DPKG,
        "lib/apk/db/installed": APK,
        "proc/version": "left out",
    }
    return _root(tmp_path / "a", files), _root(tmp_path / "b", files)


def _found(pair: tuple[Path, Path], aspect: str) -> list[Difference]:
    return [each for each in root_diff.differences(*map(root_diff.described, pair)) if each.aspect == aspect]


def test_equal_roots_do_not_differ(pair: tuple[Path, Path]) -> None:
    (pair[1] / "proc/version").write_text("other")
    assert list(root_diff.differences(*map(root_diff.described, pair))) == []


def test_users_differ_by_all_but_the_hash_itself(pair: tuple[Path, Path]) -> None:
    (pair[1] / "etc/shadow").write_text("root:$6$salt$hash:1::::::\n")
    (pair[1] / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nann:x:5:5::/:/bin/sh\n")
    ann, root = _found(pair, "user")
    assert (ann.name, ann.change, ann.second) == ("ann", "added", "5:5::/:/bin/sh no password")
    assert (root.change, root.first) == ("changed", "0:0:root:/root:/bin/sh locked")
    assert root.second is not None
    assert "password " in root.second
    assert "hash" not in root.second


def test_packages_differ_by_version_and_removed_ones_do_not_count(pair: tuple[Path, Path]) -> None:
    assert root_diff.packages(pair[0]) == {"bash": "5.2-1", "busybox": "1.36-r0", "musl": "1.2-r0"}
    (pair[1] / "var/lib/dpkg/status").write_text(DPKG.replace("5.2-1", "5.2-2"))
    assert _found(pair, "package") == [Difference("package", "bash", "5.2-1", "5.2-2")]


def test_units_are_enabled_masked_and_aliased(pair: tuple[Path, Path]) -> None:
    system = pair[1] / "etc/systemd/system"
    (system / "multi-user.target.wants").mkdir(parents=True)
    (system / "multi-user.target.wants/ssh.service").symlink_to("/usr/lib/systemd/system/ssh.service")
    (system / "apt-daily.timer").symlink_to("/dev/null")
    (system / "dbus.service").symlink_to("/usr/lib/systemd/system/broker.service")
    assert root_diff.units(pair[1]) == {
        "apt-daily.timer": "masked",
        "dbus.service": "as /usr/lib/systemd/system/broker.service",
        "ssh.service": "wants of multi-user.target",
    }
    assert {each.change for each in _found(pair, "unit")} == {"added"}


def test_files_differ_by_mode_content_and_target(pair: tuple[Path, Path]) -> None:
    (pair[0] / "etc/motd").write_text("one")
    (pair[1] / "etc/motd").write_text("two")
    (pair[1] / "etc/group").chmod(0o600)
    (pair[0] / "etc/only").symlink_to("here")
    (pair[1] / "etc/link").symlink_to("/nowhere")
    names = [(each.name, each.change) for each in _found(pair, "file")]
    assert names == [
        ("/etc/group", "changed"),
        ("/etc/link", "added"),
        ("/etc/motd", "changed"),
        ("/etc/only", "removed"),
    ]


def test_the_command_exits_1_for_a_difference(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["image", "diff", str(pair[0]), str(pair[1])]
    assert main(argv) == 0
    (pair[1] / "etc/evil\033[31m").write_text("")
    assert main([*argv, "--by", "package"]) == 0
    capsys.readouterr()
    assert main(argv) == 1
    assert "added   file    /etc/evil\\x1b[31m" in capsys.readouterr().out
    assert main([*argv, "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["change"] == "added"
    assert main(["image", "diff", str(pair[0]), "/no/such"]) == 2


def test_the_command_knows_every_aspect() -> None:
    assert tuple(root_diff.ASPECTS) == image_seal.ASPECTS
