"""Small roots in the layout of distributions, and image files with them, for the tests of bake and seal.

Their shell is busybox and their Python a script that notes what it was asked: enough to see where the agent
goes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
PARTITION_AT = 2 << 20
_PYTHON = '#!/bin/sh\necho "$@" >>/python-was-asked\n'
_COMMON = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\n",
    "etc/group": "root:x:0:\n",
    "etc/machine-id": "",
}
LAYOUTS: dict[str, dict[str, str]] = {
    "alpine": {
        "etc/os-release": 'ID=alpine\nPRETTY_NAME="Alpine Linux v3.22"\n',
        "sbin/openrc-run": "#!/bin/sh\n",
        "usr/lib/python3.12/site-packages/yaml/__init__.py": "",
        "etc/init.d/networking": "#!/sbin/openrc-run\n",
    },
    "fedora": {
        "usr/lib/os-release": 'ID=fedora\nPRETTY_NAME="Fedora Linux 42"\n',
        "usr/lib/systemd/systemd": "",
        "usr/lib64/python3.12/site-packages/yaml/__init__.py": "",
    },
    "ubuntu": {
        "etc/os-release": 'ID=ubuntu\nID_LIKE=debian\nPRETTY_NAME="Ubuntu 24.04 LTS"\n',
        "usr/lib/systemd/systemd": "",
        "usr/bin/cloud-init": "#!/usr/bin/python3\n# stock\n",
        "usr/lib/systemd/system/cloud-init.service": "[Unit]\n",
        "usr/lib/systemd/system/cloud-init-local.service": "[Unit]\n",
        "etc/cloud/cloud.cfg": "# stock\n",
    },
}


def make(layout: str, root: Path, more: dict[str, str] | None = None) -> Path:
    """A root directory of this layout."""
    for name, content in {**_COMMON, **LAYOUTS[layout], **(more or {})}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for name in (
        "bin",
        "usr/bin",
        "proc",
        "sys",
        "dev",
        "run",
        "usr/local/bin",
        "var/log",
        "root",
        "home",
        "tmp",
    ):
        (root / name).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(BUSYBOX, root / "bin/sh")
    (root / "bin/sh").chmod(0o755)
    (root / "usr/bin/python3.12").write_text(_PYTHON)
    (root / "usr/bin/python3.12").chmod(0o755)
    (root / "usr/bin/python3").symlink_to("python3.12")
    return root


def ext4(root: Path, image: Path, size: str = "64M") -> Path:
    """An ext4 file system as a whole, owned by root whoever makes it."""
    argv = ["mke2fs", "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d", str(root), str(image), size]
    subprocess.run(argv, check=True)
    return image


def btrfs(root: Path, image: Path) -> Path:
    """A btrfs as a whole."""
    image.touch()
    os.truncate(image, 256 << 20)
    subprocess.run(["mkfs.btrfs", "-q", "--rootdir", str(root), str(image)], check=True, capture_output=True)
    return image


def xfs(root: Path, image: Path) -> Path:
    """An xfs as a whole, described to mkfs.xfs by a prototype."""
    image.touch()
    os.truncate(image, 320 << 20)
    prototype = image.with_suffix(".proto")
    prototype.write_text("\n".join(["/", "0 0", "d--755 0 0", *_prototype(root), "$", ""]))
    subprocess.run(["mkfs.xfs", "-q", "-p", str(prototype), str(image)], check=True, capture_output=True)
    return image


def _prototype(directory: Path) -> list[str]:
    lines = []
    for path in sorted(directory.iterdir()):
        if path.is_symlink():
            lines.append(f"{path.name} l--777 0 0 {path.readlink()}")
        elif path.is_dir():
            lines += [f"{path.name} d--755 0 0", *_prototype(path), "$"]
        else:
            lines.append(f"{path.name} ---{path.stat().st_mode & 0o777:o} 0 0 {path}")
    return lines


def partitioned(part: Path, disk: Path, label: str) -> Path:
    """A disk with the file system as its second partition. `label`: gpt or dos."""
    size = part.stat().st_size
    disk.touch()
    os.truncate(disk, PARTITION_AT + size + (2 << 20))
    table = f"label: {label}\nstart=2048, size=1024\nstart={PARTITION_AT // 512}, size={size // 512}\n"
    subprocess.run(["sfdisk", "--quiet", "--no-reread", str(disk)], input=table, text=True, check=True)
    with disk.open("r+b") as whole, part.open("rb") as file:
        whole.seek(PARTITION_AT)
        shutil.copyfileobj(file, whole)
    return disk


def qcow2(raw: Path, image: Path) -> Path:
    """The same as qcow2."""
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(image)], check=True)
    return image


def debugfs(image: Path, request: str, *, partition: bool = False) -> str:
    """What debugfs says of an ext4 file system, also of one in the partition that `partitioned` makes."""
    name = f"{image}?offset={PARTITION_AT}" if partition else str(image)
    return subprocess.run(["debugfs", "-R", request, name], capture_output=True, text=True, check=True).stdout


def virtual_size(image: Path) -> int:
    """The size a guest sees."""
    told = subprocess.run(["qemu-img", "info", "--output=json", str(image)], capture_output=True, check=True)
    return int(json.loads(told.stdout)["virtual-size"])
