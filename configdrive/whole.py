"""Output that is there whole or not at all: files and directories (faults-and-threats G6, CD-12).

A file is written beside its final place, brought to the disk, then renamed. Whatever goes wrong before the
rename leaves the final place as it was and nothing beside it; the next run removes what a killed one left.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from configdrive.errors import UnwritableOutput

if TYPE_CHECKING:
    from collections.abc import Mapping

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ALIVE = Path("/proc")


def write_file(
    path: Path, content: bytes, size: int | None = None, mode: int = 0o600, *, lasting: bool = True
) -> None:
    """Put `content`, followed by zeros up to `size`, at `path`; zeros take no space. Raises UnwritableOutput.

    A drive holds secrets: nobody but the owner reads it unless `mode` says so (CD-14). Not `lasting`: every
    process finds it whole, a power cut may cut it; the disk is not waited for.
    """
    if path.exists() and not path.is_file():
        raise UnwritableOutput(str(path), "it exists and is not a regular file")
    try:
        _write_and_rename(path, content, size, mode, lasting=lasting)
    except OSError as error:
        raise UnwritableOutput(str(path), error.strerror or str(error)) from error


def write_directory(path: Path, tree: Mapping[str, bytes]) -> None:
    """Put `{path: content}` below a new (or empty) directory `path`. Raises UnwritableOutput."""
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UnwritableOutput(str(path), "it exists and is not an empty directory")
    try:
        _remove_stale(path)
        part = _part(path)
        try:
            part.mkdir(0o700)
            for name, content in tree.items():
                _fill(part / name, content)
            part.rename(path)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        _sync_directory(path.parent)
    except OSError as error:
        raise UnwritableOutput(str(path), error.strerror or str(error)) from error


def _write_and_rename(path: Path, content: bytes, size: int | None, mode: int, *, lasting: bool) -> None:
    _remove_stale(path)
    part = _part(path)
    descriptor = os.open(part, _NEW, mode)
    try:
        try:
            os.fchmod(descriptor, mode)
            _write_all(descriptor, content)
            if size is not None:
                os.ftruncate(descriptor, size)
            if lasting:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        part.rename(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    if lasting:
        _sync_directory(path.parent)


def _fill(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, _NEW, 0o600)
    try:
        _write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _part(path: Path) -> Path:
    """Where `path` is written first: beside it, so that it can be renamed, and named after this process."""
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")


def _remove_stale(path: Path) -> None:
    """Remove what processes that no longer exist left beside `path`."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.[0-9a-f]{{8}}\.part")
    for other in path.parent.iterdir():
        match = pattern.fullmatch(other.name)
        if match and not (_ALIVE / match[1]).exists():
            shutil.rmtree(other) if other.is_dir() and not other.is_symlink() else other.unlink()
