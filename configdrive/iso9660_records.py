"""One ISO 9660 directory record, and the three ways to name what it stands for.

Names come from Rock Ridge, else Joliet, else the plain record in lower case and without `;1`, as the Linux
kernel shows them. Source: ECMA-119 9.1, the Joliet specification; faults-and-threats CD-06, CD-07.
"""

from __future__ import annotations

import stat

from configdrive import rock_ridge
from configdrive.errors import DamagedDrive, ForbiddenEntry
from configdrive.rock_ridge import both_endian

TYPE_CHECKING = False
if TYPE_CHECKING:
    from configdrive.source import Image

_DIRECTORY = 0x02
_STRANGE_FLAGS = {
    0x04: "it is an associated file",
    0x08: "it has a record format",
    0x10: "its owner stands in an extended attribute record",
    0x80: "it is stored in several extents",
}


class Record:
    """A directory record of exactly the bytes `data`, which lie at `offset`. Raises DamagedDrive."""

    def __init__(self, data: bytes, offset: int) -> None:
        structure = "directory record"
        if len(data) < 34 or 33 + data[32] > len(data):
            raise DamagedDrive(structure, offset, "it is shorter than what it holds")
        self.offset = offset
        self.block = both_endian(data, 2, structure, offset)
        self.length = both_endian(data, 10, structure, offset)
        self.flags = data[25]
        self.name = data[33 : 33 + data[32]]
        # A byte of padding follows a name of even length.
        area_start = 33 + len(self.name) + (1 - len(self.name) % 2)
        self.area = data[area_start:]
        self.area_offset = offset + area_start
        if data[1] or data[26] or data[27]:
            problem = "it has extended attributes or is interleaved, which no writer of drives does"
            raise DamagedDrive(structure, offset, problem)

    @property
    def is_directory(self) -> bool:
        return bool(self.flags & _DIRECTORY)


class Entry:
    """What a record stands for. `length` is None for a directory that was moved: its `.` record knows."""

    def __init__(self, record: Record, name: str, block: int, length: int | None, is_directory: bool) -> None:
        self.offset = record.offset
        self.name = name
        self.block = block
        self.length = length
        self.is_directory = is_directory


class _Names:
    """What the three ways have in common."""

    def check(self, record: Record) -> None:
        """Raises DriveError where the record of a directory itself, `.` or `..`, is damaged."""


class RockRidgeNames(_Names):
    """Names and kinds as the Rock Ridge entries give them. `skip` is what the SP entry says."""

    kind = "rock-ridge"

    def __init__(self, image: Image, skip: int) -> None:
        self._image = image
        self._skip = skip

    def check(self, record: Record) -> None:
        """Raises DriveError."""
        rock_ridge.attributes(self._image, record.area[self._skip :], record.area_offset + self._skip)

    def entry(self, record: Record) -> Entry | None:
        """The entry of `record`; None where a moved directory was put. Raises DriveError."""
        area = record.area[self._skip :]
        found = rock_ridge.attributes(self._image, area, record.area_offset + self._skip)
        if found.is_moved:
            return None
        name = found.name if found.name is not None else _plain_name(record)
        if found.moved_to is not None:
            return Entry(record, name, found.moved_to, None, is_directory=True)
        if found.mode is not None:
            _check_mode(found.mode, record, name)
        return Entry(record, name, record.block, record.length, record.is_directory)


class JolietNames(_Names):
    """Names in UCS-2, big-endian."""

    kind = "joliet"

    def entry(self, record: Record) -> Entry:
        """The entry of `record`. Raises DamagedDrive."""
        try:
            name = record.name.decode("utf-16-be")
        except UnicodeDecodeError as error:
            raise DamagedDrive("Joliet name", record.offset + 33, "it is not UTF-16") from error
        return Entry(record, _without_version(name), record.block, record.length, record.is_directory)


class PlainNames(_Names):
    """Names of the bare standard, in lower case."""

    kind = "plain"

    def entry(self, record: Record) -> Entry:
        """The entry of `record`. Raises DamagedDrive."""
        return Entry(record, _plain_name(record), record.block, record.length, record.is_directory)


def check_flags(record: Record) -> None:
    """Raises DamagedDrive for a kind of file that no config drive holds."""
    for flag, problem in _STRANGE_FLAGS.items():
        if record.flags & flag:
            raise DamagedDrive(
                "directory record", record.offset, f"{problem}, which no writer of drives does"
            )


def _check_mode(mode: int, record: Record, name: str) -> None:
    kind = stat.S_IFMT(mode)
    if kind not in {stat.S_IFREG, stat.S_IFDIR}:
        problem = f"its mode {mode:o} is neither a regular file nor a directory"
        raise ForbiddenEntry(f"entry {name!r}", record.offset, problem)
    if (kind == stat.S_IFDIR) != record.is_directory:
        raise DamagedDrive(
            f"entry {name!r}", record.offset, "Rock Ridge and the plain record call it different kinds"
        )


def _plain_name(record: Record) -> str:
    try:
        name = record.name.decode()
    except UnicodeDecodeError as error:
        raise DamagedDrive("directory record", record.offset, "its name is not text") from error
    name = _without_version(name)
    return (name if record.is_directory else name.rstrip(".")).lower()


def _without_version(name: str) -> str:
    head, semicolon, version = name.rpartition(";")
    return head if semicolon and version.isdecimal() else name
