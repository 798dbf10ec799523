"""The image store: bytes on disk under their id, checksums, and a look inside before anybody else looks.

Uploads are streamed to a temporary file, hashed and inspected by content (oslo.utils) before they become an
image: backing files, data files and unknown features are refused before any QEMU tool sees them (SP-09);
then `qemu-img check` goes through what is left, within limits (SP-11).
Source: Image API v2.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from oslo_utils.imageutils import format_inspector

from spawner import qcow2_header, qemu_img
from spawner.errors import SpawnerError

ALLOWED = {
    "raw": ("raw", "gpt"),
    "qcow2": ("qcow2",),
    "iso": ("iso", "raw", "gpt"),
    "vmdk": ("vmdk",),
    "vhd": ("vhd",),
}
# Kernels and ramdisks travel beside disks and have no format to inspect.
OPAQUE = ("aki", "ari", "ami")
IMAGE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
HASH_ALGORITHM = "sha512"
SIZE_LIMIT = 64 * 1024**3
CHUNK_BYTES = 1 << 20


class ImageRefused(SpawnerError):
    """Bytes that are not what they are said to be, or that could reach outside themselves."""

    code = "image-refused"


@dataclass(frozen=True)
class Upload:
    """What is known of an image's bytes once they are there."""

    size: int
    virtual_size: int | None
    checksum: str
    os_hash_value: str

    def columns(self) -> dict[str, object]:
        """What the store says of an image from the moment on that its bytes are there."""
        return {
            "status": "active",
            "size": self.size,
            "virtual_size": self.virtual_size,
            "checksum": self.checksum,
            "os_hash_algo": HASH_ALGORITHM,
            "os_hash_value": self.os_hash_value,
        }


class ImageFiles:
    """The directory that holds the bytes of images, one file each, named by id."""

    def __init__(self, directory: Path, size_limit: int = SIZE_LIMIT) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._size_limit = size_limit

    @property
    def directory(self) -> Path:
        """Where they are."""
        return self._directory

    def path(self, image_id: str) -> Path:
        """Where an image's bytes are. Raises ImageRefused for what is no id: properties name images too."""
        if IMAGE_ID.fullmatch(image_id) is None:
            raise ImageRefused(f"{image_id[:64]!r} is no id of an image.")
        return self._directory / image_id

    async def receive(self, image_id: str, disk_format: str, chunks: AsyncIterator[bytes]) -> Upload:
        """Take an image's bytes: all of them or none. Raises ImageRefused, OSError."""
        partial = self.partial(image_id)
        md5 = hashlib.md5(usedforsecurity=False)
        digest = hashlib.new(HASH_ALGORITHM)
        size = 0
        try:
            with partial.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > self._size_limit:
                        raise ImageRefused(f"The image is larger than {self._size_limit} bytes.")
                    md5.update(chunk)
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            virtual_size = inspect(partial, disk_format)
            await asyncio.to_thread(verify, partial, disk_format)
            partial.replace(self.path(image_id))
        finally:
            partial.unlink(missing_ok=True)
        return Upload(size, virtual_size, md5.hexdigest(), digest.hexdigest())

    def partial(self, image_id: str) -> Path:
        """Where bytes may be written that shall become an image's: a file of ours alone from the start."""
        path = self._directory / f".{image_id}.part"
        path.touch(mode=0o600)
        return path

    def adopt(self, image_id: str, disk_format: str) -> Upload:
        """Take the bytes in `partial` as the image's. Raises ImageRefused, OSError."""
        partial = self.partial(image_id)
        md5, digest = hashlib.md5(usedforsecurity=False), hashlib.new(HASH_ALGORITHM)
        with partial.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                md5.update(chunk)
                digest.update(chunk)
        virtual_size = inspect(partial, disk_format)
        size = partial.stat().st_size
        partial.replace(self.path(image_id))
        return Upload(size, virtual_size, md5.hexdigest(), digest.hexdigest())

    def remove(self, image_id: str) -> None:
        """Forget an image's bytes."""
        self.path(image_id).unlink(missing_ok=True)


def detect(path: Path) -> str:
    """The disk format of a file, by its content alone. Raises ImageRefused for one that is not supported."""
    try:
        found = str(format_inspector.detect_file_format(str(path)))
    except format_inspector.ImageFormatError as error:
        raise ImageRefused(f"The image cannot be read: {error}.") from error
    for disk_format, contents in ALLOWED.items():
        if found in contents:
            return disk_format
    raise ImageRefused(f"The image is {found}, which is not supported. Use {', '.join(ALLOWED)}.")


def inspect(path: Path, disk_format: str) -> int | None:
    """The virtual size of an image, after a look at its content. Raises ImageRefused with the reason."""
    if disk_format in OPAQUE:
        return None
    if disk_format not in ALLOWED:
        raise ImageRefused(f"The disk format {disk_format} is not supported. Use {', '.join(ALLOWED)}.")
    try:
        inspector = format_inspector.detect_file_format(str(path))
    except format_inspector.ImageFormatError as error:
        raise ImageRefused(f"The image cannot be read: {error}.") from error
    if inspector is None or str(inspector) not in ALLOWED[disk_format]:
        raise ImageRefused(f"Declared as {disk_format}, the image is {inspector or 'nothing known'}.")
    try:
        inspector.safety_check()
    except format_inspector.SafetyCheckFailed as error:
        reasons = "; ".join(f"{name}: {why}" for name, why in sorted(error.failures.items()))
        raise ImageRefused(f"The image is not safe to use: {reasons}.") from error
    if wrong := _header_faults(path) if str(inspector) == "qcow2" else []:
        raise ImageRefused(f"The image is not sound: {'; '.join(wrong)}.")
    # Of a file that is the disk itself the inspector counts the bytes that it has looked at.
    whole = str(inspector) in ALLOWED["raw"]
    virtual_size = path.stat().st_size if whole else int(inspector.virtual_size)
    if wrong_size := qcow2_header.size_fault(virtual_size):
        raise ImageRefused(f"The image is not sound: {wrong_size}.")
    return virtual_size


def _header_faults(path: Path) -> list[str]:
    with path.open("rb") as file:
        content = file.read(qcow2_header.HEADER_BYTES)
    try:
        return qcow2_header.faults(qcow2_header.parse(content), path.stat().st_size)
    except ValueError as error:
        return [str(error)]


def verify(path: Path, disk_format: str) -> None:
    """Have the tables of an image that was inspected gone through, within limits. Raises ImageRefused.

    A table that leads out of the file, or a refcount that lies, shows nowhere but there (SP-11).
    """
    if disk_format == "qcow2" and (wrong := qemu_img.check_fault(path)):
        raise ImageRefused(f"The image is not sound: {wrong}.")
