"""Finds the root file system in an image's disk and mounts it, with what its fstab puts below it."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/mnt")
_PROBE = Path("/run/probe")
# Where a file system has its magic number, what it is, and the kernel's name for it.
_MAGIC = ((1080, b"\x53\xef", "ext4"), (0, b"XFSB", "xfs"), (0x10040, b"_BHRfS_M", "btrfs"))
# Where each has its UUID and its label, and how long that is.
_SUPERBLOCKS = {
    "ext4": (1024 + 0x68, 1024 + 0x78, 16),
    "xfs": (32, 108, 12),
    "btrfs": (0x10020, 0x1012B, 256),
}
# Where distributions put the root when it is not the top of a btrfs.
_SUBVOLUMES = ("root", "@", "@rootfs", "@/.snapshots/1/snapshot")
# What of fstab belongs to the image's files. A directory that is none of them is data of somebody else.
_BELOW = (
    "/boot",
    "/boot/efi",
    "/home",
    "/opt",
    "/root",
    "/srv",
    "/usr",
    "/usr/local",
    "/var",
    "/var/log",
    "/var/lib",
)


class NoRoot(Exception):
    """There is no Linux on the disk that can be worked on. The text says what was found instead."""


@dataclass(frozen=True)
class Found:
    """The root that was mounted: its device, file system and subvolume; what else was mounted below it."""

    device: str
    kind: str
    subvolume: str
    below: tuple[str, ...]


def disk(serial: str) -> str:
    """The name of the disk with this serial number, such as `vda`."""
    for path in Path("/sys/block").iterdir():
        if _text(path / "serial").strip() == serial:
            return path.name
    raise NoRoot(f"the disk {serial} is not there")


def mount_root(name: str) -> Found:
    """Find the root on a disk and mount it, writable, on ROOT. Raises NoRoot."""
    seen = []
    for device in _devices(name):
        kind = _kind(device)
        seen.append(f"{device}: {kind or 'nothing that can be mounted'}")
        if not kind:
            continue
        for subvolume in ("", *(_SUBVOLUMES if kind == "btrfs" else ())):
            if _mount(device, kind, ROOT, _option(subvolume)) != "":
                continue
            if _is_root(ROOT):
                return Found(device, kind, subvolume, tuple(_mount_below(device)))
            _run("umount", str(ROOT))
    raise NoRoot(f"no root file system of a Linux was found ({'; '.join(seen) or 'no disk'})")


def unmount(found: Found) -> None:
    """Write all out. Raises NoRoot when that fails, because the image is then not whole."""
    os.sync()
    for path in [*reversed([ROOT / part.lstrip("/") for part in found.below]), ROOT]:
        if said := _run("umount", str(path)):
            raise NoRoot(f"{path} could not be unmounted: {said}")


def _devices(name: str) -> Iterator[str]:
    """The partitions of a disk, largest first; the disk itself where it has none."""
    parts = [path for path in Path("/sys/block", name).glob(f"{name}*") if (path / "partition").exists()]
    for path in sorted(parts, key=lambda path: -int(_text(path / "size") or 0)):
        yield f"/dev/{path.name}"
    if not parts:
        yield f"/dev/{name}"


def _kind(device: str) -> str:
    with open(device, "rb") as file:
        for offset, magic, kind in _MAGIC:
            file.seek(offset)
            if file.read(len(magic)) == magic:
                return kind
    return ""


def _is_root(path: Path) -> bool:
    release = path / "etc/os-release"
    return (path / "etc").is_dir() and (os.path.lexists(release) or (path / "usr/lib/os-release").exists())


def _option(subvolume: str) -> str:
    # Nothing of an image is run by being looked at, and no device file of it leads to a device.
    return "nodev,subvol=" + subvolume if subvolume else "nodev"


def _mount_below(root_device: str) -> Iterator[str]:
    """What the image's own fstab mounts below the root, as far as it is on this disk."""
    known = _identities()
    rows = [
        line.split() for line in _text(ROOT / "etc/fstab").splitlines() if not line.lstrip().startswith("#")
    ]
    wanted = sorted((row[1], row) for row in rows if len(row) >= 4 and row[1] in _BELOW)
    for path, (what, _, kind, options, *_) in wanted:
        device = known.get(what.replace('"', ""), what)
        subvolume = next((word[7:] for word in options.split(",") if word.startswith("subvol=")), "")
        target = ROOT / path.lstrip("/")
        if (
            kind not in {"ext4", "ext3", "ext2", "xfs", "btrfs", "vfat"}
            or target.is_symlink()
            or not target.is_dir()
        ):
            continue
        if device == root_device and not subvolume:
            continue
        if _mount(device, "ext4" if kind.startswith("ext") else kind, target, _option(subvolume)) == "":
            yield path


def _identities() -> dict[str, str]:
    """`UUID=...`, `LABEL=...`, `PARTUUID=...`, `PARTLABEL=...` -> device."""
    found = {}
    for path in Path("/sys/class/block").iterdir():
        device = f"/dev/{path.name}"
        if int(_text(path / "size") or 0) > 0:
            found.update(dict.fromkeys(_names_itself(device), device))
        for line in _text(path / "uevent").splitlines():
            for key, name in (("PARTUUID", "PARTUUID"), ("PARTNAME", "PARTLABEL")):
                if line.startswith(f"{key}="):
                    found[f"{name}={line.partition('=')[2]}"] = device
    return found


def _names_itself(device: str) -> Iterator[str]:
    """UUID and label, as the file system on a device has them (busybox of Debian has no blkid)."""
    with open(device, "rb") as file:
        start = file.read(0x10300)
    kind = _kind(device)
    if kind in _SUPERBLOCKS:
        uuid_at, label_at, label_size = _SUPERBLOCKS[kind]
        yield f"UUID={uuid.UUID(bytes=start[uuid_at : uuid_at + 16])}"
        label = start[label_at : label_at + label_size]
    elif start[82:87] == b"FAT32" or start[54:57] == b"FAT":
        at = 67 if start[82:87] == b"FAT32" else 39
        serial = start[at : at + 4][::-1].hex().upper()
        yield f"UUID={serial[:4]}-{serial[4:]}"
        label = start[at + 4 : at + 15]
    else:
        return
    yield f"LABEL={label.rstrip(bytes(1) + b' ').decode(errors='replace')}"


def _mount(device: str, kind: str, target: Path, options: str) -> str:
    target.mkdir(parents=True, exist_ok=True)
    _run("modprobe", kind)
    return _run("mount", "-t", kind, "-o", options, device, str(target))


def _run(*argv: str) -> str:
    """What a program complained about; nothing when it went well."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip() or f"status {done.returncode}")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="surrogateescape")
    except OSError:
        return ""
