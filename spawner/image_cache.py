"""Images in formats that no guest is given, as qcow2: converted once, kept within a quota.

A vmdk or vhd was inspected when it was received; it is converted under limits and QEMU itself never reads it.
What is kept can be made again, so that the least recently used goes first when there is too much; a guest
that runs on one has it open.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from spawner.qemu_img import qemu_img

CONVERTED = {"vmdk": "vmdk", "vhd": "vpc"}
"""Formats that are converted, and qemu-img's names for them."""
QUOTA_BYTES = 20 << 30


class ImageCache:
    """The converted images of one host, by image id."""

    def __init__(self, directory: Path, quota_bytes: int = QUOTA_BYTES) -> None:
        self._directory = directory
        self._quota_bytes = quota_bytes
        self._converting: dict[str, asyncio.Lock] = {}

    @property
    def directory(self) -> Path:
        """Where they are."""
        return self._directory

    async def get(self, image_id: str, source: Path, disk_format: str) -> Path:
        """The image as qcow2, converted now when it is not there. Raises QemuFailed, OSError."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._directory / image_id
        async with self._converting.setdefault(image_id, asyncio.Lock()):
            if not path.exists():
                await self._convert(source, CONVERTED[disk_format], path)
            os.utime(path)
        self._make_room(path)
        return path

    async def _convert(self, source: Path, name: str, path: Path) -> None:
        partial = path.with_suffix(".part")
        try:
            # A compressed image may swell to its whole size: never beyond what is kept (SP-11).
            await qemu_img(
                *("convert", "-q", "-f", name, "-O", "qcow2", str(source), str(partial)),
                largest_file=self._quota_bytes,
            )
            partial.chmod(0o600)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _make_room(self, wanted: Path) -> None:
        """Remove what was used longest ago until the rest is within the quota; never what is wanted now."""
        found = [(path.stat(), path) for path in self._directory.iterdir() if path.suffix != ".part"]
        total = sum(status.st_blocks * 512 for status, _path in found)
        for status, path in sorted(found, key=lambda each: each[0].st_mtime_ns):
            if total <= self._quota_bytes:
                return
            if path != wanted:
                path.unlink(missing_ok=True)
                total -= status.st_blocks * 512
