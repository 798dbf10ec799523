"""Commands into a guest: the words on the port, and the image that can answer."""

from __future__ import annotations

import base64
import os
import re
import subprocess
from pathlib import Path

import pytest

from image_harness import store
from image_harness.errors import GuestBroken
from image_harness.guest_shell import overlay, protocol
from spawner.compute.agent_events import Finished


def _silent(_: str) -> None:
    """Nobody waits."""


def _event(summary: str) -> Finished:
    return Finished("run/1", "SUCCESS", 0, 1.0, summary)


def test_a_command_of_any_text_is_one_line() -> None:
    line = protocol.request(7, "printf 'a\nb'\n", 0.2)
    number, seconds, command = line.split(b" ")
    assert (number, seconds) == (b"7", b"1")
    assert base64.b64decode(command) == b"printf 'a\nb'\n"
    assert b"\n" not in line


def test_an_answer_is_what_the_guest_sent() -> None:
    out = base64.b64encode(b"\0\xff").decode()
    answer = protocol.answer("x", _event(f"3 .{out} ."), 0.5)
    assert (answer.status, answer.stdout_bytes, answer.stderr_bytes) == (3, b"\0\xff", b"")
    assert not answer.ok


@pytest.mark.parametrize("summary", ["", "0", "x . .", "0 .! .", "0 . . ."])
def test_an_answer_that_is_none_is_the_guests_fault(summary: str) -> None:
    with pytest.raises(GuestBroken, match="none of ours"):
        protocol.answer("x", _event(summary), 0.5)


def test_both_sides_hold_the_same_limit() -> None:
    found = re.search(r"^LIMIT=(\d+)$", overlay.SERVE.read_text(), re.MULTILINE)
    assert found is not None
    assert int(found[1]) == protocol.OUTPUT_LIMIT_BYTES


def _image(where: Path, **parts: Path) -> store.Image:
    manifest = store.Manifest("x", "digest", "", "", "", "", 64, "", ())
    return store.Image(manifest, where / "vmlinuz", parts.get("initrd"), parts.get("disk"))


def test_an_initramfs_gets_one_archive_more(tmp_path: Path) -> None:
    initrd = tmp_path / "initrd"
    initrd.write_bytes(bytes(512))
    prepared = overlay.with_shell(_image(tmp_path, initrd=initrd), tmp_path / ".", _silent)
    made = prepared.image
    assert prepared.why_not is None
    assert made.initrd is not None
    content = made.initrd.read_bytes()
    assert content.startswith(bytes(512) + b"070701")
    assert overlay.SERVE.read_bytes() in content
    assert initrd.read_bytes() == bytes(512)


def test_sp_24_a_disk_gets_a_unit_without_being_mounted(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/lib/systemd/system/multi-user.target.wants").mkdir(parents=True)
    disk = tmp_path / "disk.raw"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, disk, "8M"], check=True)
    before = disk.read_bytes()
    made = overlay.with_shell(_image(tmp_path, disk=disk), tmp_path, _silent).image
    assert made.disk is not None
    assert disk.read_bytes() == before
    asked = ["stat /usr/lib/guestling/serve", f"cat /usr/lib/systemd/system/{overlay.UNIT.name}"]
    asked.append(f"stat /usr/lib/systemd/system/multi-user.target.wants/{overlay.UNIT.name}")
    shown = [
        subprocess.run(["debugfs", "-R", each, made.disk], capture_output=True, text=True, check=True).stdout
        for each in asked
    ]
    assert "Mode:  0755" in shown[0]
    assert shown[1] == overlay.UNIT.read_text()
    assert f'Fast link dest: "../{overlay.UNIT.name}"' in shown[2]


def test_a_disk_is_copied_once_for_an_image(tmp_path: Path) -> None:
    store_, first, second = tmp_path / "store", tmp_path / "1", tmp_path / "2"
    for each in (store_, first, second):
        each.mkdir()
    disk = store_ / "disk.raw"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", disk, "8M"], check=True)

    def made_in(where: Path) -> Path:
        made = overlay.with_shell(_image(store_, disk=disk), where, _silent).image.disk
        assert made is not None
        return made

    made = made_in(first)
    assert made.parent == store_
    was = made.stat().st_ino
    assert (made_in(second), made.stat().st_ino) == (made, was)
    os.utime(disk, ns=(made.stat().st_mtime_ns + 1, made.stat().st_mtime_ns + 1))
    assert made_in(second) == made
    assert made.stat().st_ino != was
    assert list(first.iterdir()) == list(second.iterdir()) == []


def test_copies_of_other_builds_go_when_nobody_took_them_lately(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUESTLING_CACHE", str(tmp_path))
    old, lately, here = (store.directory() / "mine" / name for name in ("old", "lately", "here"))
    other = store.directory() / "other" / "old"
    for each in (old, lately, here, other):
        each.mkdir(parents=True)
        (each / "disk.raw").touch()
    disk = here / "disk.raw"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", disk, "8M"], check=True)
    copies = [store.harness_copy(each / "disk.raw", "0") for each in (old, lately, here, other)]
    for path in copies:
        path.touch()
        if path.parent != lately:
            os.utime(path, (0, 0))
    made = overlay.with_shell(_image(here, disk=disk), tmp_path, _silent).image.disk
    left = {path.relative_to(store.directory()) for path in store.directory().glob("*/*/*-harness-*")}
    assert made is not None
    assert left == {path.relative_to(store.directory()) for path in (made, copies[1], copies[3])}
    assert all((each / "disk.raw").exists() for each in (old, lately, here, other))


def test_an_image_without_initramfs_and_disk_is_left_as_it_is(tmp_path: Path) -> None:
    image = _image(tmp_path)
    prepared = overlay.with_shell(image, tmp_path, _silent)
    assert prepared.image is image
    assert "neither an initramfs nor a disk" in (prepared.why_not or "")


@pytest.mark.parametrize("name", ["disk.raw", "disk.qcow2"])
def test_a_server_gets_a_disk_of_partitions_as_it_is(tmp_path: Path, name: str) -> None:
    disk = tmp_path / name
    disk.write_bytes(bytes(1 << 20))
    image = _image(tmp_path, disk=disk)
    assert overlay.with_server(image, tmp_path) == image
