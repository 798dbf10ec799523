"""Puts the program that carries out a test's commands into the root of an image, as a unit of systemd's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from guest_agent.machine import Machine, Settings
from image_harness.helper.inside.bake import CannotBake


def add(root: Path, order: dict[str, Any], payload: Path) -> dict[str, object]:
    """Write the order's files and links. Raises CannotBake where there is no systemd, OSError."""
    machine = Machine(Settings(root=str(root), commands="record"))
    if not (machine.exists("/usr/lib/systemd/systemd") or machine.exists("/lib/systemd/systemd")):
        raise CannotBake("there is no systemd in it, which would start the program that takes commands")
    for path, (name, mode) in order["files"].items():
        machine.write(path, (payload / name).read_bytes(), mode)
    for path, target in order["links"].items():
        machine.link(path, target)
    return {"written": sorted([*order["files"], *order["links"]])}
