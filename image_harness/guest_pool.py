"""The guests of a test run: started when asked for, shared by who wants the same, ended with their scope."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from image_harness.errors import HarnessError
from image_harness.guest import Guest
from image_harness.guest_mark import Wanted
from spawner.errors import SpawnerError


class Pooled(Protocol):
    """What a pool does with a guest of its own."""

    report: Path

    def start(self) -> Guest:
        """Boot it. Raises HarnessError, SpawnerError."""
        ...

    def keep(self, *, disk: bool) -> None:
        """Have its report outlive it, and its disk too."""
        ...

    def kept_in_words(self) -> str:
        """Where what is kept lies."""
        ...

    def close(self) -> object:
        """End it."""
        ...


Make = Callable[[Wanted, str], Pooled]


class Pool:
    """The guests of one scope."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._live: dict[Wanted, Pooled] = {}
        self._guests: dict[Wanted, Guest] = {}
        self._failed: dict[Wanted, HarnessError | SpawnerError] = {}

    def get(self, wanted: Wanted, label: str) -> Guest:
        """The guest that is wanted; booted the first time. One that did not come up is not tried again.

        Raises HarnessError, SpawnerError.
        """
        if wanted in self._failed:
            raise self._failed[wanted]
        if wanted not in self._guests:
            try:
                self._live[wanted] = self._make(wanted, label)
                self._guests[wanted] = self._live[wanted].start()
            except (HarnessError, SpawnerError) as error:
                self._failed[wanted] = error
                raise
        return self._guests[wanted]

    def report_of(self, wanted: Wanted) -> Path | None:
        """Where the report of a guest is, also of one that did not come up; None: it was not even started."""
        return self._live[wanted].report if wanted in self._live else None

    def keep(self, guest: Guest) -> str:
        """Have this guest's report and disk outlive it; gives the words that say where they are."""
        live = next(self._live[wanted] for wanted, each in self._guests.items() if each is guest)
        live.keep(disk=True)
        return live.kept_in_words()

    def close(self, *, keep: bool = False) -> None:
        """End all of them, the last one first. `keep`: have a report of each."""
        while self._live:
            _, live = self._live.popitem()
            if keep:
                live.keep(disk=False)
            live.close()
