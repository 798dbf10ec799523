"""Damaged images: a clear error or all the data, never a hang, another exception or a part (CD-01)."""

from __future__ import annotations

import os
import random
import re
import time

import pytest

from configdrive import builder, reader
from configdrive.builder import Format
from configdrive.errors import DriveError
from tests.unit.configdrive.trees import TREE

# Larger by flag: GUESTLING_FUZZ=1000000 pytest tests/unit/configdrive/test_damage.py
RUNS = int(os.environ.get("GUESTLING_FUZZ", "4000"))
CONTENTS = sorted(TREE.values())
ISO = builder.build(TREE)
VFAT = builder.build(TREE, format=Format.VFAT, size_mib=1)
VFAT_USED = len(VFAT.rstrip(b"\0")) + 1
PLACED = re.compile(r"config drive: .+ at offset \d+: .+\. .+\.")
SLOWEST_S = 1.0


def structure_of(image: bytes, used: int) -> list[int]:
    """Every offset that is neither content nor the empty system area."""
    content: set[int] = set()
    for data in filter(None, TREE.values()):
        start = image.find(data)
        content.update(range(start, start + len(data)))
    first = 16 * 2048 if used == len(image) else 0
    return [offset for offset in range(first, used) if offset not in content]


def attempt(image: bytes) -> dict[str, bytes] | None:
    """The tree, or None where the reader refused with an error that names a place."""
    started = time.process_time()  # what the reader costs, whatever else the machine does
    tree, refusal = None, "config drive: none at offset 0: none. None."
    try:
        tree = reader.read_bytes(image).tree
    except DriveError as error:
        refusal = str(error)
    assert PLACED.fullmatch(refusal)
    assert time.process_time() - started < SLOWEST_S
    return tree


def test_cd_01_an_iso_cut_at_any_block_is_refused() -> None:
    for length in range(0, len(ISO), 2048):
        assert attempt(ISO[:length]) is None, length


def test_cd_01_a_vfat_cut_at_any_sector_is_refused() -> None:
    for length in range(0, len(VFAT), 2048):
        assert attempt(VFAT[:length]) is None, length


@pytest.mark.slow
def test_cd_01_every_byte_of_structure_flipped_gives_an_error_or_all_contents() -> None:
    image = bytearray(ISO)
    for offset in structure_of(ISO, len(ISO)):
        if not ISO[offset] and offset % 7:
            continue  # of the many zeros every seventh is enough for each commit
        for flip in (0x01, 0xFF):
            image[offset] ^= flip
            tree = attempt(bytes(image))
            # A letter of a name may have changed, but nothing is missing, cut short or mixed up.
            assert tree is None or sorted(tree.values()) == CONTENTS, (offset, flip)
            image[offset] = ISO[offset]


@pytest.mark.slow
@pytest.mark.parametrize(("image", "used"), [(ISO, len(ISO)), (VFAT, VFAT_USED)], ids=["iso9660", "vfat"])
def test_cd_02_cd_11_mutations_raise_nothing_but_drive_errors(image: bytes, used: int) -> None:
    chance = random.Random(1)
    offsets = structure_of(image, used)
    refused = 0
    for _ in range(RUNS):
        mutated = bytearray(image)
        for _ in range(chance.choice((1, 1, 2, 4, 8))):
            mutated[chance.choice(offsets)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        refused += attempt(bytes(mutated)) is None
    # Were nothing refused, the mutations would not have met anything that matters.
    assert refused > RUNS // 20


def test_cd_02_rubbish_is_refused() -> None:
    chance = random.Random(2)
    for length in (0, 1, 511, 512, 2048, 32768, 40960, 100_000):
        assert attempt(chance.randbytes(length)) is None
    assert attempt(bytes(100_000)) is None


def test_cd_03_an_extent_beyond_the_end_is_refused() -> None:
    """pycdlib gives short data here, and says nothing."""
    image = bytearray(ISO)
    content = TREE["openstack/latest/user_data"]
    length = len(content).to_bytes(4, "little") + len(content).to_bytes(4, "big")
    longer = 10**6
    while (at := image.find(length)) >= 0:
        image[at : at + 8] = longer.to_bytes(4, "little") + longer.to_bytes(4, "big")
    with pytest.raises(
        DriveError, match=r"extent of 'openstack/latest/user_data' at offset \d+: it ends at byte"
    ):
        reader.read_bytes(bytes(image))


def test_cd_04_byte_orders_that_differ_are_refused() -> None:
    image = bytearray(ISO)
    image[16 * 2048 + 156 + 2] ^= 1  # the block of the root directory, little-endian half
    with pytest.raises(DriveError, match="differs between its two byte orders"):
        reader.read_bytes(bytes(image))


def test_cd_04_a_directory_loop_is_refused() -> None:
    image = bytearray(ISO)
    root = 16 * 2048 + 156
    place = bytes(image[root + 2 : root + 18])
    block = int.from_bytes(place[:4], "little")
    # The third record of the root is `openstack`: let it lead back to the root.
    start = block * 2048
    third = start + image[start] + image[start + image[start]]
    image[third + 2 : third + 18] = place
    with pytest.raises(DriveError, match="reached twice"):
        reader.read_bytes(bytes(image))


def test_cd_11_crossed_chains_are_refused() -> None:
    image = bytearray(VFAT)
    entry = image.find(b"USER_D~1   ")
    other = image.find(b"META_D~1JSO")
    image[entry + 26 : entry + 28] = image[other + 26 : other + 28]
    with pytest.raises(DriveError, match=r"in use already|its chain has"):
        reader.read_bytes(bytes(image))


def test_cd_11_tables_that_differ_are_refused() -> None:
    image = bytearray(VFAT)
    image[512 + 5] ^= 1
    with pytest.raises(DriveError, match="its copies differ"):
        reader.read_bytes(bytes(image))


def test_cd_11_a_chain_that_loops_is_refused() -> None:
    tree = {"a": b"x" * 5000}  # clusters 2, 3, 4
    image = bytearray(builder.build(tree, format=Format.VFAT, size_mib=1))
    fat_bytes = int.from_bytes(image[22:24], "little") * 512
    for start in (512, 512 + fat_bytes):
        # FAT12: the entry of cluster 3 is the upper twelve bits at byte 4.
        image[start + 4] = image[start + 4] & 0x0F | 0x20
        image[start + 5] = 0
    with pytest.raises(DriveError, match="cluster 2, which is in use already"):
        reader.read_bytes(bytes(image))
