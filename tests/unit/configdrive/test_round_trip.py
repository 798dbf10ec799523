"""What is built is what is read: each format, any tree (CD-13), the same bytes on any day (CD-5)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configdrive import builder, reader
from configdrive.builder import Format

TREE = {
    "openstack/latest/meta_data.json": b'{"uuid": "0"}',
    "openstack/latest/user_data": b"#cloud-config\n",
    "openstack/2018-08-27/meta_data.json": b'{"uuid": "0"}',
    "openstack/content/0000": bytes(range(256)) * 40,
    "openstack/latest/vendor_data.json": b"",
}
# What both formats can hold: FAT forbids some characters and a dot or space at the end.
NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters='/"*:<>?\\|'),
    min_size=1,
    max_size=60,
).filter(lambda name: name[-1] not in ". ")
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, bytes]:
    """Trees without a path that is also a directory, and without names that differ by case only."""
    tree = draw(st.dictionaries(PATHS, st.binary(max_size=5000), max_size=12))
    kept: dict[str, bytes] = {}
    spellings: dict[str, str] = {}
    for path, content in tree.items():
        ancestors = ["/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 2)]
        clashes = any(spellings.get(step.upper(), step) != step for step in ancestors)
        nests = any(step in kept for step in ancestors) or any(other.startswith(f"{path}/") for other in kept)
        if not clashes and not nests:
            spellings.update({step.upper(): step for step in ancestors})
            kept[path] = content
    return kept


@pytest.mark.parametrize("format_", Format)
def test_what_is_built_is_read(tmp_path: Path, format_: Format) -> None:
    image = tmp_path / "drive"
    image.write_bytes(builder.build(TREE, format=format_))
    assert reader.read(image) == TREE
    assert reader.label(image) == "config-2"
    assert reader.filesystem(image) == format_.value


@given(trees())
def test_cd_13_any_tree_survives_iso9660(tree: dict[str, bytes]) -> None:
    assert reader.read_bytes(builder.build(tree)).tree == tree


@given(trees())
def test_cd_13_any_tree_survives_vfat(tree: dict[str, bytes]) -> None:
    image = builder.build(tree, format=Format.VFAT, size_mib=1)
    assert reader.read_bytes(image).tree == tree


@pytest.mark.parametrize("format_", Format)
def test_cd_5_the_same_bytes_on_any_day(format_: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    first = builder.build(TREE, format=format_)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert builder.build(dict(reversed(TREE.items())), format=format_) == first
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert builder.build(TREE, format=format_) != first
    assert builder.build(TREE, format=format_) == builder.build(TREE, format=format_, date_s=1_700_000_000)
