"""A kernel that took the drive for its root is started again; a guest that fails otherwise is not."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from image_harness import boot, instances, store

PANIC = b'Kernel panic - not syncing: VFS: Unable to mount root fs on "/dev/nvme0n1" or unknown-block(259,0)'
HERE = Path(__file__)


@pytest.mark.parametrize(
    ("kernel", "disk", "console", "mistaken"),
    [
        (HERE, HERE, PANIC, True),
        (HERE, HERE, b"Kernel panic - not syncing: Attempted to kill init!", False),
        (HERE, None, PANIC, False),
        (None, HERE, PANIC, False),
    ],
)
def test_only_a_root_that_was_not_found_is_tried_again(
    kernel: Path | None, disk: Path | None, console: bytes, mistaken: bool
) -> None:
    manifest = store.Manifest("x", "d", "", "trixie", "6.12", "", 256, "", ())
    image = store.Image(manifest, kernel, None, disk)
    order = boot.Order(image, instances.describe("x", UUID(int=1), None, ()))
    assert boot.mistook_its_disks(order, console) is mistaken
