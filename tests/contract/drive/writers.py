"""Every writer of drives that can be had: the real programs and libraries, and ours."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import pycdlib
import pytest

from configdrive import builder, envelope
from configdrive.builder import Format
from tests.contract import peers

Tree = Mapping[str, bytes]
Peer = TypeVar("Peer")
LABELS = {"openstack": "config-2", "nocloud": "cidata"}


@dataclass(frozen=True)
class Writer:
    """`write(tree, layout, directory)` gives the path of an image in `directory`, or skips with a reason."""

    name: str
    filesystem: str
    layouts: tuple[str, ...]
    write: Callable[[Tree, str, Path], Path]


def unpack(tree: Tree, directory: Path) -> Path:
    """The tree as files, for writers that take a directory."""
    root = directory / "tree"
    for path, content in tree.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return root


def need(*programs: str) -> None:
    """Skip where a program is missing; `./dev test` installs them."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def have(peer: Callable[[], Peer]) -> Peer:
    """The peer, or a skip that says why it cannot be had."""
    try:
        return peer()
    except peers.PeerMissingError as error:
        pytest.skip(str(error))


def run(*argv: str | Path, cwd: Path | None = None, **environment: str) -> bytes:
    """The standard output of a program that must succeed."""
    done = subprocess.run(
        argv,
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C.UTF-8", "MTOOLS_SKIP_CHECK": "1", **environment},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, (argv, done.stderr[-2000:])
    return done.stdout


def _ours_iso(tree: Tree, layout: str, directory: Path) -> Path:
    return _saved(directory, builder.build(tree, LABELS[layout]))


def _ours_vfat(tree: Tree, layout: str, directory: Path) -> Path:
    return _saved(directory, builder.build(tree, LABELS[layout], Format.VFAT))


def _ours_packed(tree: Tree, layout: str, directory: Path) -> Path:
    return _saved(directory, envelope.pack(builder.build(tree, LABELS[layout])))


def pycdlib_image(tree: Tree, label: str) -> bytes:
    """As pycdlib's documentation shows."""
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=4, joliet=3, rock_ridge="1.12", vol_ident=label)
    made: set[str] = set()
    for path, content in tree.items():
        *parents, name = path.split("/")
        place = ""
        for parent in parents:
            place = f"{place}/{parent}"
            if place not in made:
                made.add(place)
                iso.add_directory(place, rr_name=parent, joliet_path=place)
        iso.add_fp(io.BytesIO(content), len(content), f"/{path}", rr_name=name, joliet_path=f"/{path}")
    image = io.BytesIO()
    iso.write_fp(image)
    return image.getvalue()


def _pycdlib(tree: Tree, layout: str, directory: Path) -> Path:
    return _saved(directory, pycdlib_image(tree, LABELS[layout]))


def genisoimage_argv(image: Path, root: Path, label: str) -> list[str]:
    """With the switches of Nova's builder."""
    switches = ("-ldots", "-allow-lowercase", "-allow-multidot", "-l", "-quiet", "-J", "-r")
    return ["genisoimage", "-o", str(image), *switches, "-V", label, str(root)]


def xorriso_argv(image: Path, root: Path, label: str) -> list[str]:
    """With the switches of KubeVirt."""
    switches = ("-joliet", "-rock", "-partition_cyl_align", "on")
    return ["xorriso", "-as", "mkisofs", "-o", str(image), "-volid", label, *switches, str(root)]


def _program(
    tree: Tree, layout: str, directory: Path, *, argv: Callable[[Path, Path, str], list[str]]
) -> Path:
    image = directory / "image"
    command = argv(image, unpack(tree, directory), LABELS[layout])
    need(command[0])
    run(*command)
    return image


def _mtools(tree: Tree, layout: str, directory: Path, *, bits: str) -> Path:
    need("mkfs.vfat", "mcopy")
    image = directory / "image"
    run("truncate", "-s", "4M" if bits == "12" else "64M", image)
    run("mkfs.vfat", "-F", bits, "-n", LABELS[layout], image)
    run("mcopy", "-s", "-i", image, *sorted(unpack(tree, directory).iterdir()), "::")
    return image


def _cloud_localds(tree: Tree, _: str, directory: Path, *, filesystem: str) -> Path:
    need("cloud-localds", "genisoimage", "mkfs.vfat", "mcopy")
    root, image = unpack(tree, directory), directory / "image"
    run("cloud-localds", "--filesystem", filesystem, image, root / "user-data", root / "meta-data")
    return image


def _nova(tree: Tree, _: str, directory: Path) -> Path:
    """Nova's own `nova.virt.configdrive.ConfigDriveBuilder`, from PyPI."""
    need("genisoimage")
    python = have(peers.nova)
    image = directory / "image"
    root = unpack(tree, directory)
    run(python, Path(__file__).with_name("nova_builder.py"), root, image)
    return image


def _saved(directory: Path, content: bytes) -> Path:
    image = directory / "image"
    image.write_bytes(content)
    return image


BOTH = ("openstack", "nocloud")
WRITERS = (
    Writer("guestling iso9660", "iso9660", BOTH, _ours_iso),
    Writer("guestling vfat", "vfat", BOTH, _ours_vfat),
    Writer("guestling gzip+base64", "packed", BOTH, _ours_packed),
    Writer("pycdlib", "iso9660", BOTH, _pycdlib),
    Writer("genisoimage, Nova's switches", "iso9660", BOTH, partial(_program, argv=genisoimage_argv)),
    Writer("xorriso, KubeVirt's switches", "iso9660", BOTH, partial(_program, argv=xorriso_argv)),
    Writer("mkfs.vfat -F12, mcopy", "vfat", BOTH, partial(_mtools, bits="12")),
    Writer("mkfs.vfat -F16, mcopy", "vfat", BOTH, partial(_mtools, bits="16")),
    Writer("mkfs.vfat -F32, mcopy", "vfat", BOTH, partial(_mtools, bits="32")),
    Writer("cloud-localds iso", "iso9660", ("nocloud",), partial(_cloud_localds, filesystem="iso")),
    Writer("cloud-localds vfat", "vfat", ("nocloud",), partial(_cloud_localds, filesystem="vfat")),
    Writer("Nova's builder", "iso9660", ("openstack",), _nova),
)
