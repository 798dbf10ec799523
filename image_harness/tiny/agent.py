"""The agent as it stands in this tree or installation, packed as the second archive of the initramfs."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from image_harness import cpio
from image_harness.tiny import base

# The tree that holds the packages side by side.
SOURCES = Path(__file__).parents[2]
_PACKAGES = ("boot_stages", "guest_agent")
_SINGLE_FILES = ("configdrive/__init__.py", "configdrive/reader.py")
_INTO = "usr/lib/python3/dist-packages"


def files() -> Iterator[tuple[str, Path]]:
    """All that a guest carries of ours: path below the packages' directory, and where it is here."""
    for package in _PACKAGES:
        for path in sorted((SOURCES / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(SOURCES).as_posix(), path
    yield from ((name, SOURCES / name) for name in _SINGLE_FILES if (SOURCES / name).exists())


def digest() -> str:
    """Changes when any file of the agent does; 16 hexadecimal digits."""
    whole = hashlib.sha256()
    for name, path in files():
        whole.update(f"{name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return whole.hexdigest()[:16]


def archive(interpreter: Path, work: Path) -> bytes:
    """The agent, compiled by the guest's own Python below `interpreter`; `work` is an empty directory."""
    target = work / _INTO
    for name, source in files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target / name)
    base.compile_trees(interpreter, work, "beside", f"/{_INTO}")
    packed = [path for path in sorted(work.rglob("*")) if path.is_file()]
    return cpio.archive(cpio.file(path.relative_to(work).as_posix(), path.read_bytes()) for path in packed)
