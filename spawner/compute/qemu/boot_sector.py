"""The 512 bytes that ask a processor whether it works: real mode, long mode, one 64-bit sum, answer.

It builds page tables, enters long mode, runs cpuid and a 64-bit shift, and writes the shift's result to the
isa-debug-exit port: QEMU ends with EXIT_STATUS only if all of it worked. No payload touches the host.
"""

from __future__ import annotations

import struct

_BASE = 0x7C00
_LONG_MODE = _BASE + 0x100
_GDT = _BASE + 0x180
_PML4, _PDPT, _PD = 0x1000, 0x2000, 0x3000

ANSWER = 0x11
EXIT_STATUS = ANSWER << 1 | 1
"""isa-debug-exit ends QEMU with (value << 1) | 1."""


def image() -> bytes:
    """The boot sector, ready to be a disk."""
    sector = bytearray(512)
    for offset, part in ((0, _real_mode()), (0x100, _long_mode()), (0x180, _descriptors())):
        sector[offset : offset + len(part)] = part
    sector[510:] = b"\x55\xaa"
    return bytes(sector)


def _real_mode() -> bytes:
    return b"".join(
        (
            bytes.fromhex("fa 31c0 8ed8 8ec0 8ed0 bc007c"),  # cli; ds = es = ss = 0; sp = 0x7c00
            bytes.fromhex("bf0010 b90018 fc f3ab"),  # zero 0x1000..0x3fff
            _store(_PML4, _PDPT | 3),
            _store(_PDPT, _PD | 3),
            _store(_PD, 0x83),  # one 2 MiB page, mapped onto itself
            _load_eax(0x20) + bytes.fromhex("0f22e0"),  # cr4.PAE
            _load_eax(_PML4) + bytes.fromhex("0f22d8"),  # cr3
            bytes.fromhex("66b9800000c0 0f32 660d00010000 0f30"),  # EFER.LME
            b"\x0f\x01\x16" + struct.pack("<H", _GDT + 24),  # lgdt
            _load_eax(0x80000011) + bytes.fromhex("0f22c0"),  # cr0: paging, protection
            b"\xea" + struct.pack("<HH", _LONG_MODE, 8),  # far jump into 64-bit code
        )
    )


def _long_mode() -> bytes:
    return b"".join(
        (
            bytes.fromhex("31c0 0fa2"),  # cpuid
            b"\x48\xb8" + struct.pack("<Q", 0x1122334455667788) + bytes.fromhex("48c1e838"),  # rax >>= 56
            bytes.fromhex("66baf400 ee"),  # out 0xf4, al
            bytes.fromhex("f4 ebfd"),  # halt for ever
        )
    )


def _descriptors() -> bytes:
    """Null, 64-bit code, data; then the pointer that lgdt reads."""
    table = struct.pack("<QQQ", 0, 0x00AF9A000000FFFF, 0x00CF92000000FFFF)
    return table + struct.pack("<HI", len(table) - 1, _GDT)


def _store(address: int, value: int) -> bytes:
    return b"\x66\xc7\x06" + struct.pack("<HI", address, value)


def _load_eax(value: int) -> bytes:
    return b"\x66\xb8" + struct.pack("<I", value)
