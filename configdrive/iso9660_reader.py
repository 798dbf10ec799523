"""ISO 9660 read by ourselves: bounded, without mounting, whole or not at all.

Source: ECMA-119, the Joliet specification; metadata-service 13.3, faults-and-threats CD-01 to CD-07.
"""

from __future__ import annotations

from configdrive import rock_ridge
from configdrive.errors import DamagedDrive, DriveLimit, ForbiddenEntry, TruncatedDrive
from configdrive.iso9660_records import JolietNames, PlainNames, Record, RockRidgeNames, check_flags
from configdrive.rock_ridge import SECTOR, both_endian

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from configdrive.harvest import Harvest
    from configdrive.iso9660_records import Entry
    from configdrive.source import Image

    Names = RockRidgeNames | JolietNames | PlainNames

FIRST_DESCRIPTOR = 16 * SECTOR
MOST_DESCRIPTORS = 32
_PRIMARY, _SUPPLEMENTARY, _TERMINATOR = 1, 2, 255
_JOLIET_ESCAPES = (b"%/@", b"%/C", b"%/E")


class Volume:
    """A volume descriptor: label, claimed bytes, record of the root directory. Raises DamagedDrive."""

    def __init__(self, block: bytes, offset: int) -> None:
        structure = "volume descriptor"
        if block[128:132] != b"\x00\x08\x08\x00":
            raise DamagedDrive(structure, offset + 128, f"its block size is not {SECTOR}")
        self.label = block[40:72].decode("ascii", "replace").rstrip(" \0")
        self.size = both_endian(block, 80, structure, offset) * SECTOR
        self.root = Record(block[156:190], offset + 156)


def is_iso9660(image: Image) -> bool:
    """Whether a volume descriptor stands where the first one must stand."""
    if image.size < FIRST_DESCRIPTOR + SECTOR:
        return False
    return image.read(FIRST_DESCRIPTOR, 6, "volume descriptor")[1:] == b"CD001"


def label(image: Image) -> str:
    """The label of the first volume descriptor; reads one sector. Raises DriveError."""
    return Volume(image.read(FIRST_DESCRIPTOR, SECTOR, "volume descriptor"), FIRST_DESCRIPTOR).label


def read(image: Image, harvest: Harvest) -> tuple[str, str, bool]:
    """Put every file into `harvest`. Returns label, where names came from, whether there is Joliet.

    Raises DriveError.
    """
    primary, joliet = _volumes(image)
    if primary.size > image.limits.image_bytes:
        raise DriveLimit("volume descriptor", FIRST_DESCRIPTOR + 80, "image_bytes", image.limits.image_bytes)
    if primary.size > image.size:
        raise TruncatedDrive("volume", 0, primary.size, image.size)
    names, root = _view(image, primary, joliet)
    _Walk(image, harvest, names).run(root)
    return primary.label, names.kind, joliet is not None


def read_joliet(image: Image, harvest: Harvest) -> None:
    """Put every file of the Joliet tree into `harvest`; nothing where there is none. Raises DriveError."""
    _, joliet = _volumes(image)
    if joliet is not None:
        _Walk(image, harvest, JolietNames()).run(joliet.root)


def _volumes(image: Image) -> tuple[Volume, Volume | None]:
    """The primary volume, and the Joliet one if there is one."""
    primary = joliet = None
    for number in range(MOST_DESCRIPTORS):
        offset = FIRST_DESCRIPTOR + number * SECTOR
        block = image.read(offset, SECTOR, "volume descriptor")
        if block[1:6] != b"CD001":
            raise DamagedDrive("volume descriptor", offset, "its identifier is not CD001")
        if block[0] == _TERMINATOR:
            break
        if block[0] == _PRIMARY and primary is None:
            primary = Volume(block, offset)
        elif block[0] == _SUPPLEMENTARY and block[88:91] in _JOLIET_ESCAPES:
            joliet = Volume(block, offset)
    else:
        raise DamagedDrive("volume descriptor", offset, f"none of {MOST_DESCRIPTORS} ends the list")
    if primary is None:
        raise DamagedDrive("volume descriptor", FIRST_DESCRIPTOR, "there is no primary one")
    return primary, joliet


def _view(image: Image, primary: Volume, joliet: Volume | None) -> tuple[Names, Record]:
    """Rock Ridge before Joliet before plain names (CD-06), and the root to start from."""
    first = next(_records(image, primary.root.block, primary.root.length))
    skip = rock_ridge.skip_length(first.area)
    if skip is not None:
        return RockRidgeNames(image, skip), primary.root
    if joliet is not None:
        return JolietNames(), joliet.root
    return PlainNames(), primary.root


def _records(image: Image, block: int, length: int) -> Iterator[Record]:
    """The records of a directory, in order. Raises DriveError."""
    start = block * SECTOR
    data = image.read_directory(start, length, "directory")
    position = 0
    while position < length:
        sector_end = min(position - position % SECTOR + SECTOR, length)
        size = data[position]
        if size == 0:
            if data[position:sector_end].strip(b"\0"):
                raise DamagedDrive("directory", start + position, "bytes follow where its records end")
            position = sector_end
        elif position + size > sector_end:
            raise DamagedDrive("directory record", start + position, "it crosses the end of its sector")
        else:
            yield Record(data[position : position + size], start + position)
            position += size


class _Walk:
    """Takes one tree of directories apart, without recursion and each directory once."""

    def __init__(self, image: Image, harvest: Harvest, names: Names) -> None:
        self._image = image
        self._harvest = harvest
        self._names = names
        self._visited: set[int] = set()
        self._contents: dict[tuple[int, int], bytes] = {}

    def run(self, root: Record) -> None:
        """Walk from `root`. Raises DriveError."""
        pending: list[tuple[str, int, int | None, int]] = [("", root.block, root.length, root.offset)]
        while pending:
            path, block, length, offset = pending.pop()
            for entry in self._directory(path, block, length, offset):
                inner = f"{path}/{entry.name}" if path else entry.name
                if not self._harvest.is_wanted(inner):
                    continue
                if "/" in entry.name:
                    raise ForbiddenEntry(f"entry {entry.name!r}", entry.offset, "its name holds a `/`")
                self._harvest.enter(inner, entry.offset)
                if entry.is_directory:
                    pending.append((inner, entry.block, entry.length, entry.offset))
                else:
                    self._file(inner, entry)

    def _directory(self, path: str, block: int, length: int | None, offset: int) -> Iterator[Entry]:
        structure = f"directory {path!r}" if path else "root directory"
        if block in self._visited:
            raise DamagedDrive(structure, offset, "it is reached twice: the directories form a loop")
        self._visited.add(block)
        if length is None:
            length = next(_records(self._image, block, SECTOR)).length
        records = list(_records(self._image, block, length))
        if [record.name for record in records[:2]] != [b"\0", b"\1"]:
            raise DamagedDrive(structure, block * SECTOR, "it does not begin with the records `.` and `..`")
        if (records[0].block, records[0].length) != (block, length):
            raise DamagedDrive(structure, block * SECTOR, "its own `.` record gives another place or length")
        self._names.check(records[1])
        for record in records[2:]:
            check_flags(record)
            entry = self._names.entry(record)
            if entry is not None:
                yield entry

    def _file(self, path: str, entry: Entry) -> None:
        length = entry.length or 0
        self._harvest.reserve(path, length, entry.offset)
        # Writers store equal contents once: one copy in memory serves all paths.
        place = (entry.block, length)
        if length and place not in self._contents:
            self._contents[place] = self._image.read(entry.block * SECTOR, length, f"extent of {path!r}")
        self._harvest.put(path, self._contents[place] if length else b"")
