"""The tiny guest up to its agent's result as the fixture `guest` boots it: cold, and from a saved one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from image_harness import cache
from image_harness.guest_mark import Wanted
from image_harness.live_guest import LiveGuest, Workshop
from image_harness.progress import Happening, Restored, Said
from spawner.compute.agent_events import Result


@dataclass
class _Watch:
    """When the agent said how it went, and whether the guest went on from a saved one."""

    restored: bool = False
    results: list[tuple[float, str]] = field(default_factory=list)

    def __call__(self, happening: Happening, _since_start_s: float | None) -> None:
        if isinstance(happening, Restored):
            self.restored = True
        elif isinstance(happening, Said) and isinstance(happening.event, Result):
            self.results.append((time.perf_counter(), happening.event.status))


class Guests:
    """Guests of one test run: image, accelerator, network and the saved guest are found or made once."""

    def __init__(self, workshop: Workshop, scratch: Path) -> None:
        self._workshop, self._scratch = workshop, scratch

    def until_result(self, *, template: bool) -> float:
        """Seconds from the order to the agent's result."""
        watch = _Watch()
        started_s = time.perf_counter()
        live = LiveGuest(Wanted(template=template), self._workshop, self._scratch / "report", watch)
        try:
            live.start()
        finally:
            live.close()
        (result_s, status), *_ = watch.results
        if status != "done" or watch.restored is not template:
            raise SystemExit(
                f"bench spawn: agent {status!r}, restored {watch.restored}, asked for {template}"
            )
        return result_s - started_s


@contextlib.contextmanager
def guests() -> Iterator[Guests]:
    """One guest of each kind has been booted, so that what is made once is not counted."""
    with cache.scratch() as scratch:
        workshop = Workshop(scratch, scratch / "reports")
        try:
            made = Guests(workshop, scratch)
            made.until_result(template=True)
            yield made
        finally:
            workshop.close()
