"""What a qcow2 header may say: a table of rules, read before any tool of QEMU opens the file (SP-09, SP-11).

oslo.utils refuses what reaches outside the file; these refuse what lies about the file itself, or asks for
more than anybody gives. Source: QEMU's docs/interop/qcow2.txt.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

HEADER_BYTES = 72
"""What both versions have."""
LARGEST_DISK = 64 << 40
"""Bytes that a disk may have: more is a slip or an attack, and QEMU's tables of it alone fill a memory."""
LARGEST_TABLE = 32 << 20
"""QEMU's own limit of a first-level table, in bytes."""
CLUSTER_BITS = range(9, 22)
_FIELDS = struct.Struct(">4sIQIIQIIQQIIQ")


@dataclass(frozen=True)
class Header:
    """The fields that the rules look at; offsets and sizes in bytes, `l1_size` in entries of 8 bytes."""

    cluster_bits: int
    size: int
    crypt_method: int
    l1_size: int
    l1_offset: int
    refcount_offset: int
    refcount_clusters: int
    snapshots: int

    @property
    def cluster(self) -> int:
        """Bytes of a cluster."""
        return 1 << self.cluster_bits

    @property
    def l1_needed(self) -> int:
        """Entries of the first-level table that the disk's size takes."""
        covered = self.cluster // 8 * self.cluster
        return -(-self.size // covered)


def parse(content: bytes) -> Header:
    """The header at the beginning of a file. Raises ValueError for one that is cut off."""
    if len(content) < HEADER_BYTES:
        raise ValueError(f"it has {len(content)} bytes, a header has {HEADER_BYTES}")
    (_magic, _version, _backing, _backing_length, cluster_bits, size, crypt, l1_size, l1_offset,
     refcount_offset, refcount_clusters, snapshots, _snapshots_offset) = _FIELDS.unpack(
        content[:HEADER_BYTES]
    )  # fmt: skip
    return Header(
        cluster_bits, size, crypt, l1_size, l1_offset, refcount_offset, refcount_clusters, snapshots
    )


def faults(header: Header, file_bytes: int) -> list[str]:
    """Everything that is wrong with a header, in a file of that many bytes."""
    if header.cluster_bits not in CLUSTER_BITS:
        # Nothing else can be reckoned without.
        return [f"clusters of 2^{header.cluster_bits} bytes, 2^9 to 2^21 are possible"]
    return [fault for rule in RULES if (fault := rule(header, file_bytes))]


def _size(header: Header, _file_bytes: int) -> str:
    return size_fault(header.size)


def size_fault(size: int) -> str:
    """What is wrong with a disk of that many bytes, in any format; an empty text for nothing."""
    if size <= 0:
        return "the disk has no size"
    if size > LARGEST_DISK:
        return f"the disk has {size} bytes, at most {LARGEST_DISK} are possible"
    return ""


def _is_plain(header: Header, _file_bytes: int) -> str:
    return f"it is encrypted (method {header.crypt_method})" if header.crypt_method else ""


def _has_no_snapshots(header: Header, _file_bytes: int) -> str:
    return f"there are {header.snapshots} snapshots inside" if header.snapshots else ""


def _first_table(header: Header, file_bytes: int) -> str:
    length = header.l1_size * 8
    if length > LARGEST_TABLE:
        return f"the first-level table has {length} bytes, at most {LARGEST_TABLE} are possible"
    if header.l1_size < header.l1_needed:
        return f"the first-level table has {header.l1_size} entries, the disk takes {header.l1_needed}"
    return _place("first-level table", header, header.l1_offset, length, file_bytes)


def _refcount_table(header: Header, file_bytes: int) -> str:
    length = header.refcount_clusters * header.cluster
    if header.refcount_clusters == 0:
        return "there is no refcount table"
    return _place("refcount table", header, header.refcount_offset, length, file_bytes)


def _place(what: str, header: Header, offset: int, length: int, file_bytes: int) -> str:
    if offset % header.cluster or (offset == 0 and length):
        return f"the {what} begins at byte {offset}, which is no cluster of its own"
    # The last cluster of a file need not be whole.
    if length and offset + length > -(-file_bytes // header.cluster) * header.cluster:
        return f"the {what} ends at byte {offset + length}, the file at {file_bytes}"
    return ""


RULES: tuple[Callable[[Header, int], str], ...] = (
    _size,
    _is_plain,
    _has_no_snapshots,
    _first_table,
    _refcount_table,
)
