"""The root of a guest as a directory: one that is there, or what is in an image file, read by debugfs.

Nothing is mounted and nothing of the image is run (SP-24).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from image_harness import cache, programs
from image_harness.errors import HarnessError, NotARoot

# Where an ext2, ext3 or ext4 file system has its magic number, and which.
_MAGIC_AT, _MAGIC = 1080, b"\x53\xef"
_CHECK_S = 300


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """`path` itself, or a copy of the files of the ext file system in it, gone afterwards.

    Raises NotARoot, ProgramFailed.
    """
    if path.is_dir():
        yield path
        return
    _require_sound_ext(path)
    with cache.scratch() as scratch:
        root = scratch / "root"
        root.mkdir()
        programs.run(["debugfs", "-R", f'rdump "/" "{root}"', str(path)])
        yield root


def is_ext(path: Path) -> bool:
    """Whether a file is an ext2, ext3 or ext4 file system as a whole."""
    try:
        with path.open("rb") as file:
            file.seek(_MAGIC_AT)
            return file.read(2) == _MAGIC
    except OSError:
        return False


def _require_sound_ext(path: Path) -> None:
    remedy = "Give a directory, or a raw file that is an ext4 file system as a whole"
    try:
        with path.open("rb") as file:
            file.seek(_MAGIC_AT)
            magic = file.read(2)
    except OSError as error:
        raise NotARoot(path, error.strerror or "cannot be read", remedy) from error
    if magic != _MAGIC:
        raise NotARoot(path, "neither a directory nor an ext4 file system", remedy)
    if '"' in str(path) or "\n" in str(path):
        raise NotARoot(path, "its name has a quote or a line end", "Rename it")
    # Names with slashes, which a hostile image may hold, would lead debugfs astray; e2fsck finds them.
    argv = ["e2fsck", "-fn", str(path)]
    if shutil.which("e2fsck") is None:
        raise HarnessError("e2fsck is not installed. Install e2fsprogs.")
    done = subprocess.run(argv, capture_output=True, timeout=_CHECK_S, check=False)
    if done.returncode != 0:
        raise NotARoot(path, "its file system is not sound", "Look at it with e2fsck -fn")
