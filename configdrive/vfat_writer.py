"""A config drive as FAT12 or FAT16 with long names, in pure Python: no root, no mount, no mtools.

The image is: boot sector, two file allocation tables, root directory, then clusters of 2 KiB: each directory
and each file in one piece, in order of path. Source: Microsoft's FAT specification 1.03; metadata-service 8.
"""

from __future__ import annotations

import struct
import time
import zlib
from array import array
from dataclasses import dataclass

from configdrive.errors import UnbuildableTree
from configdrive.source import MIB
from configdrive.tree import Directory
from configdrive.vfat_naming import encode_names

_SECTOR = 512
_SECTORS_PER_CLUSTER = 4
_CLUSTER = _SECTOR * _SECTORS_PER_CLUSTER
_ENTRY = 32
_LEAST_ROOT_ENTRIES = 512
_MOST_ROOT_ENTRIES = 65_520
_FAT12_CLUSTERS = 4085
_READ_ONLY, _LABEL, _DIRECTORY = 0x01, 0x08, 0x10
_SERIAL_AT = 39


@dataclass(frozen=True)
class _Geometry:
    """How many of what, for a size in MiB and a root directory."""

    sectors: int
    root_entries: int
    fat_sectors: int
    clusters: int

    @property
    def bits(self) -> int:
        """Width of an entry of the file allocation table."""
        return 12 if self.clusters < _FAT12_CLUSTERS else 16


def write(root: Directory, label: str, date_s: int, size_mib: int) -> bytes:
    """The used part of the image of the checked tree `root`; zeros up to `size_mib` follow it.

    Raises UnbuildableTree for names that FAT cannot hold and for more than fits.
    """
    stamp = _stamp(date_s)
    root_names = encode_names("", root.entries)
    root_size = sum(len(name) for name in root_names.values()) // _ENTRY + 1 + len(root_names)
    geometry = _geometry(size_mib, root_size)
    clusters = _Clusters(geometry, stamp)
    entries = _entry(label.encode().ljust(11), _LABEL, stamp, 0, 0)
    entries += clusters.entries("", root, 0, root_names)
    tables = clusters.table().ljust(geometry.fat_sectors * _SECTOR, b"\0")
    body = tables * 2 + entries.ljust(geometry.root_entries * _ENTRY, b"\0") + clusters.data()
    return _boot_sector(geometry, label, zlib.crc32(body)) + body


def _geometry(size_mib: int, root_size: int) -> _Geometry:
    """Room for `root_size` entries in the root directory, the rest for clusters."""
    sectors = size_mib * MIB // _SECTOR
    per_sector = _SECTOR // _ENTRY
    root_entries = max(_LEAST_ROOT_ENTRIES, -(-root_size // per_sector) * per_sector)
    if root_entries > _MOST_ROOT_ENTRIES:
        raise UnbuildableTree(
            "/", f"{root_size:,} entries in the root directory", "Put the files into directories"
        )
    free = sectors - 1 - root_entries // per_sector
    # Wide enough for 16 bits; with 12 the table is a little larger than it has to be.
    fat_sectors = -(-(free // _SECTORS_PER_CLUSTER + 2) * 2 // _SECTOR)
    clusters = (free - 2 * fat_sectors) // _SECTORS_PER_CLUSTER
    return _Geometry(sectors, root_entries, fat_sectors, clusters)


class _Clusters:
    """Hands out clusters one after the other and remembers the chains."""

    def __init__(self, geometry: _Geometry, stamp: bytes) -> None:
        self._geometry = geometry
        self._stamp = stamp
        self._next = array("H", (0xFFF8, 0xFFFF))
        self._data: list[bytes] = []

    def entries(self, path: str, directory: Directory, own_cluster: int, names: dict[str, bytes]) -> bytes:
        """The entries of a directory; puts what they lead to into clusters. Raises UnbuildableTree."""
        written = bytearray()
        for name, child in directory.entries.items():
            inner = f"{path}/{name}" if path else name
            long_and_short = names[name]
            written += long_and_short[:-11]
            if isinstance(child, Directory):
                cluster = self._directory(inner, child, own_cluster)
                written += _entry(long_and_short[-11:], _DIRECTORY, self._stamp, cluster, 0)
            else:
                cluster = self._place(inner, child)
                written += _entry(long_and_short[-11:], _READ_ONLY, self._stamp, cluster, len(child))
        return bytes(written)

    def table(self) -> bytes:
        """The used part of the file allocation table."""
        if self._geometry.bits == 16:
            return struct.pack(f"<{len(self._next)}H", *self._next)
        packed = bytearray()
        for even, odd in zip(self._next[::2], [*self._next[1::2], 0], strict=False):
            packed += (even & 0xFFF | (odd & 0xFFF) << 12).to_bytes(3, "little")
        return bytes(packed)

    def data(self) -> bytes:
        """The used clusters."""
        return b"".join(self._data)

    def _directory(self, path: str, directory: Directory, parent: int) -> int:
        names = encode_names(path, directory.entries)
        size = 2 * _ENTRY + sum(len(name) - 11 + _ENTRY for name in names.values())
        # The directory's own clusters come first: its entries tell their children where it is.
        slot = len(self._data)
        cluster = self._place(path, bytes(size))
        written = _entry(b".".ljust(11), _DIRECTORY, self._stamp, cluster, 0)
        written += _entry(b"..".ljust(11), _DIRECTORY, self._stamp, parent, 0)
        written += self.entries(path, directory, cluster, names)
        self._data[slot] = written.ljust(len(self._data[slot]), b"\0")
        return cluster

    def _place(self, path: str, content: bytes) -> int:
        """The first cluster of `content`; 0 for nothing."""
        count = -(-len(content) // _CLUSTER)
        if count == 0:
            return 0
        first = len(self._next)
        if first + count > self._geometry.clusters + 2:
            room = self._geometry.clusters * _CLUSTER
            raise UnbuildableTree(
                path, f"it does not fit: the drive has room for {room:,} bytes", "Make the drive larger"
            )
        self._next.extend(range(first + 1, first + count))
        self._next.append(0xFFFF)
        self._data.append(content.ljust(count * _CLUSTER, b"\0"))
        return first


def _entry(short: bytes, attributes: int, stamp: bytes, cluster: int, size: int) -> bytes:
    created_and_read = b"\0" + stamp + stamp[2:]
    return (
        short
        + bytes((attributes, 0))
        + created_and_read
        + b"\0\0"
        + stamp
        + struct.pack("<HI", cluster, size)
    )


def _stamp(date_s: int) -> bytes:
    """Time and date as FAT stores them: two seconds exact, 1980 to 2107."""
    year, month, day, hour, minute, second = time.gmtime(date_s)[:6]
    year = min(max(year, 1980), 2107)
    return struct.pack("<HH", hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day)


def _boot_sector(geometry: _Geometry, label: str, serial: int) -> bytes:
    """`serial` numbers the volume; made from its content, so that equal drives are equal."""
    is_small = geometry.sectors < 0x10000
    sector = b"\xeb\x3c\x90GUESTLNG" + struct.pack(
        "<HBHBHHBHHHII",
        _SECTOR,
        _SECTORS_PER_CLUSTER,
        1,  # reserved sectors
        2,  # file allocation tables
        geometry.root_entries,
        geometry.sectors if is_small else 0,
        0xF8,  # a fixed disk
        geometry.fat_sectors,
        32,  # sectors a track and heads: mtools wants a whole number of tracks
        64,
        0,
        0 if is_small else geometry.sectors,
    )
    sector += struct.pack("<BBBI", 0x80, 0, 0x29, serial)
    sector += label.encode().ljust(11) + f"FAT{geometry.bits}".encode().ljust(8)
    return sector.ljust(510, b"\0") + b"\x55\xaa"
