"""An empty qcow2 disk, as bytes: no program is needed to make one.

Source: QEMU's docs/interop/qcow2.txt (version 3, clusters of 64 KiB, refcounts of 16 bits).
"""

from __future__ import annotations

from spawner.qcow2_header import size_fault

CLUSTER_BITS = 16
CLUSTER = 1 << CLUSTER_BITS
HEADER_BYTES = 104
REFCOUNT_ORDER = 4
# A table of the second level is one cluster of 8-byte entries, one for each cluster of the disk.
L2_COVERS = CLUSTER // 8 * CLUSTER


def empty_qcow2(size_bytes: int) -> bytes:
    """A disk of that size without data: header, refcounts, and an empty first table. Raises ValueError."""
    if wrong := size_fault(size_bytes):
        raise ValueError(f"{size_bytes} is no size of a disk: {wrong}")
    l1_entries = -(-size_bytes // L2_COVERS)
    l1_clusters = -(-l1_entries * 8 // CLUSTER)
    header = b"".join(
        (
            b"QFI\xfb",
            (3).to_bytes(4),
            bytes(8 + 4),  # no backing file
            CLUSTER_BITS.to_bytes(4),
            size_bytes.to_bytes(8),
            bytes(4),  # no encryption
            l1_entries.to_bytes(4),
            (3 * CLUSTER).to_bytes(8),
            CLUSTER.to_bytes(8),
            (1).to_bytes(4),  # clusters of the refcount table
            bytes(4 + 8),  # no snapshots
            bytes(8 * 3),  # no features
            REFCOUNT_ORDER.to_bytes(4),
            HEADER_BYTES.to_bytes(4),
        )
    )
    refcount_table = (2 * CLUSTER).to_bytes(8)
    refcounts = (1).to_bytes(2) * (3 + l1_clusters)
    parts = (header, refcount_table, refcounts)
    return b"".join(part.ljust(CLUSTER, b"\0") for part in parts) + bytes(l1_clusters * CLUSTER)
