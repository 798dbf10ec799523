"""Instances from a directory of YAML and JSON documents (or one file), followed while they change.

A broken document is reported and its last good version stays in service; the others are not touched (BAD-2).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from instance_metadata.errors import Fault, InvalidInstance
from instance_metadata.fields import Json, as_json, is_json
from instance_metadata.instance import MAX_USER_DATA, Instance, read
from instance_metadata.reading import load
from metadata_server.catalogue import Catalogue
from metadata_server.errors import StoreUnavailable

LOG = logging.getLogger("metadata_server")
SUFFIXES = (".yaml", ".yml", ".json")
LEAST_PAUSE_S = 0.5
# Looking costs at most this part of one core, however many files there are.
SCAN_SHARE = 0.03
# Documents read in one go: unpacked instances take ten times the room of packed ones.
BATCH = 500


@dataclass(frozen=True, slots=True)
class Look:
    """What is different since the last look. `stamps` tell one version of a file from another."""

    changed: tuple[str, ...]
    gone: frozenset[str]
    stamps: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some of the changed files, read: good documents, and the faults of the others."""

    documents: Mapping[str, Instance]
    broken: Mapping[str, tuple[Fault, ...]]


@dataclass(slots=True)
class InstanceFiles:
    """Keeps a catalogue equal to the documents under `path`. `faults` holds what is wrong now, by file."""

    path: Path
    catalogue: Catalogue
    max_user_data: int = MAX_USER_DATA
    faults: dict[str, tuple[Fault, ...]] = field(default_factory=dict)
    reloads: int = 0
    failed_reloads: int = 0
    _stamps: dict[str, int] = field(default_factory=dict)
    _owners: dict[str, str] = field(default_factory=dict)
    _look_s: float = 0.0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def load(self) -> tuple[Fault, ...]:
        """Look once, now; returns every fault there is."""
        look = self._look()
        self._forget_gone(look)
        for paths in _batches(look.changed):
            self._take(self._read_all(paths), look)
        return self.all_faults()

    async def follow(self) -> None:
        """Look again and again until cancelled; never reads a file in the event loop."""
        while True:
            await self._pause(max(LEAST_PAUSE_S, self._look_s / SCAN_SHARE))
            try:
                await self._follow_once()
            except OSError as error:
                reason = error.strerror or "input/output error"
                fault = Fault(str(self.path), None, "", f"cannot be read: {reason}", "The instances stay")
                self._report(str(self.path), (fault,))
            else:
                if self.path.is_dir():
                    self.faults.pop(str(self.path), None)

    async def _follow_once(self) -> None:
        look = await asyncio.to_thread(self._look)
        self._forget_gone(look)
        for paths in _batches(look.changed):
            self._take(await asyncio.to_thread(self._read_all, paths), look)

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    def look_now(self) -> None:
        """End the pause of `follow`: someone says that there is a change (SIGHUP)."""
        self._wake.set()

    def _look(self) -> Look:
        started = time.monotonic()
        stamps = self._stamps_now()
        self._look_s = time.monotonic() - started
        changed = tuple(path for path, stamp in stamps.items() if self._stamps.get(path) != stamp)
        return Look(changed, frozenset(self._stamps.keys() - stamps.keys()), stamps)

    def _stamps_now(self) -> dict[str, int]:
        """The documents there are. A single file that goes takes its instance along; a directory that goes
        is taken for a fault of the mount, and raises OSError.
        """
        if self.path.is_dir():
            return _stamps(self.path)
        try:
            return {str(self.path): _stamp(self.path.stat())}
        except FileNotFoundError:
            if str(self.path) not in self._stamps:
                raise
            return {}

    def _read_all(self, paths: tuple[str, ...]) -> Batch:
        documents: dict[str, Instance] = {}
        broken: dict[str, tuple[Fault, ...]] = {}
        for path in paths:
            try:
                before = _stamp(Path(path).stat())
                text = Path(path).read_bytes()
                if _stamp(Path(path).stat()) == before:  # else it is being replaced: the next look reads it
                    documents[path] = read(text, path, max_user_data=self.max_user_data)
            except FileNotFoundError:
                continue
            except OSError as error:
                reason = error.strerror or "input/output error"
                broken[path] = (Fault(path, None, "", f"cannot be read: {reason}", "Make it readable"),)
            except InvalidInstance as refused:
                broken[path] = refused.faults
        return Batch(documents, broken)

    def _forget_gone(self, look: Look) -> None:
        if not look.gone:
            return
        self.reloads += 1
        for uuid in [uuid for uuid, path in self._owners.items() if path in look.gone]:
            self._forget_uuid(uuid)
        for path in look.gone:
            self.faults.pop(path, None)
            self._stamps.pop(path, None)

    def _take(self, batch: Batch, look: Look) -> None:
        """Bring a batch into the catalogue, without a pause in which a request could see half of it."""
        self.reloads += 1
        for path, faults in batch.broken.items():
            self._stamps[path] = look.stamps[path]
            self._report(path, faults)
        left = self._put_all(batch.documents)
        while left and len(again := self._put_all(left)) < len(left):
            left = again  # an address went from one document to another: the giver came later
        for path in batch.documents:
            if path not in left:  # those are tried again: the other owner may go
                self._stamps[path] = look.stamps[path]

    def _put_all(self, documents: Mapping[str, Instance]) -> dict[str, Instance]:
        """Put documents; returns those in conflict with another one."""
        refused: dict[str, Instance] = {}
        again = any(path in self._stamps for path in documents)
        before = {path: uuid for uuid, path in self._owners.items()} if again else {}
        for path, instance in documents.items():
            owner = self._owners.get(instance.uuid, path)
            try:
                if owner != path:
                    name = Path(owner).name
                    taken = Fault(path, None, "uuid", f"used by {name}", "Give each instance its own")
                    raise InvalidInstance([taken])
                self.catalogue.put(instance, path)
            except InvalidInstance as conflict:
                self._report(path, conflict.faults)
                refused[path] = instance
                continue
            if before.get(path, instance.uuid) != instance.uuid:
                self._forget_uuid(before[path])
            self._owners[instance.uuid] = path
            self.faults.pop(path, None)
            for warning in instance.warnings:
                LOG.warning("%s", warning)
        return refused

    def _forget_uuid(self, uuid: str) -> None:
        del self._owners[uuid]
        self.catalogue.remove(uuid)

    def _report(self, path: str, faults: tuple[Fault, ...]) -> None:
        if self.faults.get(path) == faults:
            return
        self.faults[path] = faults
        self.failed_reloads += 1
        for fault in faults:
            LOG.error("%s", fault)

    def all_faults(self) -> tuple[Fault, ...]:
        """What is wrong with documents now."""
        return tuple(fault for faults in self.faults.values() for fault in faults)

    async def read(self, uuid: str) -> Json:
        """The document of an instance, None when there is none."""
        path = self._owners.get(uuid)
        if path is None:
            return None
        value = load(await asyncio.to_thread(Path(path).read_bytes), path).value
        return as_json(value) if is_json(value) else None

    async def write(self, uuid: str, document: Json) -> None:
        """Write a document as `<uuid>.json`, or over the file that holds it (X-3).

        Raises StoreUnavailable.
        """
        path = Path(self._owners.get(uuid, self.path / f"{uuid}.json"))
        if not self.path.is_dir() or path.suffix != ".json":
            raise StoreUnavailable(str(path), "only JSON documents of a directory are written")
        content = json.dumps(document, indent=2).encode()
        await asyncio.to_thread(_replace, path, content)
        await self._follow_once()

    async def delete(self, uuid: str) -> bool:
        """Remove an instance and its file; False when it is not known."""
        path = self._owners.get(uuid)
        if path is None:
            return False
        await asyncio.to_thread(Path(path).unlink, missing_ok=True)
        self._stamps.pop(path, None)
        self._forget_uuid(uuid)
        return True


def _batches(paths: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for start in range(0, len(paths), BATCH):
        yield paths[start : start + BATCH]


def _replace(path: Path, content: bytes) -> None:
    """Write whole: a reader sees the old or the new document."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreUnavailable(str(path), error.strerror or "input/output error") from error


def _stamps(path: Path) -> dict[str, int]:
    """The documents of a directory, by path in order. Raises OSError."""
    found = {}
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIXES) and not entry.name.startswith(".") and entry.is_file():
                found[entry.path] = _stamp(entry.stat())
    return dict(sorted(found.items()))


def _stamp(status: os.stat_result) -> int:
    """Differs between two versions of a file."""
    return hash((status.st_mtime_ns, status.st_size, status.st_ino))
