"""Every reader of drives that can be had: the real programs and libraries, ours, and stock cloud-init."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from configdrive import oracle, reader
from tests.contract import peers
from tests.contract.drive.writers import LABELS, have, need, run

Tree = Mapping[str, bytes]
ISO = frozenset({"iso9660"})
FAT = frozenset({"vfat"})


@dataclass(frozen=True)
class Reader:
    """`check(image, tree, layout, directory)` asserts that the image holds the tree, or skips."""

    name: str
    filesystems: frozenset[str]
    check: Callable[[Path, Tree, str, Path], None]


def files_below(root: Path) -> dict[str, bytes]:
    """What an unpacking program left."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _ours(image: Path, tree: Tree, layout: str, _: Path) -> None:
    drive = reader.inspect(image)
    assert drive.tree == tree
    assert drive.label == LABELS[layout]


def _pycdlib(image: Path, tree: Tree, _: str, __: Path) -> None:
    assert oracle.read(io.BytesIO(image.read_bytes())) == tree


def _isoinfo(image: Path, tree: Tree, layout: str, _: Path, *, names: str) -> None:
    """Names of one kind, and the bytes of each file."""
    need("isoinfo")
    assert f"Volume id: {LABELS[layout]}\n".encode() in run("isoinfo", "-d", "-i", image)
    listed = run("isoinfo", names, "-f", "-i", image).decode().splitlines()
    files = {path.lstrip("/").removesuffix(";1"): path for path in listed}
    assert tree.keys() <= files.keys()
    for path, content in tree.items():
        assert run("isoinfo", names, "-i", image, "-x", files[path]) == content


def _blkid(image: Path, _: Tree, layout: str, __: Path) -> None:
    need("blkid")
    answer = run("blkid", "-p", "-o", "export", image).decode().splitlines()
    assert f"LABEL={LABELS[layout]}" in answer
    assert f"TYPE={reader.filesystem(image)}" in answer


def unpack_with_7z(image: Path, directory: Path) -> dict[str, bytes]:
    need("7zz")
    target = directory / "7z"
    run("7zz", "x", "-y", f"-o{target}", image)
    return files_below(target)


def unpack_with_xorriso(image: Path, directory: Path) -> dict[str, bytes]:
    need("xorriso")
    target = directory / "xorriso"
    run("xorriso", "-osirrox", "on", "-indev", image, "-extract", "/", target)
    run("chmod", "-R", "u+w", target)
    return files_below(target)


def unpack_with_mtools(image: Path, directory: Path) -> dict[str, bytes]:
    need("mcopy")
    target = directory / "mtools"
    target.mkdir()
    run("mcopy", "-s", "-n", "-i", image, "::*", target)
    return files_below(target)


def _same(unpack: Callable[[Path, Path], dict[str, bytes]]) -> Callable[[Path, Tree, str, Path], None]:
    def check(image: Path, tree: Tree, _: str, directory: Path) -> None:
        assert unpack(image, directory) == tree

    return check


def _fsck(image: Path, _: Tree, __: str, ___: Path) -> None:
    need("fsck.vfat")
    run("fsck.vfat", "-n", image)


def _cloud_init(image: Path, tree: Tree, layout: str, directory: Path) -> None:
    """Debian 13's cloud-init reads what another reader unpacked: this kernel may not mount."""
    unpack = unpack_with_mtools if reader.filesystem(image) == "vfat" else unpack_with_xorriso
    unpack(image, directory)
    python, path = have(peers.cloud_init)
    root = directory / ("mtools" if unpack is unpack_with_mtools else "xorriso")
    script = Path(__file__).with_name("cloud_init_reader.py")
    answer = json.loads(run(python, script, layout, root, PYTHONPATH=str(path)))
    if layout == "openstack":
        expected = json.loads(tree["openstack/latest/meta_data.json"])
        assert answer["metadata"]["uuid"] == expected["uuid"]
        assert answer["networkdata"] == json.loads(tree["openstack/latest/network_data.json"])
        assert answer["files"] == {"/etc/motd": tree["openstack/content/0000"].decode()}
        assert answer["userdata"] == tree["openstack/latest/user_data"].decode()
    else:
        assert answer["meta-data"] == tree["meta-data"].decode()
        assert answer["user-data"] == tree["user-data"].decode()


READERS = (
    Reader("guestling", ISO | FAT | {"packed"}, _ours),
    Reader("pycdlib", ISO, _pycdlib),
    Reader("isoinfo -R", ISO, partial(_isoinfo, names="-R")),
    Reader("isoinfo -J", ISO, partial(_isoinfo, names="-J")),
    Reader("7z", ISO | FAT, _same(unpack_with_7z)),
    Reader("xorriso", ISO, _same(unpack_with_xorriso)),
    Reader("mtools", FAT, _same(unpack_with_mtools)),
    Reader("fsck.vfat", FAT, _fsck),
    Reader("blkid", ISO | FAT, _blkid),
    Reader("cloud-init 25.1.4", ISO | FAT, _cloud_init),
)
