"""Passwords that guests post once: stored for good before the answer is sent (OS-14, OS-16).

One file an instance, made whole under another name and then linked into place: the link either is the first
one or fails, also between processes, so exactly one of many posts wins.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from metadata_server.errors import DamagedStore, StoreUnavailable


class Passwords(Protocol):
    """Where passwords are kept. Every method may raise StoreUnavailable or DamagedStore."""

    async def read(self, instance_id: str) -> bytes:
        """The stored password, b"" when there is none."""

    async def store_once(self, instance_id: str, password: bytes) -> bool:
        """Store it; False, and nothing changed, when there is one already."""

    async def clear(self, instance_id: str) -> None:
        """Forget it: the instance was rebuilt (OS-15)."""


class MemoryPasswords:
    """Passwords that last as long as the process; for the spawner's short-lived guests and for tests."""

    def __init__(self) -> None:
        self._stored: dict[str, bytes] = {}

    async def read(self, instance_id: str) -> bytes:
        return self._stored.get(instance_id, b"")

    async def store_once(self, instance_id: str, password: bytes) -> bool:
        return self._stored.setdefault(instance_id, password) is password

    async def clear(self, instance_id: str) -> None:
        self._stored.pop(instance_id, None)


class DirectoryPasswords:
    """A file for each instance in a directory of mode 0700."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for stale in directory.glob("*.new"):
            stale.unlink(missing_ok=True)

    def check(self) -> None:
        """Read every record. Raises DamagedStore for the first one that is not what was written."""
        for path in sorted(self._directory.glob("*.password")):
            _unwrap(path, path.read_bytes())

    async def read(self, instance_id: str) -> bytes:
        return await asyncio.to_thread(self._read, instance_id)

    async def store_once(self, instance_id: str, password: bytes) -> bool:
        return await asyncio.to_thread(self._store_once, instance_id, password)

    async def clear(self, instance_id: str) -> None:
        await asyncio.to_thread(self._path(instance_id).unlink, missing_ok=True)

    def _path(self, instance_id: str) -> Path:
        return self._directory / f"{instance_id}.password"

    def _read(self, instance_id: str) -> bytes:
        path = self._path(instance_id)
        try:
            return _unwrap(path, path.read_bytes())
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise StoreUnavailable(str(path), error.strerror or "input/output error") from error

    def _store_once(self, instance_id: str, password: bytes) -> bool:
        path = self._path(instance_id)
        record = hashlib.sha256(password).hexdigest().encode() + b"\n" + password
        try:
            return write_once(path, record)
        except OSError as error:
            raise StoreUnavailable(str(path), error.strerror or "input/output error") from error


def _unwrap(path: Path, record: bytes) -> bytes:
    digest, _, password = record.partition(b"\n")
    if hashlib.sha256(password).hexdigest().encode() != digest:
        raise DamagedStore(str(path))
    return password


def write_once(path: Path, content: bytes) -> bool:
    """Create `path` (0600) with this content, durably; False when it exists. Nobody sees half of it."""
    if path.exists():
        return False
    temporary = path.with_name(f"{path.name}.{uuid4().hex}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        try:
            _write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)
    return True


def _write_all(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
