"""Block devices: the reader in a guest meets disks, not files; and this kernel's own mount where it can."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from configdrive import builder, reader
from configdrive.builder import Format
from tests.contract.drive.readers import files_below
from tests.contract.drive.writers import need, run
from tests.unit.configdrive.trees import TREE

pytestmark = pytest.mark.root


@contextmanager
def loop_device(image: Path) -> Iterator[str]:
    """A block device over the image."""
    need("losetup")
    if os.geteuid() != 0:
        pytest.skip("root is needed for a loop device")
    device = run("losetup", "--find", "--show", "--read-only", image).decode().strip()
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


@pytest.fixture(params=Format, ids=lambda filesystem: filesystem.value)
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(builder.build(TREE, format=request.param))
    return path


def test_a_block_device_is_read_as_a_file_is(image: Path) -> None:
    with loop_device(image) as device:
        assert reader.read(device) == TREE
        assert (reader.filesystem(device), reader.label(device)) == (reader.filesystem(image), "config-2")


def test_cd_13_this_kernel_mounts_it(image: Path, tmp_path: Path) -> None:
    kind = reader.filesystem(image)
    assert kind is not None
    if not any(line.split()[-1] == kind for line in Path("/proc/filesystems").read_text().splitlines()):
        pytest.skip(f"this kernel has no {kind}; tests/boot/test_drive_in_a_kernel.py asks one that has")
    target = tmp_path / "mounted"
    target.mkdir()
    with loop_device(image) as device:
        run("mount", "-t", kind, "-o", "ro", device, target)
        try:
            assert files_below(target) == TREE
        finally:
            run("umount", target)
