"""The cable between libvirt's QEMU and a guest's network: what it runs, and that it ends."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spawner.compute.libvirt import cable
from spawner.compute.qemu.run_directory import RunDirectory, is_held
from spawner.errors import QemuFailed, QemuMissing
from spawner.network.backend import Attachment

NAMESPACE = Attachment("user,ipv6-net=fe80::/64", relay=Path("/run/metadata.sock"))
CLOSED = Attachment("user,restrict=on")
# Takes QEMU's place, and stays.
STUB = "#!/usr/bin/python3 -IS\nimport time\ntime.sleep(60)\n"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    directory = RunDirectory.create(tmp_path / "r")
    yield directory
    cable.cut(directory.path)
    directory.remove()


def program(tmp_path: Path, text: str) -> str:
    path = tmp_path / "qemu"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("attachment", "needed"),
    [
        (CLOSED, False),
        (NAMESPACE, True),
        (Attachment("user,guestfwd=x", spawns=True), True),
        (Attachment("tap,fd=900", netns=Path("/run/netns/x"), tap="tap0:900"), True),
    ],
)
def test_only_a_closed_user_network_needs_no_cable(attachment: Attachment, needed: bool) -> None:
    assert cable.needs_cable(attachment) is needed


def test_sp_20_the_cable_is_filtered_as_any_qemu_of_ours() -> None:
    argv = cable.cable_argv("/usr/bin/qemu", "name", NAMESPACE, 7)
    assert argv[argv.index("-sandbox") + 1] == (
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
    )
    assert argv[:2] == ["/usr/bin/qemu", "-name"]
    assert "user,id=outer,ipv6-net=fe80::/64" in argv
    assert "stream,id=inner,server=on,addr.type=fd,addr.str=7" in argv
    spawning = cable.cable_argv("/usr/bin/qemu", "name", Attachment("user", spawns=True), 7)
    assert "on,obsolete=deny,elevateprivileges=allow,spawn=allow,resourcecontrol=deny" in spawning


def test_sp_06_a_cable_is_nobodys_child_and_keeps_the_run_directory(
    tmp_path: Path, run: RunDirectory
) -> None:
    path = cable.lay(run, 3, CLOSED, None, program(tmp_path, STUB))
    assert path == run.path / "net3.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    cable.check(run.path, 3)
    assert [each for each in _children() if str(run.path).encode() in each] == []
    run.release()
    assert is_held(run.path)
    cable.cut(run.path, 3)
    _until_gone(run.path)
    _until(lambda: not is_held(run.path))  # a process that ends loses its name before its locks


def test_sp_05_a_cable_is_known_by_its_directory_and_slot(tmp_path: Path, run: RunDirectory) -> None:
    other = RunDirectory.create(tmp_path / "r")
    stub = program(tmp_path, STUB)
    for directory, slot in ((run, 3), (run, 30), (other, 3)):
        cable.lay(directory, slot, CLOSED, None, stub)
    cable.cut(run.path, 3)
    _until_gone(run.path, 3)
    assert cable.is_laid(run.path, 30)
    assert cable.is_laid(other.path, 3)
    cable.cut(other.path)
    _until_gone(other.path)
    assert cable.is_laid(run.path, 30)
    other.remove()


def test_sp_02_a_cable_that_ends_is_told_of_with_its_last_words(tmp_path: Path, run: RunDirectory) -> None:
    cable.lay(run, 3, CLOSED, None, program(tmp_path, "#!/bin/sh\necho no such netdev >&2\nexit 1\n"))
    _until_gone(run.path)
    with pytest.raises(QemuFailed, match="its cable ended: no such netdev"):
        cable.check(run.path, 3)


def test_sp_01_a_cable_that_cannot_begin_is_told_of(tmp_path: Path, run: RunDirectory) -> None:
    with pytest.raises(QemuMissing):
        cable.lay(run, 3, CLOSED, None, str(tmp_path / "none"))
    with pytest.raises(QemuFailed, match="its cable ended: launch: "):
        cable.lay(run, 3, CLOSED, None, program(tmp_path, "#!/no/such/interpreter\n"))


def _children() -> list[bytes]:
    """The command lines of this process's children, of all its threads; earlier tests may have left some."""
    found = []
    for thread in Path(f"/proc/{os.getpid()}/task").iterdir():
        for child in (thread / "children").read_text().split():
            with contextlib.suppress(OSError):
                found.append(Path(f"/proc/{child}/cmdline").read_bytes())
    return found


def _until_gone(run: Path, slot: int = 3) -> None:
    _until(lambda: not cable.is_laid(run, slot))


def _until(holds: Callable[[], bool]) -> None:
    for _try in range(400):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("the cable does not end")
