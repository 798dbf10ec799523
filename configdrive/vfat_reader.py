"""FAT12, FAT16 and FAT32 with long names, read by ourselves: bounded, without mounting, whole or not at all.

Source: Microsoft's FAT specification 1.03; faults-and-threats CD-06, CD-11.
"""

from __future__ import annotations

from configdrive.errors import DamagedDrive, DriveLimit, TruncatedDrive
from configdrive.vfat_names import Names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from configdrive.harvest import Harvest
    from configdrive.source import Image

ENTRY = 32
BOOT = "FAT boot sector"
_VOLUME, _DIRECTORY, _LONG = 0x08, 0x10, 0x0F
_SECTORS = (512, 1024, 2048, 4096)
_FAT12_CLUSTERS, _FAT16_CLUSTERS = 4085, 65525
_FREE, _END = 0xE5, 0x00


class Layout:
    """Where everything is, by the boot sector."""

    def __init__(self, boot: bytes) -> None:
        self.sector = _word(boot, 11)
        self.cluster = self.sector * boot[13]
        reserved = _word(boot, 14)
        self.copies = boot[16]
        self.root_bytes = _word(boot, 17) * ENTRY
        sectors = _word(boot, 19) or _long(boot, 32)
        self.media = boot[21]
        fat_sectors = _word(boot, 22) or _long(boot, 36)
        self.size = sectors * self.sector
        self.fat_at = reserved * self.sector
        self.fat_bytes = fat_sectors * self.sector
        self.root_at = self.fat_at + self.copies * self.fat_bytes
        # The root directory of FAT12 and FAT16 fills whole sectors.
        self.data_at = self.root_at + -(-self.root_bytes // self.sector) * self.sector
        self.clusters = (self.size - self.data_at) // self.cluster
        self.bits = 12 if self.clusters < _FAT12_CLUSTERS else 16 if self.clusters < _FAT16_CLUSTERS else 32
        self.root_cluster = _long(boot, 44) if self.bits == 32 else 0
        extended = 64 if self.bits == 32 else 36
        self.label = _label(boot[extended + 7 : extended + 18]) if boot[extended + 2] == 0x29 else None

    def check(self, image: Image) -> None:
        """Raises DriveLimit, TruncatedDrive, DamagedDrive where it cannot be the layout of `image`."""
        if self.size > image.limits.image_bytes:
            raise DriveLimit(BOOT, 19, "image_bytes", image.limits.image_bytes)
        if self.size > image.size:
            raise TruncatedDrive("FAT volume", 0, self.size, image.size)
        if self.clusters < 1 or self.fat_bytes * 8 < (self.clusters + 2) * self.bits:
            raise DamagedDrive(BOOT, 19, "its tables do not fit its number of sectors")
        if (self.bits == 32) != (self.root_bytes == 0):
            raise DamagedDrive(BOOT, 17, f"its root directory is not that of FAT{self.bits}")


class Table:
    """The file allocation table: which cluster follows which. No cluster is handed out twice."""

    def __init__(self, image: Image, layout: Layout) -> None:
        used = -(-(layout.clusters + 2) * layout.bits // 8)
        starts = [layout.fat_at + number * layout.fat_bytes for number in range(layout.copies)]
        copies = [image.read(start, used, "file allocation table") for start in starts]
        if copies[-1] != copies[0]:
            raise DamagedDrive("file allocation table", starts[-1], "its copies differ")
        if copies[0][0] != layout.media:
            raise DamagedDrive(
                "file allocation table", layout.fat_at, "it does not begin with the media byte"
            )
        self._data = copies[0]
        self._layout = layout
        self._taken = bytearray(layout.clusters + 2)

    def chain(self, first: int, structure: str, offset: int) -> list[int]:
        """The clusters from `first` to the end of the chain. Raises DamagedDrive."""
        chain = []
        cluster = first
        while True:
            if not 2 <= cluster < self._layout.clusters + 2:
                raise DamagedDrive(
                    structure, offset, f"its chain leads to cluster {cluster}, which does not exist"
                )
            if self._taken[cluster]:
                raise DamagedDrive(
                    structure, offset, f"its chain runs into cluster {cluster}, which is in use already"
                )
            self._taken[cluster] = 1
            chain.append(cluster)
            cluster = self._next(cluster)
            if cluster >= self._last:
                return chain

    @property
    def _last(self) -> int:
        """The smallest number that ends a chain."""
        return {12: 0xFF8, 16: 0xFFF8, 32: 0x0FFFFFF8}[self._layout.bits]

    def _next(self, cluster: int) -> int:
        if self._layout.bits == 16:
            return _word(self._data, cluster * 2)
        if self._layout.bits == 32:
            return _long(self._data, cluster * 4) & 0x0FFFFFFF
        pair = _word(self._data, cluster + cluster // 2)
        return pair >> 4 if cluster % 2 else pair & 0xFFF


def is_vfat(image: Image) -> bool:
    """Whether the first sector is a FAT boot sector."""
    if image.size < 512:
        return False
    boot = image.read(0, 512, BOOT)
    return (
        boot[510:] == b"\x55\xaa"
        and _word(boot, 11) in _SECTORS
        and boot[13] in {1, 2, 4, 8, 16, 32, 64, 128}
        and _word(boot, 14) > 0
        and boot[16] in {1, 2}
        and boot[21] >= 0xF0
        and (_word(boot, 22) or _long(boot, 36)) > 0
        and (_word(boot, 19) or _long(boot, 32)) > 0
    )


def label(image: Image) -> str | None:
    """The label of the root directory, else of the boot sector; reads the root directory's first part.

    The limits on size do not hold here: that a disk is too large is said when it is read.
    """
    layout = Layout(image.read(0, 512, BOOT))
    if layout.bits == 32:
        start = layout.data_at + (layout.root_cluster - 2) * layout.cluster
        root = image.read_directory(start, layout.cluster, "root directory")
    else:
        root = image.read_directory(layout.root_at, layout.root_bytes, "root directory")
    return _root_label(root) or layout.label


def read(image: Image, harvest: Harvest) -> tuple[str | None, str]:
    """Put every file into `harvest`. Returns the label and where names came from. Raises DriveError."""
    layout = Layout(image.read(0, 512, BOOT))
    layout.check(image)
    walk = _Walk(image, layout, harvest)
    root_label = walk.run()
    return root_label or layout.label, "8.3" if walk.has_only_short_names else "long"


class _Walk:
    """Takes the directories apart, without recursion."""

    def __init__(self, image: Image, layout: Layout, harvest: Harvest) -> None:
        self._image = image
        self._layout = layout
        self._harvest = harvest
        self._table = Table(image, layout)
        self.has_only_short_names = True

    def run(self) -> str | None:
        """Walk from the root; returns the label kept there. Raises DriveError."""
        root, at = self._root()
        # Path, first cluster, that of the parent (0: the root), offset of the entry that leads there.
        self._pending: list[tuple[str, int, int, int]] = []
        self._directory("", 0, root, at)
        while self._pending:
            path, cluster, parent, offset = self._pending.pop()
            data, at = self._clusters(cluster, f"directory {path!r}", offset)
            own, up = data[:ENTRY], data[ENTRY : 2 * ENTRY]
            is_whole = own[:11] == b".          " and up[:11] == b"..         "
            if not is_whole or (self._first_cluster(own), self._first_cluster(up)) != (cluster, parent):
                problem = "it does not begin with its own entries `.` and `..`"
                raise DamagedDrive(f"directory {path!r}", at[0], problem)
            self._directory(path, cluster, data, at)
        return _root_label(root)

    def _root(self) -> tuple[bytes, list[int]]:
        if self._layout.bits == 32:
            return self._clusters(self._layout.root_cluster, "root directory", 44)
        at = self._layout.root_at
        return self._image.read_directory(at, self._layout.root_bytes, "root directory"), [at]

    def _clusters(self, first: int, structure: str, offset: int) -> tuple[bytes, list[int]]:
        """The bytes of a directory, and where each of its clusters lies."""
        places = [self._place(cluster) for cluster in self._table.chain(first, structure, offset)]
        return b"".join(
            self._image.read_directory(at, self._layout.cluster, structure) for at in places
        ), places

    def _place(self, cluster: int) -> int:
        return self._layout.data_at + (cluster - 2) * self._layout.cluster

    def _directory(self, path: str, own: int, data: bytes, places: list[int]) -> None:
        names = Names()
        for entry, offset in _entries(data, places, len(data) // len(places)):
            if entry[0] in {_FREE, _END}:
                names.expect_nothing(offset)
            elif entry[11] & 0x3F == _LONG:
                names.long_part(entry, offset)
            elif entry[11] & _VOLUME:
                names.expect_nothing(offset)
            elif entry[:1] != b"." or entry[:11].rstrip() not in {b".", b".."}:
                self._entry(path, own, names.take(entry, offset), entry, offset)
                self.has_only_short_names &= not names.was_long
        names.expect_nothing(places[-1])

    def _entry(self, path: str, parent: int, name: str, entry: bytes, offset: int) -> None:
        inner = f"{path}/{name}" if path else name
        # Clusters of unwanted entries are not followed, so crossed chains there go unseen.
        if not self._harvest.is_wanted(inner):
            return
        self._harvest.enter(inner, offset)
        cluster = self._first_cluster(entry)
        if entry[11] & _DIRECTORY:
            self._pending.append((inner, cluster, parent, offset))
        else:
            self._file(inner, cluster, _long(entry, 28), offset)

    def _first_cluster(self, entry: bytes) -> int:
        high = _word(entry, 20) << 16 if self._layout.bits == 32 else 0
        return high | _word(entry, 26)

    def _file(self, path: str, first: int, length: int, offset: int) -> None:
        structure = f"entry {path!r}"
        self._harvest.reserve(path, length, offset)
        if (first == 0) != (length == 0):
            raise DamagedDrive(structure, offset, f"it has {length} bytes and begins at cluster {first}")
        chain = self._table.chain(first, structure, offset) if first else []
        needed = -(-length // self._layout.cluster)
        if len(chain) != needed:
            raise DamagedDrive(
                structure, offset, f"its chain has {len(chain)} clusters, its {length} bytes need {needed}"
            )
        pieces = [
            self._image.read(self._place(cluster), self._layout.cluster, structure) for cluster in chain
        ]
        self._harvest.put(path, b"".join(pieces)[:length])


def _entries(data: bytes, places: list[int], size: int) -> Iterator[tuple[bytes, int]]:
    """(entry, offset) up to and with the one that ends the directory. Raises DamagedDrive."""
    for position in range(0, len(data), ENTRY):
        offset = places[position // size] + position % size
        yield data[position : position + ENTRY], offset
        if data[position] == _END:
            if data[position:].strip(b"\0"):
                raise DamagedDrive("directory", offset, "entries follow where it ends")
            return


def _root_label(root: bytes) -> str | None:
    for position in range(0, len(root), ENTRY):
        entry = root[position : position + ENTRY]
        if entry[0] == _END:
            return None
        if entry[0] != _FREE and entry[11] & 0x3F != _LONG and entry[11] & (_VOLUME | _DIRECTORY) == _VOLUME:
            return _label(entry[:11])
    return None


def _label(field: bytes) -> str | None:
    text = field.decode("ascii", "replace").rstrip(" \0")
    return None if text in {"", "NO NAME"} else text


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _long(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")
