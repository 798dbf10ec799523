"""The local image store: one directory an image, with a manifest that says exactly what is in it.

`vmlinuz`, `initrd` and `disk.raw` or `disk.qcow2` are its parts; without a kernel the disk boots by itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from image_harness import cache
from image_harness.errors import BadImage

MANIFEST = "manifest.json"
USED = "used"
"""Touched by whoever takes the image to boot it."""
_HARNESS = "-harness-"
IN_USE_S = 3600.0
"""An image taken so lately may be in use by another process: it is not pruned."""


@dataclass(frozen=True)
class PackageVersion:
    """A package that went into an image; `sha256` is its .deb's, empty where only the version is known."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What an image holds, and what it wants. `digest` changes whenever anything in the image does.

    `properties` are the image's as Glance names them (`hw_disk_bus`, `os_distro`, ...). `epoch_s`: the time
    that its files bear, which with the packages' versions is what a second build needs to be the same.
    """

    name: str
    digest: str
    built: str
    suite: str
    kernel: str
    cmdline: str
    memory_mib: int
    agent: str
    packages: tuple[PackageVersion, ...]
    properties: Mapping[str, str] = field(default_factory=dict)
    epoch_s: int = 0


@dataclass(frozen=True)
class Image:
    """An image that can be booted: a kernel with an initrd, a disk, or both."""

    manifest: Manifest
    kernel: Path | None
    initrd: Path | None
    disk: Path | None

    @property
    def name(self) -> str:
        """The name it is asked for by."""
        return self.manifest.name

    @property
    def directory(self) -> Path:
        """Where its parts are."""
        return next(path.parent for path in (self.kernel, self.disk) if path is not None)

    @property
    def disk_format(self) -> str:
        """`raw` or `qcow2`."""
        return "raw" if self.disk is None else self.disk.suffix.removeprefix(".")

    @property
    def size_bytes(self) -> int:
        """What it takes on the host's disk."""
        return sum(_allocated(path) for path in (self.kernel, self.initrd, self.disk) if path)


@dataclass(frozen=True)
class Built:
    """An image, and whether it was there already."""

    image: Image
    cached: bool


def directory() -> Path:
    """Where the images are."""
    return cache.home() / "images"


def write_manifest(where: Path, manifest: Manifest) -> None:
    """Put the manifest into an image's directory."""
    (where / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1) + "\n")


def read(where: Path) -> Image:
    """The image in a directory. Raises BadImage when a part of it is missing or its manifest is not one."""
    try:
        document = json.loads((where / MANIFEST).read_text())
        packages = tuple(PackageVersion(**package) for package in document.pop("packages"))
        manifest = Manifest(**document, packages=packages)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadImage(where, f"no usable {MANIFEST} ({error})") from error
    disk = _if_there(where / "disk.raw") or _if_there(where / "disk.qcow2")
    image = Image(manifest, _if_there(where / "vmlinuz"), _if_there(where / "initrd"), disk)
    if image.kernel is None and (manifest.kernel or disk is None):
        raise BadImage(where, f"its {'kernel' if manifest.kernel else 'disk'} is missing")
    return image


def images() -> tuple[Image, ...]:
    """All images of the store, newest first of each name, damaged ones left out."""
    found = []
    for where in sorted(directory().glob("*/*/")):
        try:
            found.append(read(where))
        except BadImage:
            continue
    return tuple(sorted(found, key=lambda image: (image.name, _age(image))))


def take(image: Image) -> Image:
    """The image, marked as taken: no other process prunes it from under this one."""
    (image.directory / USED).touch()
    return image


def harness_copy(disk: Path, digest: str) -> Path:
    """Where a copy of an image's disk is kept that carries what tests need; `digest`: of what it carries."""
    return disk.with_name(f"{disk.stem}{_HARNESS}{digest}{disk.suffix}")


def prune_harness_copies(kept: Path) -> None:
    """Remove the other copies of an image's builds that nobody took lately.

    One is made again in seconds, and takes as much space as the image.
    """
    if kept.parents[2] != directory():
        return
    for path in kept.parents[1].glob(f"*/*{_HARNESS}*"):
        if path != kept and not _is_late(path):
            path.unlink(missing_ok=True)


def prune(name: str, keep: int) -> None:
    """Remove all but the newest builds of an image, and those that somebody took lately."""
    for image in [image for image in images() if image.name == name][keep:]:
        if not _is_late(image.directory / USED):
            remove(image)


def _is_late(mark: Path) -> bool:
    """Whether a mark was made or touched within the time of use."""
    try:
        return time.time() - mark.stat().st_mtime < IN_USE_S
    except FileNotFoundError:
        return False


def remove(image: Image) -> None:
    """Remove one build of an image; the manifest goes first, so that a half-removed one is no image."""
    where = image.directory
    (where / MANIFEST).unlink(missing_ok=True)
    for path in where.iterdir():
        path.unlink()
    where.rmdir()


def _age(image: Image) -> float:
    return -(image.directory / MANIFEST).stat().st_mtime


def _allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


def _if_there(path: Path) -> Path | None:
    return path if path.is_file() else None
