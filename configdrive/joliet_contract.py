"""What Windows sees: Joliet instead of Rock Ridge. Both must show the same drive (CD-06)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from configdrive import iso9660_reader
from configdrive.errors import DriveError
from configdrive.findings import warning
from configdrive.harvest import Harvest
from configdrive.source import on_disk, open_drive

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from configdrive.findings import Finding

_CODE = "drive-joliet-differs"
_REMEDY = "Build the drive again"
_LONGEST = 60  # longer names are cut in Joliet, by each writer in its own way


def check(path: str | os.PathLike[str], tree: Mapping[str, bytes]) -> Iterator[Finding]:
    """A warning for each file that the Joliet tree of the image at `path` lacks or shows differently."""
    try:
        joliet = _read(path)
    except DriveError as error:
        yield warning(_CODE, "", f"its Joliet tree is damaged: {error.problem}", _REMEDY, key="names")
        return
    for name, content in tree.items():
        if max(map(len, name.split("/"))) <= _LONGEST and joliet.get(name) != content:
            how = "is missing" if name not in joliet else "has another content"
            yield warning(_CODE, name, f"it {how} in the Joliet tree, which Windows guests read", _REMEDY)


def _read(path: str | os.PathLike[str]) -> dict[str, bytes]:
    descriptor = open_drive(path)
    try:
        image = on_disk(descriptor)
        harvest = Harvest(image.limits)
        iso9660_reader.read_joliet(image, harvest)
        return harvest.tree
    finally:
        os.close(descriptor)
