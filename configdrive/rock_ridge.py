"""Rock Ridge: the POSIX names and modes in the system use area of an ISO 9660 directory record.

Source: IEEE P1281 (SUSP 1.12) and P1282 (RRIP 1.09 and 1.12), as the Linux kernel reads them.
"""

from __future__ import annotations

from configdrive.errors import DamagedDrive, ForbiddenEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from configdrive.source import Image

SECTOR = 2048
MOST_CONTINUATIONS = 32
# Flags of an NM entry: the next one continues the name; it stands for `.` or `..`.
_NAME_GOES_ON = 0x01
_NAME_IS_SPECIAL = 0x02 | 0x04


class Attributes:
    """What Rock Ridge says of a record; None where it says nothing."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.mode: int | None = None
        self.moved_to: int | None = None  # CL: the block of a directory that was moved up
        self.is_moved = False  # RE: this record is where a directory was moved to


def skip_length(area: bytes) -> int | None:
    """Bytes to skip in each system use area, by the SP entry of the root's `.`; None: no Rock Ridge."""
    if len(area) >= 7 and area[:2] == b"SP" and area[4:6] == b"\xbe\xef":
        return area[6]
    return None


def both_endian(data: bytes, at: int, structure: str, offset: int) -> int:
    """The 32-bit number stored in both byte orders at `offset` + `at`. Raises DamagedDrive if they differ."""
    little = int.from_bytes(data[at : at + 4], "little")
    if little != int.from_bytes(data[at + 4 : at + 8], "big"):
        raise DamagedDrive(structure, offset + at, "a number differs between its two byte orders")
    return little


def attributes(image: Image, area: bytes, offset: int) -> Attributes:
    """The attributes in the system use area `area`, which lies at `offset`. Raises DriveError."""
    found = Attributes()
    name: bytes | None = None
    goes_on = False
    for tag, body, at in _entries(image, area, offset):
        if tag == b"NM":
            if not body or body[0] & _NAME_IS_SPECIAL:
                raise ForbiddenEntry("Rock Ridge name", at, "it stands for `.` or `..`")
            name = (name or b"") + body[1:]
            goes_on = bool(body[0] & _NAME_GOES_ON)
        elif tag == b"PX":
            found.mode = _number(body, "Rock Ridge mode", at)
        elif tag == b"CL":
            found.moved_to = _number(body, "Rock Ridge child link", at)
        elif tag == b"RE":
            found.is_moved = True
        elif tag in _REFUSED:
            raise ForbiddenEntry("Rock Ridge entry", at, _REFUSED[tag])
    if goes_on:
        # genisoimage writes such names with -iso-level 4: what they end in is nowhere.
        raise DamagedDrive("Rock Ridge name", offset, "it says that it goes on, and does not")
    if name is not None:
        found.name = _text(name, offset)
    return found


_REFUSED = {
    b"SL": "it is a symbolic link",
    b"PN": "it is a device node",
    b"SF": "it is a sparse file",
    b"ZF": "its content is compressed (zisofs)",
}


def _number(body: bytes, structure: str, offset: int) -> int:
    if len(body) < 8:
        raise DamagedDrive(structure, offset, f"it has {len(body)} bytes instead of 8 or more")
    return both_endian(body, 0, structure, offset + 4)


def _text(name: bytes, offset: int) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise DamagedDrive("Rock Ridge name", offset, "it is not UTF-8") from error


def _entries(image: Image, area: bytes, offset: int) -> Iterator[tuple[bytes, bytes, int]]:
    """(tag, body, offset) of each entry, through at most MOST_CONTINUATIONS continuation areas."""
    for _ in range(MOST_CONTINUATIONS):
        following = None
        position = 0
        while position + 4 <= len(area):
            tag, length, at = area[position : position + 2], area[position + 2], offset + position
            if tag[:1] == b"\0":
                if area[position:].strip(b"\0"):
                    raise DamagedDrive("Rock Ridge entry", at, "bytes follow where the entries end")
                break
            if length < 4 or position + length > len(area) or not (tag.isascii() and tag.isalnum()):
                problem = f"its tag {tag!r} or its length {length} is impossible"
                raise DamagedDrive("Rock Ridge entry", at, problem)
            body = area[position + 4 : position + length]
            if tag == b"ST":
                return
            if tag == b"CE":
                following = _continuation(body, at)
            else:
                yield tag, body, at
            position += length
        if following is None:
            return
        offset, length = following
        area = image.read_directory(offset, length, "Rock Ridge continuation area")
    raise DamagedDrive(
        "Rock Ridge continuation area", offset, f"more than {MOST_CONTINUATIONS} follow each other"
    )


def _continuation(body: bytes, offset: int) -> tuple[int, int]:
    structure = "Rock Ridge continuation entry"
    if len(body) != 24:
        raise DamagedDrive(structure, offset, f"it has {len(body)} bytes instead of 24")
    block, start, length = (both_endian(body, at, structure, offset + 4) for at in (0, 8, 16))
    if start + length > SECTOR:
        raise DamagedDrive(
            structure, offset, f"it points to {length} bytes from {start} on in a block of {SECTOR}"
        )
    return block * SECTOR + start, length
