"""What is built is what is read: each format, any tree (CD-13), the same bytes on any day (CD-5)."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given

from configdrive import builder, envelope, oracle, reader
from configdrive.builder import Format
from tests.unit.configdrive.trees import MANY, TREE, trees


@pytest.mark.parametrize("filesystem", Format)
def test_what_is_built_is_read(tmp_path: Path, filesystem: Format) -> None:
    image = tmp_path / "drive"
    image.write_bytes(builder.build(TREE, format=filesystem))
    assert reader.read(image) == TREE
    assert reader.label(image) == "config-2"
    assert reader.filesystem(image) == filesystem.value


@MANY
@given(trees())
def test_cd_13_any_tree_survives_iso9660(tree: dict[str, bytes]) -> None:
    image = builder.build(tree)
    assert reader.read_bytes(image).tree == tree
    # The second opinion: another author's reader sees the same.
    assert oracle.read(io.BytesIO(image)) == tree


@MANY
@given(trees())
def test_cd_13_any_tree_survives_vfat(tree: dict[str, bytes]) -> None:
    image = builder.build(tree, format=Format.VFAT, size_mib=1)
    assert reader.read_bytes(image).tree == tree


@MANY
@given(trees())
def test_cd_13_any_tree_survives_gzip_and_base64(tree: dict[str, bytes]) -> None:
    packed = envelope.pack(builder.build(tree))
    assert packed.isascii()
    assert b"\n" not in packed
    assert reader.read_bytes(packed).tree == tree


@pytest.mark.parametrize("filesystem", Format)
def test_cd_5_the_same_bytes_on_any_day(filesystem: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    first = builder.build(TREE, format=filesystem)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert builder.build(dict(reversed(TREE.items())), format=filesystem) == first
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert builder.build(TREE, format=filesystem) != first
    assert builder.build(TREE, format=filesystem) == builder.build(
        TREE, format=filesystem, date_s=1_700_000_000
    )


def test_equal_contents_are_stored_once() -> None:
    content = b"x" * 100_000
    once = len(builder.build({"0": content}))
    assert len(builder.build({str(number): content for number in range(10)})) == once


def test_the_vfat_drive_has_novas_size_unless_another_is_asked_for() -> None:
    assert len(builder.build(TREE, format=Format.VFAT)) == 64 * 1024 * 1024
    assert len(builder.build(TREE, format=Format.VFAT, size_mib=1)) == 1024 * 1024


def test_both_widths_of_fat_are_read_back() -> None:
    for size_mib, width in ((1, b"FAT12"), (16, b"FAT16")):
        image = builder.build(TREE, format=Format.VFAT, size_mib=size_mib)
        assert image[54:59] == width
        assert reader.read_bytes(image).tree == TREE
