"""Drives that may hold a seed: found through /sys/class/block, read without a mount."""

from __future__ import annotations

import os

from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.machine import Machine

NOT_DRIVES = ("loop", "ram", "zram", "dm-", "md", "nbd")


class Device(Value):
    """A block device that holds a file system we read. `path` is the guest's."""

    path: str
    filesystem: str
    label: str
    is_partition: bool


def drives(machine: Machine) -> tuple[Device, ...]:
    """The iso9660 and vfat devices, highest name first."""
    names = _names(machine)
    if not names:
        return ()
    from configdrive import reader

    found = []
    for name in names:
        filesystem, label = reader.probe(machine.path(f"/dev/{name}"))
        if filesystem in (reader.ISO9660, reader.VFAT):
            partition = machine.exists(f"/sys/class/block/{name}/partition")
            found.append(Device(f"/dev/{name}", filesystem, label or "", partition))
    return tuple(sorted(found, key=lambda device: device.path, reverse=True))


def _names(machine: Machine) -> list[str]:
    """Block devices that are not made of others and are not empty (a CD drive without a CD)."""
    try:
        names = os.listdir(machine.path("/sys/class/block"))
    except OSError:
        return []
    return [
        name
        for name in names
        if not name.startswith(NOT_DRIVES)
        and (machine.read_text(f"/sys/class/block/{name}/size") or "1").strip() != "0"
    ]


def read_drive(machine: Machine, path: str, under: tuple[str, ...] | None = None) -> dict[str, bytes]:
    """Path (without a leading /) to content of the drive or directory. Raises SourceUnusable."""
    from configdrive import reader
    from configdrive.errors import DriveError
    from guest_agent.errors import SourceUnusable

    try:
        return reader.read(machine.path(path), under)
    except DriveError as error:
        raise SourceUnusable(f"{path}: {error}") from error
