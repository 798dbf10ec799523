"""Names in a FAT directory: the 8.3 entry, and the long name in the entries before it.

Source: Microsoft's FAT specification 1.03, "FAT Long Directory Entries".
"""

from __future__ import annotations

from configdrive.errors import DamagedDrive

LAST = 0x40
_ORDER = 0x1F
_STRUCTURE = "long name entry"


def checksum(short: bytes) -> int:
    """The sum over the 11 bytes of an 8.3 name that ties long name entries to it."""
    total = 0
    for byte in short:
        total = ((total >> 1 | total << 7) + byte) & 0xFF
    return total


class Names:
    """Puts long names together, entry by entry."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._next_order = 0
        self._checksum = 0
        self.was_long = False

    def long_part(self, entry: bytes, offset: int) -> None:
        """Take one long name entry; they come last part first. Raises DamagedDrive."""
        order = entry[0] & _ORDER
        if entry[0] & LAST:
            self.expect_nothing(offset)
            self._checksum = entry[13]
        elif not self._parts or order != self._next_order or entry[13] != self._checksum:
            raise DamagedDrive(_STRUCTURE, offset, "it does not continue the one before it")
        if order == 0:
            raise DamagedDrive(_STRUCTURE, offset, "its number is 0")
        self._parts.insert(0, entry[1:11] + entry[14:26] + entry[28:32])
        self._next_order = order - 1

    def expect_nothing(self, offset: int) -> None:
        """No long name may be open here. Raises DamagedDrive."""
        if self._parts:
            raise DamagedDrive(_STRUCTURE, offset, "no 8.3 entry follows the long name")

    def take(self, entry: bytes, offset: int) -> str:
        """The name of the 8.3 entry `entry`. Raises DamagedDrive."""
        parts, self._parts = self._parts, []
        self.was_long = bool(parts)
        if not parts:
            return _short_name(entry, offset)
        if self._next_order != 0 or self._checksum != checksum(entry[:11]):
            raise DamagedDrive(_STRUCTURE, offset, "the long name before this entry belongs to another one")
        return _long_name(b"".join(parts), offset)


def _long_name(units: bytes, offset: int) -> str:
    try:
        name, _, padding = units.decode("utf-16-le").partition("\0")
    except UnicodeDecodeError as error:
        raise DamagedDrive(_STRUCTURE, offset, "it is not UTF-16") from error
    if padding.strip("\uffff"):
        raise DamagedDrive(_STRUCTURE, offset, "characters follow the end of the name")
    return name


def _short_name(entry: bytes, offset: int) -> str:
    """In lower case: names of drives are, and the kernel compares without case."""
    # 0x05 stands for 0xE5, which as a first byte would mean that the entry is free.
    raw = (b"\xe5" if entry[0] == 0x05 else entry[:1]) + entry[1:11]
    base, extension = raw[:8].rstrip(b" "), raw[8:].rstrip(b" ")
    name = base + b"." + extension if extension else base
    if not base or min(name) < 0x20:
        raise DamagedDrive("8.3 name", offset, "it is empty or holds control characters")
    return name.decode("ascii" if name.isascii() else "cp437").lower()
