"""Images from elsewhere, put into the local store: looked into first, copied whole, named by content."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from image_harness import cache, images, programs, store
from image_harness.errors import InvalidImage
from spawner.images import ImageRefused, detect, inspect, verify

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
MEMORY_MIB = 1024
"""What an image is given that does not say otherwise (`min_ram`)."""
AS_IT_IS = ("raw", "qcow2")
"""Formats that guests run from; others are converted to qcow2 when they come in."""
DIGEST_CHARS = 16
SECTOR_BYTES = 512


def add(file: Path, name: str, properties: Mapping[str, str]) -> store.Built:
    """Put a disk image into the store under `name`; the file itself stays where and as it is.

    Its content says what it is, never its name; backing files, data files and unknown features are refused
    before any other program sees it (SP-09, SP-10). The same content under the same name with the same
    properties is there already. Raises InvalidImage, OSError, HarnessError.
    """
    _check_name(name)
    memory_mib = _memory_mib(properties)
    disk_format = _looked_into(file)
    manifest = _manifest(name, _digest(file, properties), memory_mib, properties)
    final = store.directory() / name / manifest.digest
    cached = (final / store.MANIFEST).is_file()
    if not cached:
        with cache.new_directory(final) as work:
            _take(file, disk_format, work)
            store.write_manifest(work, manifest)
    return store.Built(store.read(final), cached)


def in_place(file: Path, where: Path) -> store.Image:
    """An image file to boot from where it is; `where`: a directory that is made for what belongs to it.

    Looked into as by `add`. Raises InvalidImage, OSError.
    """
    disk_format = _looked_into(file)
    if disk_format not in AS_IT_IS:
        raise InvalidImage(
            str(file), f"guests do not run from {disk_format}", "Put it into the store: guestling image add"
        )
    where.mkdir(parents=True)
    # The store's name for a disk says its format, whatever the file is called.
    disk = where / f"disk.{disk_format}"
    disk.symlink_to(file.resolve())
    return store.Image(_manifest(file.name, "", MEMORY_MIB, {}), None, None, disk)


def _looked_into(file: Path) -> str:
    """The format of a disk image, by its content. Raises InvalidImage."""
    try:
        disk_format = detect(file)
        inspect(file, disk_format)
        verify(file, disk_format)
    except ImageRefused as refused:
        raise InvalidImage(
            str(file), str(refused).removesuffix("."), "Give a disk image of a guest"
        ) from refused
    if disk_format == "raw" and (size := file.stat().st_size) % SECTOR_BYTES:
        wrong = f"its {size} bytes are no whole number of sectors, so this is no disk"
        raise InvalidImage(str(file), wrong, "Give a disk image of a guest")
    return disk_format


def _manifest(name: str, digest: str, memory_mib: int, properties: Mapping[str, str]) -> store.Manifest:
    return store.Manifest(
        name=name,
        digest=digest,
        built=datetime.now(UTC).isoformat(timespec="seconds"),
        suite="",
        kernel="",
        cmdline="",
        memory_mib=memory_mib,
        agent="",
        packages=(),
        properties=dict(sorted(properties.items())),
    )


def _take(file: Path, disk_format: str, work: Path) -> None:
    if disk_format in AS_IT_IS:
        copy = [
            "cp",
            "--sparse=always",
            "--reflink=auto",
            str(file.absolute()),
            str(work / f"disk.{disk_format}"),
        ]
        programs.run(copy)
        return
    from_format = "vpc" if disk_format == "vhd" else disk_format
    convert = ["qemu-img", "convert", "-f", from_format, "-O", "qcow2", str(file.absolute())]
    programs.run([*convert, str(work / "disk.qcow2")])


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidImage(
            "--name", f"{name!r} cannot name an image", "Use 1 to 63 of a-z, 0-9, '.', '_' and '-'"
        )
    if name in images.PLANS:
        raise InvalidImage("--name", f"{name} is one that is built here", "Choose another name")


def _memory_mib(properties: Mapping[str, str]) -> int:
    text = properties.get("min_ram", "")
    if not text:
        return MEMORY_MIB
    if not (text.isascii() and text.isdigit() and 32 <= int(text) <= 1 << 20):
        raise InvalidImage("--property min_ram", f"{text!r} is no memory size", "Give MiB, such as 512")
    return int(text)


def _digest(file: Path, properties: Mapping[str, str]) -> str:
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256")
    for name, value in sorted(properties.items()):
        digest.update(f"{name}={value}\0".encode())
    return digest.hexdigest()[:DIGEST_CHARS]
