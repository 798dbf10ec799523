"""A unified kernel image: systemd's EFI stub with kernel, initrd and command line as sections of it.

Source: the UAPI group's UKI specification; Microsoft's PE format (offsets of the headers).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from image_harness.errors import UnsupportedHost

_PE_OFFSET_AT = 0x3C
_COFF = 24  # the PE signature and the COFF header
_SECTION = struct.Struct("<8sIIIIIIHHI")
_INITIALIZED_READABLE = 0x4000_0040


def join(stub: bytes, sections: Sequence[tuple[str, bytes]]) -> bytes:
    """The stub with these sections behind its own. Raises UnsupportedHost for what is no stub."""
    image = bytearray(stub)
    pe = struct.unpack_from("<I", image, _PE_OFFSET_AT)[0]
    if image[:2] != b"MZ" or image[pe : pe + 4] != b"PE\0\0":
        raise UnsupportedHost(
            "uki", "the EFI stub is no PE file", "Fetch it anew: delete loaders in the cache"
        )
    count, optional_size = (
        struct.unpack_from("<H", image, pe + 6)[0],
        struct.unpack_from("<H", image, pe + 20)[0],
    )
    optional = pe + _COFF
    section_alignment, file_alignment = struct.unpack_from("<II", image, optional + 32)
    headers_end = struct.unpack_from("<I", image, optional + 60)[0]
    table = optional + optional_size
    if table + (count + len(sections)) * _SECTION.size > headers_end:
        raise UnsupportedHost("uki", "the EFI stub's header has no room", "Use a stub of another systemd")
    address = max(_end_in_memory(image, table, index) for index in range(count))
    for index, (name, content) in enumerate(sections, start=count):
        address = _aligned(address, section_alignment)
        image.extend(bytes(_aligned(len(image), file_alignment) - len(image)))
        raw_size = _aligned(len(content), file_alignment)
        row = (name.encode(), len(content), address, raw_size, len(image), 0, 0, 0, 0, _INITIALIZED_READABLE)
        _SECTION.pack_into(image, table + index * _SECTION.size, *row)
        image.extend(content + bytes(raw_size - len(content)))
        address += len(content)
    struct.pack_into("<H", image, pe + 6, count + len(sections))
    struct.pack_into("<I", image, optional + 56, _aligned(address, section_alignment))
    return bytes(image)


def _end_in_memory(image: bytearray, table: int, index: int) -> int:
    _, size, address, *_ = _SECTION.unpack_from(image, table + index * _SECTION.size)
    return int(size) + int(address)


def _aligned(value: int, to: int) -> int:
    return -(-value // to) * to
