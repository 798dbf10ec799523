"""What QEMU is handed over instead of paths: descriptors of sockets, disk images and saved states.

They are opened with the spawner's rights, so that QEMU's user needs none on any path.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from spawner.compute.driver import Disk
from spawner.compute.qemu.launch import FIRST_FD
from spawner.errors import FileRefused


class Handover:
    """Descriptors for QEMU, and the numbers under which it will find them."""

    def __init__(self) -> None:
        self.fds: dict[int, int] = {}

    def number_of(self, fd: int) -> int:
        """The number for one more."""
        number = FIRST_FD + len(self.fds)
        self.fds[number] = fd
        return number


def layers(disks: Sequence[Disk]) -> Iterator[Disk]:
    """Every image of every disk: the disk itself, then its bases, which nobody may write to (SP-08)."""
    for disk in disks:
        yield disk
        base = disk.backing
        while base is not None:
            yield dataclasses.replace(base, read_only=True)
            base = base.backing


def open_state(path: Path, ours: contextlib.ExitStack) -> int:
    """A saved state, opened as an image is."""
    return open_image(Disk(path, read_only=True), ours)


def open_image(disk: Disk, ours: contextlib.ExitStack) -> int:
    """An image, opened with our rights: QEMU's user needs none on the path."""
    try:
        fd = os.open(disk.path, (os.O_RDONLY if disk.read_only else os.O_RDWR) | os.O_CLOEXEC)
    except OSError as error:
        why = error.strerror or "cannot be opened"
        raise FileRefused(disk.path, why, "Correct the path or its mode") from error
    ours.callback(os.close, fd)
    return fd
