"""What the serial console says about time: first output, kernel lines with their clock, systemd's status."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

LINE_LIMIT = 400
"""Characters of a line that are looked at."""
COUNT_LIMIT = 2_000
"""Lines of a guest's life that are kept."""

_KERNEL = re.compile(r"\[ *(\d{1,7}\.\d{1,6})\] (.*)")
_STATUS = re.compile(
    r"(?:\[ *(OK|FAILED|DEPEND) *\] |  +)(Started|Starting|Finished|Reached target|Failed to start) (.+)"
)
# Stock cloud-init counts its versions by the year since 17.1; our agent speaks on a channel of its own.
_STOCK = re.compile(r"Cloud-init v\. (?:1[7-9]|[2-9]\d)\.\S+ (?:running '([a-z:-]{1,40})'|finished) at ")
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_INIT = re.compile(r"Run \S+ as init process")


@dataclass(frozen=True)
class KernelLine:
    """A line of the kernel's; `clock_s` is its own clock, `is_init`: it starts the first program."""

    clock_s: float
    is_init: bool


@dataclass(frozen=True)
class StatusLine:
    """A line of systemd's: a unit, by its description, starts, is up, or has failed."""

    unit: str
    starts: bool
    failed: bool


@dataclass(frozen=True)
class FirstOutput:
    """The guest's first sign of life on the console."""


@dataclass(frozen=True)
class StockStage:
    """Stock cloud-init begins a stage; with an empty name it is done with all of them."""

    name: str


Word = KernelLine | StatusLine | FirstOutput | StockStage


class Console:
    """Cuts console output into lines and keeps those that say something about time."""

    def __init__(self) -> None:
        self._pending = ""
        self._heard = False
        self._count = 0

    def feed(self, chunk: bytes) -> tuple[Word, ...]:
        """The words that this piece of output completes."""
        found: list[Word] = []
        if not self._heard and chunk.strip():
            self._heard = True
            found.append(FirstOutput())
        *lines, rest = (self._pending + chunk.decode(errors="replace")).split("\n")
        self._pending = rest[-LINE_LIMIT:]
        for line in lines:
            word = read(line[:LINE_LIMIT]) if self._count < COUNT_LIMIT else None
            if word is not None:
                self._count += 1
                found.append(word)
        return tuple(found)


def read(line: str) -> Word | None:
    """What one line of the console says about time; None: nothing."""
    plain = _COLOUR.sub("", line).rstrip()
    if stock := _STOCK.search(plain):
        return StockStage(stock[1] or "")
    if kernel := _KERNEL.match(plain):
        clock_s = float(kernel[1])
        return KernelLine(clock_s, bool(_INIT.match(kernel[2]))) if math.isfinite(clock_s) else None
    if status := _STATUS.match(plain):
        unit = status[3].rstrip(".").removesuffix("...").strip()
        return StatusLine(unit, status[2] == "Starting", status[1] in ("FAILED", "DEPEND"))
    return None
