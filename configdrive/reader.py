"""Read a config drive: a directory, an ISO 9660 or FAT image or disk, plain or as gzip or base64 of gzip.

Runs in a guest (Python 3.9, standard library, no mount, no root beyond reading the device) and on a host,
which must never let its kernel mount a foreign image. Either the whole tree comes back or a DriveError.
"""

from __future__ import annotations

import os
import stat

from configdrive import iso9660_reader
from configdrive.errors import DriveError, UnknownFormat
from configdrive.harvest import Harvest
from configdrive.source import LIMITS, in_memory, on_disk, open_drive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from configdrive.source import Image, Limits

DIRECTORY = "directory"
ISO9660 = "iso9660"
VFAT = "vfat"


class Drive:
    """A drive as it was read: `tree` maps paths without a leading `/` to contents.

    `names` says where the paths came from: `rock-ridge`, `joliet`, `plain`, `long`, `8.3` or `directory`.
    `size` is that of the image in bytes. `notes` are peculiarities that did no harm.
    """

    def __init__(
        self,
        filesystem: str,
        label: str | None,
        names: str,
        tree: dict[str, bytes],
        size: int,
        *,
        has_joliet: bool = False,
    ) -> None:
        self.filesystem = filesystem
        self.label = label
        self.names = names
        self.tree = tree
        self.size = size
        self.has_joliet = has_joliet
        self.is_packed = False
        self.notes: tuple[str, ...] = ()


def read(
    path: str | os.PathLike[str], under: tuple[str, ...] | None = None, limits: Limits = LIMITS
) -> dict[str, bytes]:
    """`{path: content}` of the drive at `path`, a directory, file or block device.

    `under` names the entries of the root that are wanted, the others are not even looked at; None: all.
    Raises DriveError.
    """
    return inspect(path, under, limits).tree


def inspect(
    path: str | os.PathLike[str], under: tuple[str, ...] | None = None, limits: Limits = LIMITS
) -> Drive:
    """As `read`, with everything that is known of the drive. Raises DriveError."""
    descriptor = open_drive(path)
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            return _read_directory(descriptor, Harvest(limits, under))
        return read_image(on_disk(descriptor, limits), under)
    finally:
        os.close(descriptor)


def read_bytes(data: bytes, under: tuple[str, ...] | None = None, limits: Limits = LIMITS) -> Drive:
    """As `inspect`, of an image that is already in memory. Raises DriveError."""
    return read_image(in_memory(data, limits), under)


def read_image(image: Image, under: tuple[str, ...] | None = None) -> Drive:
    """As `inspect`, of any image. Raises DriveError."""
    drive = _read_plain(image, under)
    if drive is not None:
        return drive
    from configdrive import envelope

    if not envelope.is_packed(image):
        raise UnknownFormat(image.size)
    data, notes = envelope.unpack(image)
    # One layer only: what is inside an envelope must be an image.
    drive = _read_plain(in_memory(data, image.limits), under)
    if drive is None:
        raise UnknownFormat(len(data))
    drive.is_packed = True
    drive.notes = notes
    return drive


def _read_plain(image: Image, under: tuple[str, ...] | None) -> Drive | None:
    """The drive, or None where the bytes are no file system of ours."""
    harvest = Harvest(image.limits, under)
    if iso9660_reader.is_iso9660(image):
        label, names, has_joliet = iso9660_reader.read(image, harvest)
        return Drive(ISO9660, label, names, harvest.tree, image.size, has_joliet=has_joliet)
    from configdrive import vfat_reader

    if vfat_reader.is_vfat(image):
        root_label, names = vfat_reader.read(image, harvest)
        return Drive(VFAT, root_label, names, harvest.tree, image.size)
    return None


def filesystem(path: str | os.PathLike[str]) -> str | None:
    """`directory`, `iso9660`, `vfat`, or None for anything else or unreadable. Reads a few sectors."""
    return probe(path)[0]


def label(path: str | os.PathLike[str]) -> str | None:
    """The label as it is stored, without padding; None without one or for anything that is no drive."""
    return probe(path)[1]


def probe(path: str | os.PathLike[str]) -> tuple[str | None, str | None]:
    """(file system, label) of a directory, file or block device; reads a few sectors, raises nothing."""
    try:
        descriptor = open_drive(path)
    except DriveError:
        return None, None
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            return DIRECTORY, None
        return _probe_image(on_disk(descriptor))
    except DriveError:
        return None, None
    finally:
        os.close(descriptor)


def _probe_image(image: Image) -> tuple[str | None, str | None]:
    if iso9660_reader.is_iso9660(image):
        return ISO9660, iso9660_reader.label(image)
    from configdrive import vfat_reader

    if vfat_reader.is_vfat(image):
        return VFAT, vfat_reader.label(image)
    return None, None


def _read_directory(descriptor: int, harvest: Harvest) -> Drive:
    from configdrive import directory_reader

    directory_reader.read(descriptor, harvest)
    size = sum(map(len, harvest.tree.values()))
    return Drive(DIRECTORY, None, "directory", harvest.tree, size)
