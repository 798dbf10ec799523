"""A host that stood still while a guest ran: the verdict says so (SP-25)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from image_harness import boot
from image_harness.boot import Outcome, Verdict
from image_harness.errors import BootFailed, HostStoodStill
from image_harness.host_watch import HostWatch, boottime_s
from image_harness.narrator import outcome_lines
from image_harness.progress import nobody
from image_harness.report import Report
from image_harness.session import Session
from spawner.compute.agent_events import Result
from spawner.compute.driver import Ending, Reason

OFF = Ending(Reason.TIMEOUT, -9, b"", 300.0)


class Clock:
    """Seconds as a test says."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(
    ("steps_s", "lost_s"),
    [
        ((1.0, 1.0, 1.0), 0.0),
        ((1.5, 2.9, 1.2), 0.0),  # late by a little, as on a busy host
        ((1.0, 41.0, 1.0), 40.0),
        ((21.0, 16.0), 35.0),
        ((1.0, -5000.0, 1.0), 0.0),
    ],
)
async def test_sp_25_what_the_host_lost_is_added_up(steps_s: tuple[float, ...], lost_s: float) -> None:
    clock = Clock()
    async with HostWatch(clock, tick_s=1.0) as watch:
        for step_s in steps_s:
            clock.now_s += step_s
            watch._note()
    assert watch.lost_s == lost_s
    assert watch.spoils == (lost_s > 30)


async def test_sp_25_a_loop_that_gets_no_turn_is_noticed_by_the_watch_itself() -> None:
    """The real task on a clock of which each look takes a minute; it ticks every millisecond."""
    clock = Clock()
    async with HostWatch(clock, tick_s=0.001) as watch:
        clock.now_s += 60
        while watch.lost_s == 0 or watch._lost_s == 0:  # noqa: ASYNC110 - until its task had a turn
            await asyncio.sleep(0.001)
        assert 59 < watch.lost_s < 61
        assert watch.spoils


def test_sp_25_the_clock_goes_on_while_the_host_sleeps() -> None:
    """And is no wall clock, which jumps."""
    before_s = boottime_s()
    assert before_s >= time.monotonic() - 1
    assert abs(before_s - time.time()) > 10**8


@pytest.mark.parametrize(
    ("result", "lost_s", "verdict"),
    [
        (Result("done"), 0.0, Verdict.DONE),
        (Result("done"), 300.0, Verdict.DONE),  # all went well in spite of it
        (None, 0.0, Verdict.FAILED),
        (None, 30.0, Verdict.FAILED),
        (None, 30.1, Verdict.INFRASTRUCTURE),
        (Result("error"), 300.0, Verdict.INFRASTRUCTURE),
    ],
)
def test_sp_25_the_verdict_names_who_is_to_blame(
    result: Result | None, lost_s: float, verdict: Verdict
) -> None:
    outcome = Outcome(result, OFF, (), b"", 400.0, lost_s)
    assert outcome.verdict is verdict
    assert Report().summary(outcome)["verdict"] == verdict.value
    shown = [line.text for line in outcome_lines(outcome, Path("/r"), succeeded=outcome.succeeded)]
    assert any("says nothing of the image" in text for text in shown) == (verdict is Verdict.INFRASTRUCTURE)


def test_sp_25_a_test_that_waited_for_its_guest_is_told_too() -> None:
    error = HostStoodStill("web", "not up after 60 s", 45.4)
    assert isinstance(error, BootFailed)
    assert str(error) == (
        "web: not up after 60 s, but this host stood still for 45 s meanwhile"
        " (verdict: infrastructure): try again."
    )


@pytest.mark.parametrize("stood_still", [False, True])
async def test_sp_25_a_session_blames_the_host_that_stood_still(stood_still: bool) -> None:
    described = SimpleNamespace(instance=SimpleNamespace(name="web"))
    session = Session(cast(boot.Order, described), cast(boot.Host, None), nobody)
    clock = Clock()
    async with HostWatch(clock) as session._watch:
        clock.now_s += 60 if stood_still else 1
        assert isinstance(session._failed("not up"), HostStoodStill) == stood_still
