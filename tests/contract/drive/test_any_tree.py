"""Any tree that we write, every real reader reads: the condition under which our own ISO 9660 writer came in.

More trees by flag: GUESTLING_TREES=1000 pytest tests/contract/drive/test_any_tree.py
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given, settings

from configdrive import builder
from configdrive.builder import Format
from configdrive.iso9660_names import joliet_names
from configdrive.tree import Directory, plant
from tests.contract.drive.readers import unpack_with_7z, unpack_with_mtools, unpack_with_xorriso
from tests.contract.drive.writers import run
from tests.unit.configdrive.trees import trees

TREES = int(os.environ.get("GUESTLING_TREES", "25"))


@contextmanager
def written(tree: dict[str, bytes], filesystem: Format) -> Iterator[Path]:
    """A directory of its own for each example, with the image in it."""
    with tempfile.TemporaryDirectory() as directory:
        image = Path(directory, "image")
        image.write_bytes(builder.build(tree, format=filesystem, size_mib=1))
        yield image


def as_joliet(directory: Directory, path: str = "") -> dict[str, bytes]:
    """The tree under the names that Joliet can hold."""
    shown = {}
    for name, joliet in joliet_names(directory.entries).items():
        entry = directory.entries[name]
        inside = (
            as_joliet(entry, f"{path}{joliet}/")
            if isinstance(entry, Directory)
            else {f"{path}{joliet}": entry}
        )
        shown.update(inside)
    return shown


@settings(max_examples=TREES, deadline=None)
@given(tree=trees())
def test_cd_13_any_iso9660_in_xorriso_which_takes_rock_ridge(tree: dict[str, bytes]) -> None:
    with written(tree, Format.ISO9660) as image:
        assert unpack_with_xorriso(image, image.parent) == tree


@settings(max_examples=TREES, deadline=None)
@given(tree=trees())
def test_cd_13_any_iso9660_in_7z_which_takes_joliet(tree: dict[str, bytes]) -> None:
    with written(tree, Format.ISO9660) as image:
        assert unpack_with_7z(image, image.parent) == as_joliet(plant(tree))


@settings(max_examples=TREES, deadline=None)
@given(tree=trees(at_least=1))
def test_cd_13_any_vfat_in_7z_and_nothing_to_mend(tree: dict[str, bytes]) -> None:
    with written(tree, Format.VFAT) as image:
        run("fsck.vfat", "-n", image)
        assert unpack_with_7z(image, image.parent) == tree


@settings(max_examples=TREES, deadline=None)
@given(tree=trees(at_least=1, highest=0xFFFF))
def test_cd_13_any_vfat_in_mtools_which_knows_the_first_65536_characters(tree: dict[str, bytes]) -> None:
    with written(tree, Format.VFAT) as image:
        assert unpack_with_mtools(image, image.parent) == tree


@settings(max_examples=TREES, deadline=None)
@given(tree=trees())
def test_cd_13_isoinfo_lists_the_same_names(tree: dict[str, bytes]) -> None:
    with written(tree, Format.ISO9660) as image:
        listed = run("isoinfo", "-R", "-f", "-i", image).decode().splitlines()
        directories = {path.rsplit("/", depth)[0] for path in tree for depth in range(1, path.count("/") + 1)}
        assert sorted(listed) == sorted(f"/{path}" for path in tree.keys() | directories)
