"""The serial console's record: bounded on disk, whatever a guest prints (SP-15, SP-16).

Kept are the first 64 KiB and the last 8 to 16 MiB, in two files that take turns; what lies between is
counted. A fourth file says how much there was and whose turn it is, so that another process can read the
record while it is written, or after its writer was killed.
"""

from __future__ import annotations

import asyncio
import os
import struct
from pathlib import Path

HEAD_BYTES = 64 << 10
RING_BYTES = 8 << 20
_HEAD, _RING, _COUNT = "console.head", ("console.0", "console.1"), "console.count"
FEED_BYTES = 1 << 20
"""What waits for a reader at most."""
_READ_BACK = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_TOTAL_AND_STEP = struct.Struct("=QQ")
"""Bytes written in all, and how often the files took turns, times two; odd in the middle of it."""

_READS = 100


class ConsoleRing:
    """Takes console bytes and gives back the beginning and the end.

    The files stay open: no name is looked up twice.
    """

    def __init__(self, directory: Path, head_bytes: int = HEAD_BYTES, ring_bytes: int = RING_BYTES) -> None:
        self._head = os.open(directory / _HEAD, _READ_BACK, 0o600)
        self._ring = [os.open(directory / name, _READ_BACK, 0o600) for name in _RING]
        self._count = os.open(directory / _COUNT, _READ_BACK, 0o600)
        self._head_bytes, self._ring_bytes = head_bytes, ring_bytes
        self._headed = self._current_bytes = self._step = 0
        self.total = 0

    def write(self, chunk: bytes) -> None:
        """Keep `chunk`, forgetting the oldest beyond the bound."""
        if self._headed < self._head_bytes:
            self._headed += os.write(self._head, chunk[: self._head_bytes - self._headed])
        while chunk:
            if self._current_bytes == self._ring_bytes:
                self._next_turn()
            written = os.write(self._ring[_turn(self._step)], chunk[: self._ring_bytes - self._current_bytes])
            self._current_bytes += written
            self.total += written
            chunk = chunk[written:]
        self._tell()

    def _next_turn(self) -> None:
        """The current file is full: forget the older one and go on there."""
        self._step += 1
        self._tell()
        older = self._ring[_turn(self._step)]
        os.ftruncate(older, 0)
        os.lseek(older, 0, os.SEEK_SET)
        self._current_bytes = 0
        self._step += 1
        self._tell()

    def _tell(self) -> None:
        os.pwrite(self._count, _TOTAL_AND_STEP.pack(self.total, self._step), 0)

    def read(self) -> bytes:
        """The beginning, a line that says how much is left out, and the latest."""
        return _joined(_whole(self._head), [_whole(fd) for fd in self._ring], self._step, self.total)

    def close(self) -> None:
        """Close the files; the directory is removed by its owner."""
        for fd in (self._head, *self._ring, self._count):
            os.close(fd)


def read_record(directory: Path) -> tuple[bytes, int]:
    """What a ring in `directory` kept, and how many bytes there were in all; nothing where there is none.

    Another process may be writing to it. The count is read first, so that nothing is there twice; when the
    files took turns meanwhile, they hold a mixture, and all is read again.
    """
    for _ in range(_READS):
        count = _bytes_of(directory / _COUNT)
        if len(count) != _TOTAL_AND_STEP.size:
            return b"", 0
        head, *ring = (_bytes_of(directory / name) for name in (_HEAD, *_RING))
        total, step = _TOTAL_AND_STEP.unpack(count)
        if _bytes_of(directory / _COUNT)[-8:] == count[-8:]:
            return _joined(head, ring, step, total), total
    return head, total


def _turn(step: int) -> int:
    """Which file of the ring is written to, or is about to be."""
    return (step + 1) // 2 % 2


def read_since(directory: Path, seen: int) -> tuple[bytes, int]:
    """What a ring in `directory` took after its first `seen` bytes, as far as it has it, and where that ends.

    Each file begins where the one before was full, so that its size says which bytes it holds; nothing is
    given twice, and nothing is missed by who comes back in time.
    """
    for _ in range(_READS):
        count = _bytes_of(directory / _COUNT)
        if len(count) != _TOTAL_AND_STEP.size:
            break
        step = _TOTAL_AND_STEP.unpack(count)[1]
        older, current = (directory / _RING[which] for which in (1 - _turn(step), _turn(step)))
        begins = step // 2 * _size_of(older)
        behind = _bytes_of(older, last=begins - seen) if seen < begins else b""
        chunk = behind + _bytes_of(current, skip=max(0, seen - begins))
        if step % 2 == 0 and _bytes_of(directory / _COUNT)[-8:] == count[-8:]:
            return chunk, max(seen, begins) + len(chunk) - len(behind)
    return b"", seen


def _size_of(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _bytes_of(path: Path, skip: int = 0, last: int | None = None) -> bytes:
    """A file, without its first bytes or only the last ones; nothing where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        size = os.fstat(descriptor).st_size
        start = skip if last is None else max(0, size - last)
        return os.pread(descriptor, max(0, size - start), start)
    finally:
        os.close(descriptor)


def _joined(head: bytes, ring: list[bytes], step: int, total: int) -> bytes:
    turn = _turn(step)
    # In the middle of taking turns the file to come still may hold what is the oldest of all.
    recent = ring[1 - turn] + (b"" if step % 2 else ring[turn])
    forgotten = total - len(recent)
    if forgotten <= 0:
        return recent
    if forgotten <= len(head):
        return head[:forgotten] + recent
    return head + b"\n[... %d bytes of console output left out ...]\n" % (forgotten - len(head)) + recent


def printable(output: bytes) -> str:
    """Console bytes for a terminal.

    Line ends stay, every other control character and broken UTF-8 is escaped.
    """
    text = output.decode(errors="backslashreplace").replace("\r\n", "\n")
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode()
        for char in text
    )


def _whole(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


class ConsoleFeed:
    """Console bytes for one reader, as they come; a reader that is too slow loses the oldest."""

    def __init__(self, kept: bytes) -> None:
        self._pending = bytearray(kept)
        self._news = asyncio.Event()
        self._closed = False
        if kept:
            self._news.set()

    def feed(self, chunk: bytes) -> None:
        """Take what the console brought."""
        self._pending += chunk
        del self._pending[:-FEED_BYTES]
        self._news.set()

    def close(self) -> None:
        """No more will come."""
        self._closed = True
        self._news.set()

    async def read(self) -> bytes:
        """All that came since the last time, once there is something; empty at the end."""
        while not self._pending and not self._closed:
            self._news.clear()
            await self._news.wait()
        chunk = bytes(self._pending)
        self._pending.clear()
        return chunk
