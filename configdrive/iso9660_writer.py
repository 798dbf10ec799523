"""A config drive as ISO 9660 with Joliet and Rock Ridge, written in one pass; equal contents are stored once.

The image is, in blocks of 2,048 bytes:

    0-15    nothing (the system area)
    16-18   primary descriptor, Joliet descriptor, terminator
    19-     continuation areas: Rock Ridge names too long for a directory record (usually none)
            path tables and directories of the primary tree, then those of the Joliet tree
            contents, each one once

First both trees list their directories, which fixes all sizes; then blocks are given out; then everything is
written down. Source: ECMA-119, Joliet, IEEE P1281 and P1282 (RRIP_1991A). Why this writer exists:
docs/decisions/0020-one-pass-iso-writer.md.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from configdrive.iso9660_names import VERSION, joliet_names, plain_names
from configdrive.tree import Directory

BLOCK = 2048
_FIRST_FREE_BLOCK = 19
_SELF, _PARENT = b"\0", b"\1"
_LONGEST_RECORD = 254
_FILE_MODE, _DIRECTORY_MODE = 0o100444, 0o040555
# SP: Rock Ridge is in use and nothing is to be skipped. ER: its version, without which the kernel ignores it.
_SP = b"SP\x07\x01\xbe\xef\x00"
_ER = b"ER\x12\x01\x0a\x00\x00\x01RRIP_1991A"

Child = Directory | bytes
# Identifier, Rock Ridge part, what the record leads to.
Row = tuple[bytes, bytes, Child]
Identify = Callable[[Iterable[str]], dict[str, str]]


@dataclass
class _Listing:
    """A directory in one of the two trees; `parent` is its number in the path table, which counts from 1."""

    directory: Directory
    identifier: bytes
    parent: int
    rows: list[Row]
    block: int = 0
    length: int = 0


class RockRidge:
    """The Rock Ridge part of records. Names too long for one go to `continuation`, from block 19 on."""

    def __init__(self, date: bytes) -> None:
        self.continuation = bytearray()
        self._times = b"TF\x1a\x01\x0e" + date * 3
        self._file = _mode(_FILE_MODE, 1) + self._times

    def directory(self, directory: Directory) -> bytes:
        """What is said of a directory wherever a record leads to it."""
        links = 2 + sum(1 for _ in directory.directories())
        return _mode(_DIRECTORY_MODE, links) + self._times

    def root(self, directory: Directory) -> bytes:
        """As `directory`, in the root's own record, with the marks that Rock Ridge is in use."""
        return _SP + self.directory(directory) + _ER

    def entry(self, identifier: bytes, name: str, child: Child) -> bytes:
        """What is said of an entry of a directory, with its name."""
        attributes = self.directory(child) if isinstance(child, Directory) else self._file
        names = _name_entries(name.encode())
        if _record_length(identifier, attributes + names) <= _LONGEST_RECORD:
            return attributes + names
        return attributes + self._continue(names)

    def _continue(self, entries: bytes) -> bytes:
        """The entry that leads to `entries` in a continuation area; an area may not cross a block."""
        room = -len(self.continuation) % BLOCK
        if room < len(entries):
            self.continuation += bytes(room)
        block, offset = divmod(len(self.continuation), BLOCK)
        self.continuation += entries
        return b"CE\x1c\x01" + _both(_FIRST_FREE_BLOCK + block) + _both(offset) + _both(len(entries))


class Bare:
    """No extension: the records of the Joliet tree."""

    def directory(self, _directory: Directory) -> bytes:
        """Nothing."""
        return b""

    root = directory

    def entry(self, _identifier: bytes, _name: str, _child: Child) -> bytes:
        """Nothing."""
        return b""


@dataclass(frozen=True)
class _Kind:
    """One of the two trees: the type byte of its descriptor, its names and texts, its character set."""

    type: int
    identify: Identify
    encoding: str
    escapes: bytes


_PRIMARY = _Kind(1, plain_names, "ascii", b"")
_JOLIET = _Kind(2, joliet_names, "utf-16-be", b"%/E")


def write(root: Directory, label: str, date_s: int) -> bytes:
    """The image of the checked tree `root`; `date_s` (seconds since 1970, UTC) dates everything in it."""
    date = _short_date(date_s)
    rock_ridge = RockRidge(date)
    trees = [(_PRIMARY, _list(root, _PRIMARY, rock_ridge)), (_JOLIET, _list(root, _JOLIET, Bare()))]
    block = _FIRST_FREE_BLOCK + _blocks(len(rock_ridge.continuation))
    for _, listings in trees:
        block = _place(listings, block)
    contents, blocks = _store(trees[0][1], block)
    parts = [bytes(16 * BLOCK)]
    parts += [_descriptor(kind, label, listings, blocks, date_s) for kind, listings in trees]
    parts += [b"\xffCD001\x01".ljust(BLOCK, b"\0"), bytes(rock_ridge.continuation)]
    for _, listings in trees:
        parts += [_path_table(listings, "<"), _path_table(listings, ">")]
        parts += _directories(listings, contents, date)
    return b"".join(_padded(part) for part in (*parts, *contents))


def _list(root: Directory, kind: _Kind, extension: RockRidge | Bare) -> list[_Listing]:
    """Every directory with its records, in the order of the path table: breadth first, then by identifier."""
    listings: list[_Listing] = []
    found = [(root, root, _SELF, 1)]
    for directory, above, identifier, parent in found:
        own = extension.directory(directory) if listings else extension.root(directory)
        rows: list[Row] = [(_SELF, own, directory), (_PARENT, extension.directory(above), above)]
        rows += _rows(directory, kind, extension)
        length = _packed_length(_record_length(identifier, area) for identifier, area, _ in rows)
        listings.append(_Listing(directory, identifier, parent, rows, length=length))
        number = len(listings)
        found += [
            (child, directory, name, number) for name, _, child in rows[2:] if isinstance(child, Directory)
        ]
    return listings


def _rows(directory: Directory, kind: _Kind, extension: RockRidge | Bare) -> list[Row]:
    rows: list[Row] = []
    identifiers = kind.identify(directory.entries)
    for name, child in directory.entries.items():
        text = identifiers[name] if isinstance(child, Directory) else identifiers[name] + VERSION
        identifier = text.encode(kind.encoding)
        rows.append((identifier, extension.entry(identifier, name, child), child))
    # The standard compares name before extension, padded with spaces: so the dot sorts as a space does.
    return sorted(rows, key=lambda row: row[0].replace(b".", b" "))


def _place(listings: list[_Listing], block: int) -> int:
    """Give out blocks: two path tables from `block` on, then the directories. Returns the next free block."""
    block += 2 * _blocks(len(_path_table(listings, "<")))
    for listing in listings:
        listing.block = block
        block += listing.length // BLOCK
    return block


def _store(listings: list[_Listing], block: int) -> tuple[dict[bytes, int], int]:
    """Content -> the block where it begins, each content once; and the number of blocks of the image."""
    contents: dict[bytes, int] = {}
    for listing in listings:
        for _, _, child in listing.rows:
            if isinstance(child, bytes) and child not in contents:
                contents[child] = block
                block += _blocks(len(child))
    return contents, block


def _directories(listings: list[_Listing], contents: dict[bytes, int], date: bytes) -> list[bytes]:
    places = {id(listing.directory): (listing.block, listing.length) for listing in listings}
    written = []
    for listing in listings:
        records = bytearray()
        for identifier, area, child in listing.rows:
            if isinstance(child, bytes):
                record = _record(identifier, area, contents[child], len(child), 0, date)
            else:
                record = _record(identifier, area, *places[id(child)], 2, date)
            room = -len(records) % BLOCK
            # A record may not cross a block.
            records += record if len(record) <= room or not room else bytes(room) + record
        written.append(bytes(records))
    return written


def _record(identifier: bytes, area: bytes, block: int, length: int, flags: int, date: bytes) -> bytes:
    size = _record_length(identifier, area)
    padding = b"" if len(identifier) % 2 else b"\0"
    head = bytes((size, 0)) + _both(block) + _both(length) + date
    tail = bytes((flags, 0, 0, 1, 0, 0, 1, len(identifier)))
    return (head + tail + identifier + padding + area).ljust(size, b"\0")


def _record_length(identifier: bytes, area: bytes) -> int:
    padded = 33 + len(identifier) + 1 - len(identifier) % 2 + len(area)
    return padded + padded % 2


def _packed_length(lengths: Iterable[int]) -> int:
    """Bytes of a directory, whole blocks, whose records have these lengths."""
    total = 0
    for length in lengths:
        room = -total % BLOCK
        total += length if length <= room or not room else room + length
    return _blocks(total) * BLOCK


def _path_table(listings: list[_Listing], order: str) -> bytes:
    table = bytearray()
    for listing in listings:
        identifier = listing.identifier
        table += struct.pack(f"{order}BBIH", len(identifier), 0, listing.block, listing.parent)
        table += identifier + bytes(len(identifier) % 2)
    return bytes(table)


def _descriptor(kind: _Kind, label: str, listings: list[_Listing], blocks: int, date_s: int) -> bytes:
    """A volume descriptor, ECMA-119 8.4 and 8.5."""
    root = listings[0]
    length = len(_path_table(listings, "<"))
    tables = root.block - 2 * _blocks(length)
    space = " ".encode(kind.encoding)

    def text(value: str, size: int) -> bytes:
        return (value.encode(kind.encoding) + space * size)[:size]

    date = time.strftime("%Y%m%d%H%M%S00", time.gmtime(date_s)).encode() + b"\0"
    never = b"0" * 16 + b"\0"
    return b"".join(
        (
            bytes((kind.type,)) + b"CD001\x01\0",
            text("LINUX", 32) + text(label, 32) + bytes(8) + _both(blocks),
            kind.escapes.ljust(32, b"\0"),
            _both16(1) + _both16(1) + _both16(BLOCK) + _both(length),
            struct.pack("<II", tables, 0) + struct.pack(">II", tables + _blocks(length), 0),
            _record(_SELF, b"", root.block, root.length, 2, _short_date(date_s)),
            text("", 128) * 4,  # volume set, publisher, preparer, application
            text("", 37) * 3,  # copyright, abstract, bibliography
            date + date + never + never + b"\x01",
        )
    )


def _mode(mode: int, links: int) -> bytes:
    return b"PX\x24\x01" + _both(mode) + _both(links) + bytes(16)


def _name_entries(name: bytes) -> bytes:
    """NM entries of at most 250 bytes each; the first of two says that the name goes on."""
    if len(name) <= 250:
        return bytes((78, 77, 5 + len(name), 1, 0)) + name
    return b"NM\xff\x01\x01" + name[:250] + _name_entries(name[250:])


def _short_date(date_s: int) -> bytes:
    moment = time.gmtime(date_s)
    return bytes((moment.tm_year - 1900, *moment[1:6], 0))


def _both(number: int) -> bytes:
    return number.to_bytes(4, "little") + number.to_bytes(4, "big")


def _both16(number: int) -> bytes:
    return number.to_bytes(2, "little") + number.to_bytes(2, "big")


def _blocks(length: int) -> int:
    return -(-length // BLOCK)


def _padded(part: bytes) -> bytes:
    return part + bytes(-len(part) % BLOCK)
