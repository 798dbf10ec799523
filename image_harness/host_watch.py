"""Whether this host stood still while a guest ran: asleep, stopped, or so busy that nothing got its turn.

A guest that missed a deadline then says nothing of its image: the verdict is `infrastructure`, not `fail`
(SP-25). Deadlines are on monotonic time, so that a wall clock that jumps is not noticed at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

LOST_LIMIT_S = 30.0
"""A host that lost more than this has spoiled the test."""
TICK_S = 1.0
STALL_S = 2.0
"""How much later than it should a tick must come to count: a busy host is late by a little all the time."""


def boottime_s() -> float:
    """Seconds since the host started, those that it slept through included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class HostWatch:
    """Adds up what the host lost while the block runs; `clock` must go on while the host sleeps."""

    def __init__(self, clock: Callable[[], float] = boottime_s, tick_s: float = TICK_S) -> None:
        self._clock = clock
        self._tick_s = tick_s
        self._lost_s = 0.0
        self._ticked_s = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def lost_s(self) -> float:
        """Seconds that the host lost so far; also of a stall that it has just come back from."""
        return self._lost_s + self._late_s()

    @property
    def spoils(self) -> bool:
        """Whether that is more than a test can bear."""
        return self.lost_s > LOST_LIMIT_S

    async def __aenter__(self) -> Self:
        self._ticked_s = self._clock()
        self._task = asyncio.create_task(self._tick(), name="host watch")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._note()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._tick_s)
            self._note()

    def _note(self) -> None:
        self._lost_s += self._late_s()
        self._ticked_s = self._clock()

    def _late_s(self) -> float:
        if self._task is None:
            return 0.0
        late_s = self._clock() - self._ticked_s - self._tick_s
        return late_s if late_s > STALL_S else 0.0
