"""Run as root, or under fakeroot by anybody else: unpack a root, settle it, make its file system.

usage: pack.py TAR WORK OUT SIZE < SETTINGS      (SETTINGS: the JSON that base.py writes)
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any


def main(tar: str, work: str, out: str, size: str) -> None:
    settings: dict[str, Any] = json.load(sys.stdin)
    root = Path(work)
    # Devices need real root, and the guest's kernel makes its own.
    subprocess.run(["tar", "-C", work, "-xf", tar, "--exclude=./dev/*"], check=True)
    _own_files(root, settings)
    _units(root, settings)
    for name in settings["emptied"]:
        (root / name).write_bytes(b"")
    for pattern in settings["removed"]:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    _clamp_times(root, settings["epoch_s"])
    identity = settings["uuid"]
    extended = f"lazy_itable_init=0,hash_seed={identity},root_owner=0:0"
    subprocess.run(
        [
            "mke2fs",
            "-q",
            "-F",
            "-t",
            "ext4",
            "-L",
            "root",
            "-U",
            identity,
            "-E",
            extended,
            "-d",
            work,
            out,
            size,
        ],
        check=True,
        env={**os.environ, "E2FSPROGS_FAKE_TIME": str(settings["epoch_s"])},
    )
    _same_times(out, settings["epoch_s"])


def _clamp_times(root: Path, epoch_s: int) -> None:
    """No file is younger than the image."""
    for path in [root, *root.rglob("*")]:
        if path.lstat().st_mtime > epoch_s:
            os.utime(path, (epoch_s, epoch_s), follow_symlinks=False)


def _same_times(image: str, epoch_s: int) -> None:
    """Times that no program sets, of each file in the image: of its last change and of its last reading."""
    told = subprocess.run(["dumpe2fs", "-h", image], capture_output=True, text=True, check=True).stdout
    counts = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
    used = int(counts["Inode count"]) - int(counts["Free inodes"])
    requests = [
        f"sif <{inode}> {field} @{epoch_s}"
        for inode in (2, *range(11, used + 1))
        for field in ("ctime", "atime", "crtime")
    ]
    subprocess.run(
        ["debugfs", "-w", "-f", "-", image], input="\n".join([*requests, ""]), text=True, check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "E2FSPROGS_FAKE_TIME": str(epoch_s)},
    )  # fmt: skip


def _own_files(root: Path, settings: dict[str, list[str]]) -> None:
    for name, source in zip(settings["files"], settings["sources"], strict=True):
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o644)


def _units(root: Path, settings: dict[str, list[str]]) -> None:
    system = root / "etc/systemd/system"
    for unit in settings["masked"]:
        _link(system / unit, "/dev/null")
    for wanted in settings["enabled"]:
        _link(system / wanted, f"/usr/lib/systemd/system/{Path(wanted).name}")


def _link(link: Path, target: str) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target)


main(*sys.argv[1:])
