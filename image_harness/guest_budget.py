"""How many guests run at a time: memory for those that are up, processors for those that boot.

The ledger is a file that all test runs of a user share, workers of pytest-xdist or not. Each process holds a
lock of its own for as long as it lives, so that what a killed one had taken is free again.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

POLL_S = 0.1


@dataclass(frozen=True)
class Limits:
    """Memory of all guests together, and how many may boot at the same time."""

    memory_mib: int
    boots: int


@dataclass(frozen=True)
class Holding:
    """What a process has taken, and whether it waits for more. `owner`: the name of its lock."""

    owner: str
    memory_mib: int = 0
    boots: int = 0
    waiting: bool = False


def may_start(memory_mib: int, mine: Holding, others: Sequence[Holding], limits: Limits) -> bool:
    """Whether a guest more may be started by the process that holds `mine`.

    A guest that is larger than the budget may run alone. Where every process that holds something waits for
    more, nobody would ever go on: the one that finds out goes over the budget.
    """
    if mine.boots + sum(each.boots for each in others) >= limits.boots:
        return False
    held = mine.memory_mib + sum(each.memory_mib for each in others)
    if held == 0 or held + memory_mib <= limits.memory_mib:
        return True
    return mine.memory_mib > 0 and all(each.waiting for each in others if each.memory_mib > 0)


def this_machine() -> Limits:
    """Half of the memory, and one boot for each processor."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return Limits(pages * size // 2 >> 20, len(os.sched_getaffinity(0)))


class Ledger:
    """This process's part in the budget."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._limits = limits
        self._mine = Holding(f"{os.getpid()}-{os.urandom(4).hex()}")
        self._lock = os.open(
            directory / f"{self._mine.owner}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def begin(self, memory_mib: int) -> None:
        """Wait until a guest of that size may boot, and take what it needs."""
        while not self._try(memory_mib):
            time.sleep(POLL_S)

    def booted(self) -> None:
        """A guest that began is up, or will never be: somebody else may boot."""
        self._put(replace(self._mine, boots=self._mine.boots - 1))

    def ended(self, memory_mib: int) -> None:
        """A guest has ended."""
        self._put(replace(self._mine, memory_mib=self._mine.memory_mib - memory_mib))

    def close(self) -> None:
        """This process starts no more guests."""
        with self._open() as rows:
            rows.clear()
            (self._directory / f"{self._mine.owner}.lock").unlink(missing_ok=True)
        os.close(self._lock)

    def _try(self, memory_mib: int) -> bool:
        with self._open() as rows:
            others = [row for row in rows if row.owner != self._mine.owner]
            granted = may_start(memory_mib, self._mine, others, self._limits)
            taken = memory_mib if granted else 0
            self._mine = replace(
                self._mine,
                memory_mib=self._mine.memory_mib + taken,
                boots=self._mine.boots + granted,
                waiting=not granted,
            )
            rows[:] = [self._mine]
        return granted

    def _put(self, mine: Holding) -> None:
        with self._open() as rows:
            self._mine = mine
            rows[:] = [mine]

    @contextmanager
    def _open(self) -> Iterator[list[Holding]]:
        """The rows of all processes that live, to read; what it holds at the end is this process's own."""
        path = self._directory / "ledger.json"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            found = [row for row in _rows(os.pread(fd, 1 << 20, 0)) if self._lives(row.owner)]
            others = [row for row in found if row.owner != self._mine.owner]
            rows = list(found)
            yield rows
            whole = msgspec.json.encode([*others, *(row for row in rows if row.owner == self._mine.owner)])
            os.ftruncate(fd, 0)
            os.pwrite(fd, whole, 0)
        finally:
            os.close(fd)

    def _lives(self, owner: str) -> bool:
        """Whether the process of a row still holds its lock."""
        if owner == self._mine.owner:
            return True
        path = self._directory / f"{Path(owner).name}.lock"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            path.unlink(missing_ok=True)
            return False
        finally:
            os.close(fd)


def _rows(content: bytes) -> list[Holding]:
    try:
        return msgspec.json.decode(content, type=list[Holding])
    except msgspec.DecodeError:
        return []
