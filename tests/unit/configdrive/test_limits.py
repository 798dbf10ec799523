"""Every limit of faults-and-threats section 3, at it and one beyond, and names that lie (CD-04 to CD-07)."""

from __future__ import annotations

import io
import itertools
import os
import time
from pathlib import Path

import pycdlib
import pytest

from configdrive import builder, iso9660_writer, reader, vfat_writer
from configdrive.builder import Format
from configdrive.errors import (
    AmbiguousName,
    DamagedDrive,
    DriveError,
    DriveLimit,
    ForbiddenEntry,
    TruncatedDrive,
    UnbuildableTree,
    UnreadableDrive,
)
from configdrive.source import MIB, Image, Limits
from configdrive.tree import plant
from tests.unit.configdrive.trees import TREE

WIDE = Limits(
    entries=10**6, depth=10**3, image_bytes=10**9, file_bytes=10**9, tree_bytes=10**9, directory_bytes=10**9
)


def unchecked(tree: dict[str, bytes], filesystem: Format) -> bytes:
    """An image of a tree that `builder.build` would refuse."""
    root = plant(tree, WIDE)
    if filesystem is Format.ISO9660:
        return iso9660_writer.write(root, "config-2", 0)
    return vfat_writer.write(root, "config-2", 0, 64).ljust(64 * MIB, b"\0")


@pytest.mark.parametrize("filesystem", Format)
def test_cd_04_depth(filesystem: Format) -> None:
    deepest = "/".join("d" * 15) + "/f"
    assert reader.read_bytes(builder.build({deepest: b"x"}, format=filesystem)).tree == {deepest: b"x"}
    too_deep = f"d/{deepest}"
    with pytest.raises(UnbuildableTree, match="17 levels deep, the limit is 16"):
        builder.build({too_deep: b"x"}, format=filesystem)
    with pytest.raises(DriveLimit, match="the limit `depth` is 16"):
        reader.read_bytes(unchecked({too_deep: b"x"}, filesystem))


@pytest.mark.parametrize("filesystem", Format)
def test_cd_04_entries(filesystem: Format) -> None:
    tree = {f"d/{number}": b"" for number in range(9_999)}
    assert len(reader.read_bytes(builder.build(tree, format=filesystem)).tree) == 9_999
    tree["d/one-more"] = b""
    with pytest.raises(UnbuildableTree, match="10,001 entries, the limit is 10,000"):
        builder.build(tree, format=filesystem)
    with pytest.raises(DriveLimit, match="the limit `entries` is 10,000"):
        reader.read_bytes(unchecked(tree, filesystem))


def test_cd_04_file_and_tree_sizes() -> None:
    largest = bytes(32 * MIB)
    assert len(reader.read_bytes(builder.build({"f": largest})).tree["f"]) == 32 * MIB
    with pytest.raises(UnbuildableTree, match=r"'f': 33,554,433 bytes, a file on a drive may have 32 MiB"):
        builder.build({"f": largest + b"x"})
    with pytest.raises(DriveLimit, match="the limit `file_bytes`"):
        reader.read_bytes(unchecked({"f": largest + b"x"}, Format.ISO9660))


def test_cd_6_more_than_64_mib_names_the_largest_file() -> None:
    tree = {"small": b"x", "large": bytes(30 * MIB), "larger": bytes(31 * MIB), "other": bytes(20 * MIB)}
    with pytest.raises(UnbuildableTree, match=r"'larger': [0-9,]+ bytes in all, a drive may hold 64 MiB"):
        builder.build(tree)


def test_cd_12_what_does_not_fit_a_small_vfat_drive_is_refused() -> None:
    with pytest.raises(UnbuildableTree, match="it does not fit: the drive has room for"):
        builder.build({"f": bytes(MIB)}, format=Format.VFAT, size_mib=1)


def test_cd_04_stored_once_read_many_times_still_counts() -> None:
    """Ten thousand entries may point to one extent; the sum is limited before the bytes are read."""
    image = unchecked({str(number): b"x" * 30 * MIB for number in range(3)}, Format.ISO9660)
    with pytest.raises(DriveLimit, match="the limit `tree_bytes`"):
        reader.read_bytes(image)


def test_cd_04_an_image_larger_than_64_mib_is_refused() -> None:
    image = unchecked({str(number): bytes([number]) * 30 * MIB for number in range(3)}, Format.ISO9660)
    with pytest.raises(DriveLimit, match="the limit `image_bytes`"):
        reader.read_bytes(image)


def test_cd_04_names_of_255_bytes() -> None:
    name = "ä" * 127 + "x"
    assert reader.read_bytes(builder.build({name: b"x"})).tree == {name: b"x"}
    with pytest.raises(UnbuildableTree, match="a name of 256 bytes, the limit is 255"):
        builder.build({name + "x": b"x"})


def test_the_time_limit() -> None:
    image = builder.build(TREE)

    def read_at(later_s: float) -> dict[str, bytes]:
        seconds = itertools.chain([0.0], itertools.repeat(later_s))
        fetch = lambda offset, length: image[offset : offset + length]  # noqa: E731 -- one line says it
        return reader.read_image(Image(fetch, len(image), clock=lambda: next(seconds))).tree

    assert read_at(10.0) == TREE
    with pytest.raises(DriveLimit, match="the limit `seconds` is 10"):
        read_at(10.1)


def test_a_short_read_is_an_error() -> None:
    image = builder.build(TREE)
    short = Image(lambda offset, length: image[offset : offset + length][: 40_000 - offset], len(image))
    with pytest.raises(TruncatedDrive):
        reader.read_image(short)


@pytest.mark.parametrize("path", ["/a", "a//b", "../a", "a/./b", "a/..", "", "a\0b", "a/"])
@pytest.mark.parametrize("filesystem", Format)
def test_cd_12_paths_that_are_none_are_refused(path: str, filesystem: Format) -> None:
    with pytest.raises(UnbuildableTree):
        builder.build({path: b"x"}, format=filesystem)


def test_cd_12_names_that_cannot_be_encoded_are_refused() -> None:
    with pytest.raises(UnbuildableTree, match="not UTF-8"):
        builder.build({"\udcff": b"x"})
    for name in ("a:b", "a?", 'a"', "a|b", "a\\b", "dot.", "space ", "\uffff"):
        with pytest.raises(UnbuildableTree, match="FAT cannot store"):
            builder.build({name: b"x"}, format=Format.VFAT)


def test_cd_12_one_path_twice_is_refused() -> None:
    with pytest.raises(UnbuildableTree, match="a file and a directory"):
        builder.build({"a": b"x", "a/b": b"y"})
    with pytest.raises(UnbuildableTree, match="other case"):
        builder.build({"d/A": b"x", "d/a": b"y"}, format=Format.VFAT)
    assert reader.read_bytes(builder.build({"d/A": b"x", "d/a": b"y"})).tree == {"d/A": b"x", "d/a": b"y"}


@pytest.mark.parametrize("text", ["yesterday", "-1", "4354819200", "9" * 5000, "1.5"])
@pytest.mark.parametrize("filesystem", Format)
def test_dates_that_no_drive_can_bear(text: str, filesystem: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    with pytest.raises(UnbuildableTree, match="SOURCE_DATE_EPOCH"):
        builder.build(TREE, format=filesystem)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "4354819199")
    assert reader.read_bytes(builder.build({"a": b""}, format=filesystem)).tree == {"a": b""}


@pytest.mark.parametrize("filesystem", Format)
def test_thousands_of_names_that_are_cut_to_the_same_take_little_time(filesystem: Format) -> None:
    tree = {"d/" + "n" * 70 + str(number): b"" for number in range(9_000)}
    started = time.process_time()
    image = builder.build(tree, format=filesystem)
    assert time.process_time() - started < 5
    assert reader.read_bytes(image).tree == tree


def test_the_label_of_a_disk_that_is_too_large_is_still_known(tmp_path: Path) -> None:
    """Its reader says why it is refused; without the label it would not even be looked at."""
    image = bytearray(builder.build(TREE, "cidata", Format.VFAT))
    image[32:36] = (250_000).to_bytes(4, "little")  # sectors: 122 MiB
    (tmp_path / "stick").write_bytes(image)
    assert reader.label(tmp_path / "stick") == "cidata"
    with pytest.raises(DriveLimit, match="the limit `image_bytes`"):
        reader.read(tmp_path / "stick")


def test_cd_15_a_file_that_changes_while_it_is_read_is_an_error() -> None:
    """The kernel's own files claim to be empty and are not: what a growing file looks like."""
    with pytest.raises(UnreadableDrive, match="it changed while it was read"):
        reader.read("/proc/self/fdinfo")


@pytest.mark.parametrize("label", ["", "a" * 17, "ü", "a\nb", " a", "a "])
def test_labels_that_no_drive_can_have(label: str) -> None:
    with pytest.raises(UnbuildableTree, match="label"):
        builder.build(TREE, label)


def _pycdlib(*, rock_ridge: str | None = None, joliet: int | None = None, level: int = 1) -> pycdlib.PyCdlib:
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=level, joliet=joliet, rock_ridge=rock_ridge, vol_ident="config-2")
    return iso


def _written(iso: pycdlib.PyCdlib) -> bytes:
    image = io.BytesIO()
    iso.write_fp(image)
    return image.getvalue()


def test_cd_06_rock_ridge_comes_before_joliet() -> None:
    iso = _pycdlib(rock_ridge="1.09", joliet=3)
    iso.add_fp(io.BytesIO(b"x"), 1, "/A.;1", rr_name="rock_ridge", joliet_path="/joliet")
    drive = reader.read_bytes(_written(iso))
    assert (drive.tree, drive.names, drive.has_joliet) == ({"rock_ridge": b"x"}, "rock-ridge", True)


def test_cd_06_joliet_comes_before_plain_names() -> None:
    iso = _pycdlib(joliet=3)
    iso.add_fp(io.BytesIO(b"x"), 1, "/USER_DAT.;1", joliet_path="/user-data;1")
    drive = reader.read_bytes(_written(iso))
    assert (drive.tree, drive.names) == ({"user-data": b"x"}, "joliet")


def test_cd_06_plain_names_are_shown_as_the_kernel_shows_them() -> None:
    iso = _pycdlib()
    iso.add_directory("/OPENSTAC")
    iso.add_fp(io.BytesIO(b"x"), 1, "/OPENSTAC/META_DAT.JSO;1")
    iso.add_fp(io.BytesIO(b"y"), 1, "/USER_DAT.;1")
    drive = reader.read_bytes(_written(iso))
    assert drive.tree == {"openstac/meta_dat.jso": b"x", "user_dat": b"y"}
    assert drive.names == "plain"


def test_cd_06_a_name_that_is_there_twice_is_refused() -> None:
    iso = _pycdlib(rock_ridge="1.09")
    iso.add_fp(io.BytesIO(b"x"), 1, "/A.;1", rr_name="same")
    iso.add_fp(io.BytesIO(b"y"), 1, "/B.;1", rr_name="samf")
    image = _written(iso).replace(b"samf", b"same")
    with pytest.raises(AmbiguousName, match="entry 'same' at offset"):
        reader.read_bytes(image)


def test_cd_06_8_3_names_on_vfat_are_lower_case() -> None:
    image = bytearray(builder.build({"latest": b"x"}, format=Format.VFAT, size_mib=1))
    long_entry = image.find(b"LATEST     ") - 32
    image[long_entry] = 0xE5  # remove the long name: only LATEST stays
    drive = reader.read_bytes(bytes(image))
    assert (drive.tree, drive.names) == ({"latest": b"x"}, "8.3")


def test_cd_07_a_symbolic_link_is_refused() -> None:
    iso = _pycdlib(rock_ridge="1.09")
    iso.add_symlink("/SHADOW.;1", rr_symlink_name="shadow", rr_path="/etc/shadow")
    with pytest.raises(ForbiddenEntry, match=r"at offset \d+: it is a symbolic link"):
        reader.read_bytes(_written(iso))


@pytest.mark.parametrize("mode", [0o020666, 0o060660, 0o010644, 0o140755])
def test_cd_07_devices_pipes_and_sockets_are_refused(mode: int) -> None:
    iso = _pycdlib(rock_ridge="1.09")
    iso.add_fp(io.BytesIO(b"x"), 1, "/A.;1", rr_name="a", file_mode=mode)
    with pytest.raises(ForbiddenEntry, match="neither a regular file nor a directory"):
        reader.read_bytes(_written(iso))


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a\0b"])
def test_cd_07_names_that_lead_elsewhere_are_refused(name: str) -> None:
    placeholder = "n" * len(name)
    image = builder.build({placeholder: b"x"})
    field = b"NM" + bytes((5 + len(name), 1, 0))
    mutated = image.replace(field + placeholder.encode(), field + name.encode())
    assert mutated != image
    with pytest.raises(ForbiddenEntry):
        reader.read_bytes(mutated)


def test_a_name_that_goes_on_and_does_not_is_refused() -> None:
    """genisoimage -iso-level 4 loses the end of names of 250 bytes, and says that they go on."""
    image = bytearray(builder.build({"name": b"x"}))
    image[image.find(b"NM\x09\x01\0name") + 4] = 1
    with pytest.raises(DamagedDrive, match="it says that it goes on, and does not"):
        reader.read_bytes(bytes(image))


def test_setuid_bits_say_nothing() -> None:
    iso = _pycdlib(rock_ridge="1.09")
    iso.add_fp(io.BytesIO(b"x"), 1, "/A.;1", rr_name="a", file_mode=0o104755)
    assert reader.read_bytes(_written(iso)).tree == {"a": b"x"}


def test_only_what_is_wanted_is_looked_at() -> None:
    iso = _pycdlib(rock_ridge="1.09")
    iso.add_directory("/BIG", rr_name="big")
    iso.add_symlink("/BIG/LINK.;1", rr_symlink_name="link", rr_path="/etc/shadow")
    iso.add_fp(io.BytesIO(b"x"), 1, "/A.;1", rr_name="user-data")
    image = _written(iso)
    assert reader.read_bytes(image, under=("user-data",)).tree == {"user-data": b"x"}
    with pytest.raises(DriveError):
        reader.read_bytes(image)


def test_a_directory_is_read_and_its_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "openstack/latest").mkdir(parents=True)
    (tmp_path / "openstack/latest/meta_data.json").write_bytes(b"{}")
    assert reader.read(tmp_path) == {"openstack/latest/meta_data.json": b"{}"}
    assert (reader.filesystem(tmp_path), reader.label(tmp_path)) == ("directory", None)
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(ForbiddenEntry, match="entry 'link'"):
        reader.read(tmp_path)
    assert reader.read(tmp_path, under=("openstack",)) == {"openstack/latest/meta_data.json": b"{}"}


def test_what_cannot_be_opened_is_a_drive_error(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (tmp_path / "missing", fifo, Path("/dev/null"), tmp_path / "nul\0"):
        with pytest.raises(UnreadableDrive):
            reader.read(path)
        assert (reader.filesystem(path), reader.label(path)) == (None, None)


def test_a_directory_that_cannot_be_read_is_a_drive_error() -> None:
    """Nothing is mapped at address 0: the kernel answers with an input/output error, whoever asks."""
    with pytest.raises(UnreadableDrive, match="Input/output error"):
        reader.read("/proc/self", under=("mem",))


def test_a_label_is_none_where_there_is_no_drive(tmp_path: Path) -> None:
    (tmp_path / "rubbish").write_bytes(bytes(100_000))
    assert reader.label(tmp_path / "rubbish") is None
    assert reader.filesystem(tmp_path / "rubbish") is None


@pytest.mark.parametrize("label", ["config-2", "CONFIG-2", "cidata"])
@pytest.mark.parametrize("filesystem", Format)
def test_cd_05_labels_are_given_as_they_stand(tmp_path: Path, label: str, filesystem: Format) -> None:
    (tmp_path / "drive").write_bytes(builder.build(TREE, label, filesystem))
    assert reader.label(tmp_path / "drive") == label


def test_cd_04_a_chain_of_continuation_areas_that_never_ends_is_refused() -> None:
    image = bytearray(builder.build({"n" * 255: b"x"}))
    at = image.find(b"CE\x1c\x01")
    block = int.from_bytes(image[at + 4 : at + 8], "little")
    area = block * 2048
    entry = bytes(image[at : at + 28])
    length = int.from_bytes(entry[20:24], "little")
    # The area now begins with the entry that leads to it.
    image[area : area + 28] = entry
    image[area + 28 : area + length] = bytes(length - 28)
    with pytest.raises(DamagedDrive, match="more than 32 follow each other"):
        reader.read_bytes(bytes(image))
