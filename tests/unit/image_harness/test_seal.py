"""Sealing: every rule finds its dirt, leaves the clean alone, and mends what it found and nothing else."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from guestling.main import main
from image_harness import root_view, seal
from image_harness.errors import NotARoot
from image_harness.seal_rules import RULES

# What a distribution's root has anyway: all of it is clean.
CLEAN = {
    "etc/machine-id": "",
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n",
    "etc/shadow": "root:*:19722:0:99999:7:::\nbob:!:19722:0:99999:7:::\nold:!!:1::::::\n",
    "etc/gshadow": "root:*::\nsudo:::bob\n",
    "etc/ssh/sshd_config": "PermitRootLogin no\n",
    "var/lib/cloud/scripts/per-boot/hello": "#!/bin/sh\n",
    "var/lib/cloud/seed/nocloud/meta-data": "instance-id: x\n",
    "var/lib/apt/lists/lock": "",
    "var/log/wtmp": "",
    "var/log/apt/empty.log": "",
    "home/bob/.profile": "umask 022\n",
}
# One for each rule, at least: rule -> path -> what makes it dirty.
DIRT = {
    "machine-id": {"etc/machine-id": "0123456789abcdef0123456789abcdef\n"},
    "dbus-machine-id": {"var/lib/dbus/machine-id": "0123456789abcdef0123456789abcdef\n"},
    "ssh-host-keys": {"etc/ssh/ssh_host_ed25519_key": "k", "etc/ssh/ssh_host_ed25519_key.pub": "k"},
    "random-seeds": {"var/lib/systemd/random-seed": "s"},
    "credential-secret": {"var/lib/systemd/credential.secret": "s"},
    "network-secrets": {"etc/NetworkManager/system-connections/home.nmconnection": "psk=x"},
    "leases": {"var/lib/dhcp/dhclient.eth0.leases": "lease {}"},
    "interface-names": {"etc/udev/rules.d/70-persistent-net.rules": "x"},
    "cloud-state": {
        "var/lib/cloud/instances/i-1/sem/config_ssh": "1",
        "var/lib/cloud/data/result.json": "{}",
    },
    "cloud-settings": {"etc/sudoers.d/90-cloud-init-users": "x"},
    "authorized-keys": {"root/.ssh/authorized_keys": "ssh-rsa A", "home/bob/.ssh/authorized_keys": "x"},
    "private-keys": {"root/.ssh/id_ed25519": "k"},
    "passwords": {"etc/shadow": "root:$6$a$b:1::::::\nbob:!$6$a$b:1::::::\nopen::1::::::\nold:*:1::::::\n"},
    "histories": {"root/.bash_history": "mysql -psecret", "home/bob/.ash_history": "ls"},
    "logs": {"var/log/syslog": "x", "var/log/apt/history.log": "x", "var/log/journal/0/system.journal": "x"},
    "logins": {"var/log/wtmp": "x"},
    "mail": {"var/mail/root": "x"},
    "crashes": {"var/crash/core.1": "x"},
    "temporary": {"tmp/.hidden": "x", "var/tmp/x/y": "x"},
    "package-caches": {"var/cache/apt/archives/bash_5_amd64.deb": "x", "var/lib/apt/lists/deb_Packages": "x"},
}


def _put(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A clean root."""
    found = tmp_path / "root"
    _put(found, CLEAN)
    for directory in (
        "var/lib/cloud/instances",
        "var/lib/cloud/data",
        "run/lock",
        "var/lib/apt/lists/partial",
    ):
        (found / directory).mkdir(parents=True)
    (found / "var/lib/dbus").mkdir()
    (found / "var/lib/dbus/machine-id").symlink_to("/etc/machine-id")
    return found


def test_a_clean_root_is_clean(root: Path) -> None:
    assert seal.inspect(root) == ()


def test_every_rule_has_its_dirt() -> None:
    assert set(DIRT) == {rule.name for rule in RULES}


@pytest.mark.parametrize("rule", sorted(DIRT))
def test_each_rule_finds_and_mends_its_dirt(rule: str, root: Path) -> None:
    if rule == "dbus-machine-id":
        (root / "var/lib/dbus/machine-id").unlink()
    _put(root, DIRT[rule])
    found = seal.inspect(root)
    assert {finding.rule for finding in found} == {rule}
    dirty = {f"/{path}" for path in DIRT[rule]}
    assert all(any(path.startswith(finding.path) for path in dirty) for finding in found)
    seal.clean(root, found)
    assert seal.inspect(root) == ()
    for name in set(CLEAN) - set(DIRT[rule]):
        assert (root / name).read_text() == CLEAN[name]


def test_all_dirt_together_is_mended_and_the_scripts_stay(root: Path) -> None:
    for files in DIRT.values():
        _put(root, {name: text for name, text in files.items() if name != "var/lib/dbus/machine-id"})
    seal.clean(root, seal.inspect(root))
    assert seal.inspect(root) == ()
    assert (root / "var/lib/cloud/scripts/per-boot/hello").exists()
    assert (root / "etc/machine-id").read_bytes() == b""


def test_passwords_are_unset_one_by_one_and_the_mode_stays(root: Path) -> None:
    shadow = root / "etc/shadow"
    shadow.write_text(DIRT["passwords"]["etc/shadow"])
    shadow.chmod(0o640)
    found = seal.inspect(root)
    assert [finding.detail for finding in found] == ["bob", "open", "root"]
    assert "$6$" not in "".join(map(str, found))
    seal.clean(root, found)
    assert shadow.read_text() == "root:!:1::::::\nbob:!:1::::::\nopen:!:1::::::\nold:*:1::::::\n"
    assert shadow.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in (root / "etc").iterdir() if path.name.startswith(".")) == []


def test_passwords_in_passwd_and_in_copies_are_found(root: Path) -> None:
    _put(root, {"etc/passwd": "root::0:0::/root:/bin/sh\nbob:x:1:1::/:/bin/sh\nann:hash:2:2::/:/bin/sh\n"})
    _put(root, {"etc/shadow-": "bob:$6$old$hash:1::::::\n", "etc/passwd-": CLEAN["etc/passwd"]})
    found = [(finding.path, finding.detail) for finding in seal.inspect(root)]
    assert found == [("/etc/passwd", "ann"), ("/etc/passwd", "root"), ("/etc/shadow-", "bob")]
    seal.clean(root, seal.inspect(root))
    assert (root / "etc/passwd").read_text().splitlines()[0] == "root:x:0:0::/root:/bin/sh"


def test_links_never_lead_out_of_the_root(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    _put(
        outside,
        {"messages": "precious", "keep.log": "precious", "machine-id": "precious", "shadow": "a:$6$:1"},
    )
    (root / "var/log").rename(tmp_path / "log")
    (root / "var/log").symlink_to(outside)
    (root / "tmp").mkdir()
    (root / "tmp/link").symlink_to(outside)
    (root / "etc/machine-id").unlink()
    (root / "etc/machine-id").symlink_to(outside / "machine-id")
    seal.clean(root, seal.inspect(root))
    assert {path.name: path.read_text() for path in outside.iterdir()} == {
        "messages": "precious",
        "keep.log": "precious",
        "machine-id": "precious",
        "shadow": "a:$6$:1",
    }
    assert not (root / "tmp/link").is_symlink()
    assert not (root / "etc/machine-id").is_symlink()


@pytest.mark.parametrize("where", ["/", "none", "empty"])
def test_what_is_no_root_is_refused(where: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotARoot):
        seal.inspect(tmp_path / where)


def test_the_command_checks_mends_and_says_so(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _put(root, {**DIRT["machine-id"], **DIRT["histories"]})
    assert main(["image", "seal", "--check", "--root", str(root), "--format", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["clean"] is False
    assert {(each["path"], each["remedy"], each["mended"]) for each in told["findings"]} == {
        ("/etc/machine-id", "make it empty", False),
        ("/root/.bash_history", "remove", False),
        ("/home/bob/.ash_history", "remove", False),
    }
    assert main(["image", "seal", str(root)]) == 0
    assert "/root/.bash_history: histories: remove: done." in capsys.readouterr().out
    assert main(["image", "seal", "--check", str(root)]) == 0
    assert capsys.readouterr().out == f"{root}: clean.\n"


@pytest.mark.parametrize(
    ("argv", "fault"),
    [
        ([], "one root is expected. Give PATH or --root DIR."),
        (["--check", "/no/such"], "/no/such: No such file or directory. Give the file of an image"),
        (["/"], "/: this is the running system. Give the root of an image."),
        (["/no/such"], "/no/such: No such file or directory. Give the file of an image"),
        (["--check", "FILE"], "too small for a file system with a Linux. Give the file of an image."),
        (["--check", "-o", "x", "FILE"], "--output: only a sealed image file goes there. Leave it out."),
    ],
)
def test_wrong_input_is_named(
    argv: list[str], fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(4096))
    assert main(["image", "seal", *(str(file) if word == "FILE" else word for word in argv)]) == 2
    assert fault in capsys.readouterr().err


def test_sp_24_an_image_file_is_checked_without_being_mounted(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _put(root, DIRT["ssh-host-keys"])
    image = tmp_path / "disk.raw"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, image, "8M"], check=True)
    before = image.read_bytes()
    assert main(["image", "seal", "--check", str(image)]) == 1
    assert "/etc/ssh/ssh_host_ed25519_key: whoever has the image" in capsys.readouterr().out
    assert image.read_bytes() == before


def test_an_image_that_is_not_sound_is_not_read(root: Path, tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, image, "8M"], check=True)
    subprocess.run(["debugfs", "-w", "-R", "clri /etc/passwd", image], check=True, capture_output=True)
    with pytest.raises(NotARoot, match="not sound"), root_view.opened(image):
        pass
