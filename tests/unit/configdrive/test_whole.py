"""Output that is there whole or not at all (G6, CD-12), readable by its owner only (CD-14)."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from configdrive import whole
from configdrive.errors import UnwritableOutput


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_cd_14_only_the_owner_reads_a_drive(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        whole.write_file(tmp_path / "drive", b"secret", 100)
        whole.write_directory(tmp_path / "tree", {"a/b/c": b"secret"})
    finally:
        os.umask(before)
    assert (tmp_path / "drive").read_bytes() == b"secret".ljust(100, b"\0")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes["drive"] == 0o600
    assert modes["tree"] == 0o700
    assert modes["c"] == 0o600


def test_what_need_not_last_is_whole_without_a_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    whole.write_file(tmp_path / "record", b"secret", lasting=False)
    assert ((tmp_path / "record").read_bytes(), names(tmp_path), synced) == (b"secret", ["record"], [])
    assert (tmp_path / "record").stat().st_mode & 0o777 == 0o600
    whole.write_file(tmp_path / "record", b"secret")
    assert len(synced) == 2  # the file and its directory


def test_zeros_take_no_space(tmp_path: Path) -> None:
    whole.write_file(tmp_path / "drive", b"x", 64 * 1024 * 1024)
    assert (tmp_path / "drive").stat().st_blocks * 512 < 1024 * 1024


@pytest.mark.parametrize("failing", ["write", "fsync", "ftruncate", "fchmod"])
def test_cd_12_a_failure_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """The operating system is made to fail, not our code: the file system of a test is never full."""
    output = tmp_path / "drive"
    output.write_bytes(b"old")

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(UnwritableOutput, match="No space left on device"):
        whole.write_file(output, b"new", 100)
    assert output.read_bytes() == b"old"
    assert names(tmp_path) == ["drive"]


def test_cd_12_an_interrupted_directory_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(10))

    def interrupt(_: int) -> None:
        if next(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        whole.write_directory(tmp_path / "tree", {"a": b"1", "b": b"2", "c/d": b"3"})
    assert names(tmp_path) == []


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    whole.write_file(tmp_path / "drive", b"0123456789")
    assert (tmp_path / "drive").read_bytes() == b"0123456789"


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    gone = 2**22 + 1  # larger than any process number of Linux
    (tmp_path / f".drive.{gone}.0123abcd.part").write_bytes(b"half")
    (tmp_path / f".drive.{os.getppid()}.0123abcd.part").write_bytes(b"of a living process")
    (tmp_path / f".other.{gone}.0123abcd.part").write_bytes(b"of another drive")
    whole.write_file(tmp_path / "drive", b"x")
    assert len(names(tmp_path)) == 3
    assert "drive" in names(tmp_path)


def test_nothing_but_a_regular_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(UnwritableOutput, match="not a regular file"):
        whole.write_file(tmp_path / "directory", b"x")
    with pytest.raises(UnwritableOutput, match="not a regular file"):
        whole.write_file(Path("/dev/null"), b"x")
    with pytest.raises(UnwritableOutput, match="not an empty directory"):
        whole.write_directory(tmp_path / "full", {"a": b"x"})
    whole.write_directory(tmp_path / "directory", {"a": b"x"})
    assert (tmp_path / "directory/a").read_bytes() == b"x"


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnwritableOutput, match="No such file or directory"):
        whole.write_file(tmp_path / "missing/drive", b"x")
