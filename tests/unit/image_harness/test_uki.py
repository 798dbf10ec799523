"""A unified kernel image, of a stub that is as small as a PE file can be."""

from __future__ import annotations

import struct

import pytest

from image_harness.bootable import uki
from image_harness.errors import UnsupportedHost

PE, OPTIONAL_SIZE, HEADERS = 0x40, 112, 0x400
TABLE = PE + 24 + OPTIONAL_SIZE


def _stub(headers: int = HEADERS) -> bytes:
    image = bytearray(HEADERS)
    image[:2] = b"MZ"
    struct.pack_into("<I", image, 0x3C, PE)
    image[PE : PE + 4] = b"PE\0\0"
    struct.pack_into("<H", image, PE + 6, 1)
    struct.pack_into("<H", image, PE + 20, OPTIONAL_SIZE)
    struct.pack_into("<II", image, PE + 24 + 32, 0x1000, 0x200)
    struct.pack_into("<I", image, PE + 24 + 60, headers)
    struct.pack_into("<8sIIII", image, TABLE, b".text", 0x1234, 0x1000, 0x200, HEADERS)
    return bytes(image) + b"T" * 0x200


def _sections(image: bytes) -> dict[str, tuple[int, bytes]]:
    """Name -> address in memory, content."""
    count = struct.unpack_from("<H", image, PE + 6)[0]
    found = {}
    for index in range(count):
        name, size, address, _, at = struct.unpack_from("<8sIIII", image, TABLE + 40 * index)
        found[name.rstrip(b"\0").decode()] = (address, image[at : at + size])
    return found


def test_sections_come_behind_those_of_the_stub_and_do_not_overlap() -> None:
    whole = uki.join(_stub(), [(".cmdline", b"root=x\0"), (".linux", b"K" * 5000), (".initrd", b"I")])
    found = _sections(whole)
    assert list(found) == [".text", ".cmdline", ".linux", ".initrd"]
    assert found[".cmdline"] == (0x3000, b"root=x\0")
    assert found[".linux"] == (0x4000, b"K" * 5000)
    assert found[".initrd"] == (0x6000, b"I")
    assert struct.unpack_from("<I", whole, PE + 24 + 56)[0] == 0x7000, (
        "the size in memory, up to a whole page"
    )


def test_what_is_no_stub_and_one_without_room_are_refused() -> None:
    with pytest.raises(UnsupportedHost, match="no PE file"):
        uki.join(b"\0" * 0x400, [(".linux", b"K")])
    with pytest.raises(UnsupportedHost, match="has no room"):
        uki.join(_stub(headers=TABLE + 50), [(".linux", b"K")])
