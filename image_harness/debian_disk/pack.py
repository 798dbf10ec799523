"""Run as root, or under fakeroot by anybody else: unpack a root, settle it, make its file system.

usage: pack.py TAR WORK OUT SIZE < SETTINGS      (SETTINGS: the JSON that base.py writes)
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path


def main(tar: str, work: str, out: str, size: str) -> None:
    settings: dict[str, list[str]] = json.load(sys.stdin)
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
    subprocess.run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-E", "lazy_itable_init=0", "-d", work, out, size],
        check=True,
    )


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
