"""Files put into an ext4 file system without mounting it: read back by debugfs, checked by e2fsck."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from image_harness import agent
from image_harness.debian_disk import inject
from image_harness.errors import BadImage


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A small, empty ext4 file system."""
    if shutil.which("debugfs") is None or shutil.which("mke2fs") is None:
        pytest.skip("debugfs and mke2fs are not installed (package e2fsprogs)")
    path = tmp_path / "disk.raw"
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", str(path), "4M"], check=True)
    return path


def _ask(disk: Path, request: str) -> str:
    return subprocess.run(
        ["debugfs", "-R", request, str(disk)], check=True, capture_output=True, text=True
    ).stdout


def test_files_arrive_owned_by_root_with_their_modes(disk: Path, tmp_path: Path) -> None:
    source = tmp_path / "a file"
    source.write_bytes(b"hello\n")
    files = {"/usr/bin/tool": source, "/usr/lib/deep/er/data": source}
    inject.inject(disk, files, {"/usr/bin/other": "tool"}, frozenset({"/usr/bin/tool"}))
    assert _ask(disk, "cat /usr/lib/deep/er/data") == "hello\n"
    tool, data = _ask(disk, "stat /usr/bin/tool"), _ask(disk, "stat /usr/lib/deep/er/data")
    assert "Mode:  0755" in tool
    assert "Mode:  0644" in data
    assert "User:     0   Group:     0" in tool
    assert 'Fast link dest: "tool"' in _ask(disk, "stat /usr/bin/other")
    subprocess.run(["e2fsck", "-fn", str(disk)], check=True, capture_output=True)


def test_the_same_files_give_the_same_file_system(tmp_path: Path) -> None:
    """Made by two processes: sets of words have another order in each."""
    source = tmp_path / "file"
    source.write_bytes(b"hello\n")
    made = []
    for seed in ("1", "2"):
        disk = tmp_path / f"disk{seed}"
        identity = "6f2b9a36-4c1e-4d5a-9a77-3f0d5b1e8c42"
        argv = [
            "mke2fs",
            "-q",
            "-F",
            "-t",
            "ext4",
            "-U",
            identity,
            "-E",
            f"hash_seed={identity}",
            str(disk),
            "4M",
        ]
        environment = {**os.environ, "E2FSPROGS_FAKE_TIME": "1704067200", "PYTHONHASHSEED": seed}
        subprocess.run(argv, check=True, env=environment)
        code = (
            "import pathlib, sys; from image_harness.debian_disk import inject;"
            "names = [f'/{a}/{b}/file' for a in 'abcdef' for b in 'uvwxyz'];"
            "inject.inject(pathlib.Path(sys.argv[1]), dict.fromkeys(names, pathlib.Path(sys.argv[2])), {},"
            " frozenset(), epoch_s=1704067200)"
        )
        root = Path(__file__).parents[3]
        subprocess.run(
            [sys.executable, "-c", code, str(disk), str(source)], check=True, env=environment, cwd=root
        )
        made.append(disk.read_bytes())
    assert made[0] == made[1]


def test_what_debugfs_could_not_write_is_found_out(disk: Path, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(bytes(1))
    with pytest.raises(BadImage, match="debugfs did not write all of the agent"):
        inject.inject(disk, {"/there": big, "/absent": tmp_path / "missing"}, {}, frozenset())


def test_a_path_that_would_be_a_command_is_refused(disk: Path, tmp_path: Path) -> None:
    source = tmp_path / "x"
    source.touch()
    with pytest.raises(BadImage, match="a path cannot be written by debugfs"):
        inject.inject(disk, {"/x\nrm /y": source}, {}, frozenset())


def test_the_agent_carries_its_reader_and_its_units() -> None:
    carried = dict(agent.files())
    dist_packages = "usr/lib/python3/dist-packages"
    assert f"{dist_packages}/configdrive/reader.py" in carried
    assert f"{dist_packages}/configdrive/builder.py" not in carried
    assert all(path.is_file() for path in carried.values())
    units = agent.systemd_files("debian")
    assert all(path.is_file() for path in units.values())
    for link, target in agent.systemd_links().items():
        assert link.startswith("etc/systemd/system/cloud-init.target.wants/")
        assert target.removeprefix("/") in units


def test_what_the_reader_imports_is_carried_too() -> None:
    """The list is read out of import lines: run them where nothing else of configdrive is."""
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        for name, path in agent.files():
            if "/configdrive/" in name:
                target = Path(directory) / "configdrive" / path.name
                target.parent.mkdir(exist_ok=True)
                shutil.copy(path, target)
        code = (
            f"import sys; sys.path[:0] = [{directory!r}]; import configdrive.reader as r; print(r.__file__)"
        )
        done = subprocess.run([sys.executable, "-IS", "-c", code], check=True, capture_output=True, text=True)
        assert done.stdout.startswith(directory)
