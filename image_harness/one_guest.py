"""One guest outside of pytest: what `guestling boot` and programs of one's own use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from image_harness import boot, cache
from image_harness.errors import BootFailed
from image_harness.guest import Guest
from image_harness.guest_mark import Wanted
from image_harness.live_guest import LiveGuest, Watch, Workshop, unwatched


@dataclass(frozen=True)
class Visit:
    """How it went: the boot, its summary as boot.json has it, and why the guest was not up, if it was not."""

    outcome: boot.Outcome
    summary: dict[str, object]
    failure: BootFailed | None = None


def visit(wanted: Wanted, report: Path, watch: Watch, look: Callable[[Guest], object]) -> Visit:
    """Boot a guest, look at it while it is up, end it, write its report.

    Raises HarnessError, SpawnerError where none could be started, InvalidInstance.
    """
    failure: BootFailed | None = None
    with _live(wanted, report, watch) as live:
        try:
            look(live.start())
        except BootFailed as error:
            failure = error
        live.keep(disk=failure is not None)
        outcome = live.close()
        if outcome is None:
            raise failure or BootFailed(f"{wanted.name}: was never started")
        return Visit(outcome, live.summary(outcome), failure)


@contextmanager
def one(wanted: Wanted, report: Path) -> Iterator[Guest]:
    """A guest, ended with the block; its report is the directory `report` in any case.

    Raises HarnessError, SpawnerError, InvalidInstance.
    """
    with _live(wanted, report, unwatched) as live:
        try:
            yield live.start()
        finally:
            live.keep(disk=False)


@contextmanager
def _live(wanted: Wanted, report: Path, watch: Watch) -> Iterator[LiveGuest]:
    with cache.scratch() as scratch:
        workshop = Workshop(scratch, report.parent)
        try:
            live = LiveGuest(wanted, workshop, report, watch)
            try:
                yield live
            finally:
                live.close()
        finally:
            workshop.close()
