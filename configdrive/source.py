"""The bytes of a drive, read within limits: every read is whole, or an error that names the structure."""

from __future__ import annotations

import os
import stat
import time

from configdrive.errors import DriveLimit, TruncatedDrive, UnreadableDrive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

KIB = 1024
MIB = 1024 * KIB


class Limits:
    """How much of a drive is looked at before it is refused. Source: faults-and-threats, section 3."""

    def __init__(
        self,
        *,
        image_bytes: int = 64 * MIB,
        file_bytes: int = 32 * MIB,
        tree_bytes: int = 64 * MIB,
        directory_bytes: int = 8 * MIB,
        entries: int = 10_000,
        depth: int = 16,
        name_bytes: int = 255,
        seconds: float = 10.0,
    ) -> None:
        self.image_bytes = image_bytes
        self.file_bytes = file_bytes
        self.tree_bytes = tree_bytes
        self.directory_bytes = directory_bytes
        self.entries = entries
        self.depth = depth
        self.name_bytes = name_bytes
        self.seconds = seconds


LIMITS = Limits()


class Image:
    """Random access to an image of `size` bytes.

    `fetch(offset, length)` gives the bytes, fewer at the end; `clock` counts seconds and only forward.
    """

    def __init__(
        self,
        fetch: Callable[[int, int], bytes],
        size: int,
        limits: Limits = LIMITS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._deadline_s = clock() + limits.seconds
        self._directory_bytes = 0
        self.size = size
        self.limits = limits

    def read(self, offset: int, length: int, structure: str) -> bytes:
        """Exactly `length` bytes from `offset` on. Raises TruncatedDrive, DriveLimit, UnreadableDrive."""
        if offset < 0 or offset + length > self.size:
            raise TruncatedDrive(structure, offset, length, self.size)
        if self._clock() > self._deadline_s:
            raise DriveLimit(structure, offset, "seconds", self.limits.seconds)
        try:
            data = self._fetch(offset, length)
        except OSError as error:
            raise UnreadableDrive(structure, offset, error.strerror or "input/output error") from error
        if len(data) != length:
            raise TruncatedDrive(structure, offset, length, offset + len(data))
        return data

    def read_directory(self, offset: int, length: int, structure: str) -> bytes:
        """As `read`; all directories of a drive together stay below `directory_bytes`."""
        self._directory_bytes += length
        if self._directory_bytes > self.limits.directory_bytes:
            raise DriveLimit(structure, offset, "directory_bytes", self.limits.directory_bytes)
        return self.read(offset, length, structure)


def in_memory(data: bytes, limits: Limits = LIMITS) -> Image:
    """An image that is already in memory."""
    return Image(lambda offset, length: data[offset : offset + length], len(data), limits)


def on_disk(descriptor: int, limits: Limits = LIMITS) -> Image:
    """An image in an open regular file or block device."""

    def fetch(offset: int, length: int) -> bytes:
        pieces = []
        while length > 0:
            piece = os.pread(descriptor, min(length, 16 * MIB), offset)
            if not piece:
                break
            pieces.append(piece)
            offset += len(piece)
            length -= len(piece)
        return b"".join(pieces)

    return Image(fetch, os.lseek(descriptor, 0, os.SEEK_END), limits)


def open_drive(path: str | os.PathLike[str]) -> int:
    """A descriptor of the directory, regular file or block device at `path`; never waits on a FIFO.

    Raises UnreadableDrive.
    """
    name = os.fspath(path)
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the path.
        raise UnreadableDrive(repr(name), None, getattr(error, "strerror", None) or str(error)) from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode) or stat.S_ISREG(mode) or stat.S_ISBLK(mode):
        return descriptor
    os.close(descriptor)
    raise UnreadableDrive(repr(name), None, "not a directory, a regular file or a disk")
