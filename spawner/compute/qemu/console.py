"""The serial console's record: bounded on disk, whatever a guest prints (SP-15, SP-16).

Kept are the first 64 KiB and the last 8 to 16 MiB, in two files that take turns; what lies between is
counted.
"""

from __future__ import annotations

import os
from pathlib import Path

HEAD_BYTES = 64 << 10
RING_BYTES = 8 << 20
_READ_BACK = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class ConsoleRing:
    """Takes console bytes and gives back the beginning and the end.

    The files stay open: no name is looked up twice.
    """

    def __init__(self, directory: Path, head_bytes: int = HEAD_BYTES, ring_bytes: int = RING_BYTES) -> None:
        self._head = os.open(directory / "console.head", _READ_BACK, 0o600)
        self._ring = [os.open(directory / f"console.{turn}", _READ_BACK, 0o600) for turn in (0, 1)]
        self._head_bytes, self._ring_bytes = head_bytes, ring_bytes
        self._headed = self._current_bytes = 0
        self.total = 0

    def write(self, chunk: bytes) -> None:
        """Keep `chunk`, forgetting the oldest beyond the bound."""
        self.total += len(chunk)
        if self._headed < self._head_bytes:
            self._headed += os.write(self._head, chunk[: self._head_bytes - self._headed])
        while chunk:
            if self._current_bytes == self._ring_bytes:
                self._turn()
            written = os.write(self._ring[1], chunk[: self._ring_bytes - self._current_bytes])
            self._current_bytes += written
            chunk = chunk[written:]

    def _turn(self) -> None:
        """The current file is full: forget the older one and go on there."""
        self._ring.reverse()
        os.ftruncate(self._ring[1], 0)
        os.lseek(self._ring[1], 0, os.SEEK_SET)
        self._current_bytes = 0

    def read(self) -> bytes:
        """The beginning, a line that says how much is left out, and the latest."""
        recent = b"".join(_whole(fd) for fd in self._ring)
        forgotten = self.total - len(recent)
        if forgotten <= 0:
            return recent
        head = _whole(self._head)
        if forgotten <= len(head):
            return head[:forgotten] + recent
        return head + b"\n[... %d bytes of console output left out ...]\n" % (forgotten - len(head)) + recent

    def close(self) -> None:
        """Close the files; the directory is removed by its owner."""
        for fd in (self._head, *self._ring):
            os.close(fd)


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
