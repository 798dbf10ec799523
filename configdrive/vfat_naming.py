"""Names for a FAT directory that is being written: the 8.3 name, and the entries that hold the long one.

Source: Microsoft's FAT specification 1.03, "FAT Long Directory Entries".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from configdrive.errors import UnbuildableTree
from configdrive.vfat_names import LAST, checksum

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST = 255
# U+FFFF is what fills up a long name's last entry: a name that holds it is one that readers end earlier.
_UNSAFE = re.compile(r'[\x00-\x1f"*/:<>?\\|\uffff]')
_SHORT_UNSAFE = re.compile(r"[^A-Z0-9!#$%&'()@^_`{}~-]")


def encode_names(path: str, names: Iterable[str]) -> dict[str, bytes]:
    """Name -> its long name entries, then the 11 bytes of its 8.3 name.

    `path` is their directory, for the error. Raises UnbuildableTree for names FAT cannot tell apart or hold.
    """
    folded: set[str] = set()
    shorts = _ShortNames()
    encoded = {}
    for name in names:
        inner = f"{path}/{name}" if path else name
        _check(name, inner)
        if name.upper() in folded:
            raise UnbuildableTree(
                inner, "FAT does not tell it from another name in other case", "Rename one of them"
            )
        folded.add(name.upper())
        short = shorts.take(name)
        # Also for an upper-case 8.3 name: readers show such a name in lower case if it stands alone.
        encoded[name] = _long_entries(name, short) + short
    return encoded


def _check(name: str, path: str) -> None:
    if _UNSAFE.search(name) or name[-1] in ". ":
        problem = "its name holds a character that FAT cannot store, or ends in a dot or a space"
        raise UnbuildableTree(path, problem, "Rename it, or build ISO 9660")
    if len(name.encode("utf-16-le")) > 2 * _LONGEST:
        raise UnbuildableTree(
            path, f"its name has more than {_LONGEST} UTF-16 units", "Shorten it, or build ISO 9660"
        )


class _ShortNames:
    """The 8.3 names of one directory."""

    def __init__(self) -> None:
        self._taken: set[bytes] = set()
        self._next: dict[str, int] = {}

    def take(self, name: str) -> bytes:
        """The name itself in upper case where it fits and is free, else `SIX~1.EXT`."""
        stem, _, extension = name.upper().lstrip(".").rpartition(".")
        if not stem:
            stem, extension = extension, ""
        base, end = _SHORT_UNSAFE.sub("_", stem), _SHORT_UNSAFE.sub("_", extension)[:3].ljust(3)
        short = f"{base:8}{end}".encode()
        if len(base) > 8 or _short_text(short) != name.upper() or short in self._taken:
            short = self._numbered(base[:6], end)
        self._taken.add(short)
        return short

    def _numbered(self, base: str, end: str) -> bytes:
        while True:
            number = self._next[base] = self._next.get(base, 0) + 1
            tail = f"~{number}"
            short = f"{base[: 8 - len(tail)] + tail:8}{end}".encode()
            if short not in self._taken:
                return short


def _short_text(short: bytes) -> str:
    base, end = short[:8].decode().rstrip(), short[8:].decode().rstrip()
    return f"{base}.{end}" if end else base


def _long_entries(name: str, short: bytes) -> bytes:
    """Long name entries of 13 UTF-16 units, last part first."""
    units = name.encode("utf-16-le")
    if len(units) % 26:
        units = (units + b"\0\0").ljust(-(-len(units) // 26) * 26, b"\xff")
    parts = [units[start : start + 26] for start in range(0, len(units), 26)]
    entries = bytearray()
    for order in range(len(parts), 0, -1):
        part = parts[order - 1]
        first = order | LAST if order == len(parts) else order
        entries += (
            bytes((first,))
            + part[:10]
            + bytes((0x0F, 0, checksum(short)))
            + part[10:22]
            + b"\0\0"
            + part[22:]
        )
    return bytes(entries)
