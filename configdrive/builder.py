"""Build a config drive from `{path: bytes}`: the same bytes every time, without root and without programs."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping

from configdrive import iso9660_writer, vfat_writer
from configdrive.errors import UnbuildableTree
from configdrive.source import LIMITS, MIB
from configdrive.tree import plant

# FAT cannot store an earlier day, and one default for all formats is easier to explain.
DEFAULT_DATE_S = 315_532_800  # 1980-01-01
LAST_DATE_S = 4_354_819_199  # the end of 2107, the last year of FAT
_DATE_REMEDY = f"Give seconds since 1970, 0 to {LAST_DATE_S}"


class Format(enum.Enum):
    """File systems of a drive."""

    ISO9660 = "iso9660"
    VFAT = "vfat"


VFAT_MIB = 64  # as Nova makes them
LONGEST_LABEL = {Format.ISO9660: 16, Format.VFAT: 11}  # 16: what Joliet keeps of it


def build(
    tree: Mapping[str, bytes],
    label: str = "config-2",
    format: Format = Format.ISO9660,  # noqa: A002 -- the word users know from every other tool
    *,
    date_s: int | None = None,
    size_mib: int = VFAT_MIB,
) -> bytes:
    """The image of `{path: content}`.

    `date_s` dates everything in it; None: SOURCE_DATE_EPOCH, else 1980-01-01. `size_mib` is the size of a
    vfat drive. Raises UnbuildableTree.
    """
    used, size = parts(tree, label, format, date_s=date_s, size_mib=size_mib)
    return used.ljust(size, b"\0")


def parts(
    tree: Mapping[str, bytes],
    label: str,
    format: Format,  # noqa: A002 -- as build
    *,
    date_s: int | None,
    size_mib: int,
) -> tuple[bytes, int]:
    """As `build`: the used bytes and the size of the image; between them are zeros."""
    root = plant(tree)
    _check_label(label, format)
    date_s = _source_date_s() if date_s is None else date_s
    if not 0 <= date_s <= LAST_DATE_S:
        raise UnbuildableTree("SOURCE_DATE_EPOCH", f"{date_s} is no date that a drive can bear", _DATE_REMEDY)
    if format is Format.VFAT:
        if not 1 <= size_mib <= VFAT_MIB:
            raise UnbuildableTree("/", f"a vfat drive of {size_mib} MiB", f"Choose 1 to {VFAT_MIB} MiB")
        return vfat_writer.write(root, label, date_s, size_mib), size_mib * MIB
    image = iso9660_writer.write(root, label, date_s)
    if len(image) > LIMITS.image_bytes:
        raise UnbuildableTree(
            "/", f"an image of {len(image):,} bytes", f"The limit is {LIMITS.image_bytes:,}"
        )
    return image, len(image)


def _check_label(label: str, format: Format) -> None:  # noqa: A002 -- as build
    longest = LONGEST_LABEL[format]
    if (
        not label
        or len(label) > longest
        or not label.isascii()
        or not label.isprintable()
        or label != label.strip()
    ):
        problem = f"the label {label!r} is not 1 to {longest} printable ASCII characters"
        raise UnbuildableTree("label", problem, "Use 'config-2' for OpenStack, 'cidata' for NoCloud")


def _source_date_s() -> int:
    """Seconds since 1970 from SOURCE_DATE_EPOCH, else DEFAULT_DATE_S. Raises UnbuildableTree."""
    text = os.environ.get("SOURCE_DATE_EPOCH") or str(DEFAULT_DATE_S)
    if not text.isascii() or not text.isdecimal() or len(text) > 20:
        raise UnbuildableTree("SOURCE_DATE_EPOCH", "it is not a whole number", _DATE_REMEDY)
    return int(text)
