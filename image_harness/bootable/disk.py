"""Composes a disk from an image of the store: one GPT disk that UEFI and BIOS both boot.

Files and programs that need no root: mkfs.vfat, mtools, syslinux's installer, sfdisk.
The same image gives the same bytes: identifiers are derived from its content, times are fixed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from image_harness import cache, images, programs, store
from image_harness.bootable import initrd, loaders, uki
from image_harness.debian_disk import inject
from image_harness.errors import BadImage, UnsupportedHost
from image_harness.layers import Say

EPOCH_S = 1_704_067_200
SECTOR = 512
FIRST_SECTOR = 2048
_MIB = 1 << 20
_ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00C0933EC93B"
_ROOT_TYPE = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
# What gptmbr.bin looks for.
_BOOTS = ', name=esp, attrs="LegacyBIOSBootable"'
_UUID_AT = 1024 + 0x68
_TOOLS = {"mkfs.vfat": "dosfstools", "mcopy": "mtools", "sfdisk": "fdisk", "qemu-img": "qemu-utils"}
# Where the direct start names a disk by its bus, a disk of its own names the file system.
_FSTAB = "UUID={uuid} / ext4 defaults,noatime 0 1\n"
_SYSLINUX = """\
DEFAULT linux
PROMPT 0
LABEL linux
  LINUX /vmlinuz
  INITRD /initrd
  APPEND {cmdline}
"""


@dataclass(frozen=True)
class Composed:
    """A disk: its file, its size as the guest sees it, the packages of its boot loaders."""

    path: Path
    size_bytes: int
    loaders: tuple[store.PackageVersion, ...]


def compose(image: store.Image, out: Path, *, qcow2: bool, size_bytes: int | None, say: Say) -> Composed:
    """Make `out`. `size_bytes`: of the disk; the root grows into it at first boot. Raises HarnessError."""
    missing = {package for program, package in _TOOLS.items() if shutil.which(program) is None}
    if missing:
        raise UnsupportedHost(
            image.name, f"programs are missing: {', '.join(sorted(missing))}", "Install them"
        )
    found = loaders.get(say)
    with cache.scratch() as work:
        say("joining kernel, initrd and command line")
        root = _root(image, work) if image.disk is not None else None
        cmdline = image.manifest.cmdline
        if root is not None:
            cmdline = _cmdline(cmdline, _uuid_of(root))
        first = _first_root(image, say)
        identity = _identity(root, first, image.manifest.agent)
        esp = _boot_partition(image, identity, cmdline, first, found, work)
        say("composing the disk")
        raw = work / "disk.raw"
        size = _write(raw, esp, root, identity, found.gptmbr, size_bytes)
        out.parent.mkdir(parents=True, exist_ok=True)
        made = work / "made"
        if qcow2:
            programs.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(made)])
        else:
            raw.rename(made)
        partial = out.with_name(f".{out.name}.partial")
        programs.run(["cp", "--sparse=always", "--reflink=auto", str(made), str(partial)])
        partial.replace(out)
    return Composed(out, size, found.packages)


def manifest(image: store.Image, composed: Composed) -> Mapping[str, object]:
    """What is in the disk: the image's manifest, and the boot loaders' packages."""
    return {**asdict(image.manifest), "loaders": [asdict(each) for each in composed.loaders]}


def _cmdline(direct: str, root: str) -> str:
    """The image's own, with the root found by its UUID wherever the disk is plugged in."""
    words = [word for word in direct.split() if not word.startswith("root=")]
    return " ".join([f"root=UUID={root}", *words])


def _first_root(image: store.Image, say: Say) -> bytes:
    """The initrd: the whole guest for `tiny`, else the one that looks for the root."""
    if image.initrd is not None:
        return image.initrd.read_bytes()
    tiny = images.get("tiny", say).image
    busybox = _base_of(tiny) / "root/usr/bin/busybox"
    return initrd.make(_base_of(image) / "kernel", busybox)


def _base_of(image: store.Image) -> Path:
    base = cache.home() / "bases" / image.name / image.manifest.digest.rpartition("-")[0]
    if not base.is_dir():
        raise BadImage(image.directory, "its base is not in the cache any more")
    return base


def _root(image: store.Image, work: Path) -> Path:
    """A copy of the root file system that is mounted by its UUID."""
    root = work / "root.raw"
    programs.run(["cp", "--sparse=always", "--reflink=auto", str(image.disk), str(root)])
    fstab = work / "fstab"
    fstab.write_text(_FSTAB.format(uuid=_uuid_of(root)))
    inject.inject(root, {"/etc/fstab": fstab}, {}, frozenset(), replace=True, epoch_s=EPOCH_S)
    return root


def _uuid_of(root: Path) -> str:
    with root.open("rb") as file:
        file.seek(_UUID_AT)
        return str(uuid.UUID(bytes=file.read(16)))


def _boot_partition(
    image: store.Image, identity: str, cmdline: str, first: bytes, found: loaders.Loaders, work: Path
) -> Path:
    """The FAT file system that both firmwares read: unified image, syslinux, kernel and initrd."""
    if image.kernel is None:
        raise BadImage(image.directory, "it has no kernel of its own to make a boot partition with")
    kernel = image.kernel.read_bytes()
    release = f"ID=debian\nPRETTY_NAME={image.name}\nVERSION_ID={identity}\n"
    sections = (
        (".osrel", release.encode()), (".cmdline", cmdline.encode() + b"\0"),
        (".uname", image.manifest.kernel.encode()), (".linux", kernel), (".initrd", first),
    )  # fmt: skip
    files = {
        "EFI/BOOT/BOOTX64.EFI": uki.join(found.stub.read_bytes(), sections),
        "vmlinuz": kernel,
        "initrd": first,
        "syslinux.cfg": _SYSLINUX.format(cmdline=cmdline).encode(),
    }
    size = sum(len(content) for content in files.values()) * 11 // 10 + 8 * _MIB
    esp = work / "esp.raw"
    esp.touch()
    os.truncate(esp, -(-size // _MIB) * _MIB)
    serial = hashlib.sha256(identity.encode()).hexdigest()[:8]
    environment = {"SOURCE_DATE_EPOCH": str(EPOCH_S), "MTOOLS_SKIP_CHECK": "1"}
    # syslinux's boot sector must know where on the disk it is: -h.
    programs.run(
        [
            "mkfs.vfat",
            "--invariant",
            "-F",
            "16",
            "-h",
            str(FIRST_SECTOR),
            "-n",
            "BOOT",
            "-i",
            serial,
            str(esp),
        ],
        env=environment,
    )
    programs.run(["mmd", "-i", str(esp), "::EFI", "::EFI/BOOT"], env=environment)
    for name, content in files.items():
        source = work / Path(name).name
        source.write_bytes(content)
        os.utime(source, (EPOCH_S, EPOCH_S))
        programs.run(
            ["mcopy", "-m", "-i", str(esp), str(source), f"::{name}"], env={**environment, "TZ": "UTC"}
        )
    programs.run([str(found.syslinux), "--install", str(esp)], env={**environment, "TZ": "UTC"})
    return esp


def _write(
    disk: Path, esp: Path, root: Path | None, identity: str, gptmbr: Path, size_bytes: int | None
) -> int:
    """The disk with its partitions; gives its size. The root's partition is as large as its file system."""
    esp_sectors = esp.stat().st_size // SECTOR
    root_at = FIRST_SECTOR + esp_sectors
    root_sectors = root.stat().st_size // SECTOR if root is not None else 0
    least = (root_at + root_sectors) * SECTOR + _MIB
    size = least if size_bytes is None else -(-size_bytes // _MIB) * _MIB
    if size < least:
        raise UnsupportedHost(
            disk.name, f"{size} bytes are too few", f"Give --size {-(-least // _MIB)}M or more"
        )
    disk.touch()
    os.truncate(disk, size)
    own = partial(_derived, identity)
    rows = [
        "label: gpt",
        f"label-id: {own('disk')}",
        f"start={FIRST_SECTOR}, size={esp_sectors}, type={_ESP_TYPE}, uuid={own('esp')}{_BOOTS}",
    ]
    if root is not None:
        rows.append(f"start={root_at}, size={root_sectors}, type={_ROOT_TYPE}, uuid={own('root')}, name=root")
    programs.run(["sfdisk", "--quiet", "--no-reread", str(disk)], stdin="\n".join([*rows, ""]))
    with disk.open("r+b") as file:
        file.write(gptmbr.read_bytes()[:440])
    for part, at in ((esp, FIRST_SECTOR), (root, root_at)):
        if part is not None:
            programs.run(
                ["dd", "status=none", "conv=notrunc,sparse", "bs=1M", "oflag=seek_bytes",
                 f"if={part}", f"of={disk}", f"seek={at * SECTOR}"]
            )  # fmt: skip
    return size


def _identity(root: Path | None, first: bytes, agent: str) -> str:
    """The same for the same content, whatever way it was asked for: identifiers are derived from it."""
    content = hashlib.sha256(first).hexdigest() if root is None else _uuid_of(root)
    return hashlib.sha256(f"{content} {agent}".encode()).hexdigest()[:16]


def _derived(identity: str, what: str) -> str:
    """An identifier that is the same for the same image."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"guestling:{identity}:{what}")).upper()
