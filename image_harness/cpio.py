"""The `newc` archive that a Linux kernel unpacks as its first root: made without root, always the same."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

# Every file bears this time, so that a file which changed in the guest can be told by its age.
MTIME_S = 1_704_067_200
_TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """One file, directory or link of the archive. `path` has no leading slash; `mode` holds the type bits.

    The path `.` is the root directory itself.
    """

    path: str
    mode: int
    content: bytes = b""
    uid: int = 0
    gid: int = 0


def file(path: str, content: bytes, mode: int = 0o644, gid: int = 0) -> Entry:
    """A regular file of root's."""
    return Entry(path, stat.S_IFREG | mode, content, gid=gid)


def directory(path: str, mode: int = 0o755) -> Entry:
    """A directory of root's."""
    return Entry(path, stat.S_IFDIR | mode)


def symlink(path: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def archive(entries: Iterable[Entry]) -> bytes:
    """The whole archive, parents before children, missing parents added (0755, root's), padded to 512 bytes.

    Archives made here may be concatenated: the kernel unpacks one after the other, later files win.
    """
    chunks = [_record(number, entry) for number, entry in enumerate(_complete(entries), start=1)]
    whole = b"".join([*chunks, _record(0, Entry(_TRAILER, 0))])
    return whole + bytes(-len(whole) % 512)


def _complete(entries: Iterable[Entry]) -> Iterator[Entry]:
    by_path = {entry.path: entry for entry in entries}
    for path in list(by_path):
        for parent in PurePosixPath(path).parents:
            if str(parent) != ".":
                by_path.setdefault(str(parent), directory(str(parent)))
    # Sorted by parts, so that `a` comes before `a/b` and `a-b` after both.
    yield from (by_path[path] for path in sorted(by_path, key=lambda path: path.split("/")))


def _record(inode: int, entry: Entry) -> bytes:
    """Source: Documentation/driver-api/early-userspace/buffer-format.rst of Linux."""
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (
        inode, entry.mode, entry.uid, entry.gid, links, MTIME_S if entry.mode else 0, len(entry.content),
        0, 0, 0, 0, len(name), 0,
    )  # fmt: skip
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return header + bytes(-len(header) % 4) + entry.content + bytes(-len(entry.content) % 4)
