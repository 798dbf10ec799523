"""A drive as a directory: an unpacked or mounted one, or a seed directory."""

from __future__ import annotations

import os
import stat

from configdrive.errors import ForbiddenEntry, UnreadableDrive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from configdrive.harvest import Harvest

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def read(descriptor: int, harvest: Harvest) -> None:
    """Put every file below the open directory into `harvest`; follows no link. Raises DriveError."""
    try:
        _directory(descriptor, harvest, "")
    except OSError as error:
        place = repr(error.filename or "a file of the directory")
        raise UnreadableDrive(place, None, error.strerror or str(error)) from error


def _directory(descriptor: int, harvest: Harvest, path: str) -> None:
    """The recursion is as deep as the limit on depth allows."""
    for name in sorted(entry.name for entry in os.scandir(descriptor)):
        inner = f"{path}/{name}" if path else name
        if harvest.is_wanted(inner):
            _check_text(inner)
            harvest.enter(inner, None)
            _entry(descriptor, name, harvest, inner)


def _check_text(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise ForbiddenEntry(f"entry {path!r}", None, "its name is not UTF-8") from error


def _entry(parent: int, name: str, harvest: Harvest, path: str) -> None:
    mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise ForbiddenEntry(f"entry {path!r}", None, "it is neither a regular file nor a directory")
    descriptor = os.open(name, _READ, dir_fd=parent)
    try:
        if stat.S_ISDIR(mode):
            _directory(descriptor, harvest, path)
        else:
            _file(descriptor, harvest, path)
    finally:
        os.close(descriptor)


def _file(descriptor: int, harvest: Harvest, path: str) -> None:
    before = os.fstat(descriptor)
    harvest.reserve(path, before.st_size, None)
    with open(descriptor, "rb", closefd=False) as file:
        content = file.read(before.st_size + 1)
    after = os.fstat(descriptor)
    if len(content) != before.st_size or after.st_mtime_ns != before.st_mtime_ns:
        raise UnreadableDrive(f"entry {path!r}", None, "it changed while it was read")
    harvest.put(path, content)
