"""Where images and all that can be made again are kept: one directory for a user."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def home() -> Path:
    """GUESTLING_CACHE, else `guestling` below the user's cache directory. Safe to delete at any time."""
    chosen = os.environ.get("GUESTLING_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "guestling"


@contextmanager
def new_directory(final: Path) -> Iterator[Path]:
    """A directory to fill, which appears at `final` in one step when all went well, and not at all otherwise.

    Two builders of the same thing do not disturb each other: the first one wins, both have the same content.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        yield work
        work.chmod(0o755)
        if not final.exists():
            work.rename(final)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty directory on the cache's own file system, gone afterwards."""
    (home() / "work").mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=home() / "work"))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
