"""Makes the helper guest's initramfs: the tiny guest's, drivers for more file systems, and the job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from image_harness import agent, cpio, store
from image_harness.errors import BadImage
from image_harness.guest_python import DIST_PACKAGES
from image_harness.tiny.build import FILE_SYSTEMS

HARNESS = Path(__file__).parents[1]
# What runs inside, and what that imports of ours besides the agent.
_INSIDE = (
    "__init__.py", "errors.py", "root_diff.py", "seal.py", "seal_rules.py", "helper/__init__.py",
    "helper/inside/__init__.py", "helper/inside/bake.py", "helper/inside/main.py", "helper/inside/mounts.py",
    "helper/inside/offline.py", "helper/inside/shell.py",
)  # fmt: skip
INIT = "init"


def initrd(tiny: store.Image, order: Mapping[str, object], payload: Mapping[str, Path]) -> bytes:
    """The whole initramfs. `payload`: path below /helper/payload -> file here.

    Raises BadImage where the tiny image is of a time before the drivers were kept.
    """
    drivers = tiny.directory / FILE_SYSTEMS
    if tiny.initrd is None or not drivers.is_file():
        raise BadImage(tiny.directory, f"it has no {FILE_SYSTEMS}")
    entries = [cpio.file(f"helper/image_harness/{name}", (HARNESS / name).read_bytes()) for name in _INSIDE]
    entries += [
        cpio.file(f"{DIST_PACKAGES}/{name}", (HARNESS.parent / name).read_bytes()) for name in agent.PLANNING
    ]
    entries += [
        cpio.file(f"helper/payload/{name}", path.read_bytes(), path.stat().st_mode & 0o777)
        for name, path in sorted(payload.items())
    ]
    entries += [
        cpio.file("helper/order.json", json.dumps(order).encode()),
        cpio.file(INIT, (HARNESS / "helper/inside/init").read_bytes(), 0o755),
    ]
    return tiny.initrd.read_bytes() + drivers.read_bytes() + cpio.archive(entries)
