"""Words for what a boot tells: one line each, the same on a terminal and in a pipe, but for the colour.

What comes from a guest is not trusted: control characters are escaped before anything is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from image_harness.boot import Outcome, Verdict
from image_harness.progress import (
    Chosen,
    Ended,
    Happening,
    Preparing,
    Printed,
    Requested,
    Restored,
    Said,
    Starting,
    Staying,
)
from image_harness.timeline.console import StockStage
from metadata_server.access import AccessRecord
from spawner.compute.agent_events import AgentEvent, Finished, Malformed, Ready, Result, Started
from spawner.compute.driver import Reason

LABEL_WIDTH = 13
# How much of the console is shown when there is nothing better.
CONSOLE_LINES = 12


class Tone(Enum):
    """How a line is meant; colours are the printer's business."""

    PLAIN = "plain"
    HEADING = "heading"
    GOOD = "good"
    BAD = "bad"
    WARNING = "warning"
    QUIET = "quiet"


@dataclass(frozen=True)
class Line:
    """One line to show."""

    text: str
    tone: Tone = Tone.PLAIN


# How an outcome of the agent's looks.
_RESULTS = {"SUCCESS": ("ok", Tone.GOOD), "WARN": ("warning", Tone.WARNING), "FAIL": ("FAILED", Tone.BAD)}
# Words of the trade, with what they mean.
_VALUES = {"tcg": "tcg, emulation"}
_STATUSES = {"done": Tone.GOOD, "degraded": Tone.WARNING, "error": Tone.BAD}


def lines(happening: Happening, at_s: float | None) -> tuple[Line, ...]:
    """The lines for one happening, `at_s` seconds after the guest's start; many say nothing at all."""
    match happening:
        case Chosen():
            why = f"  ({happening.why})" if happening.why else ""
            value = _VALUES.get(happening.value, happening.value)
            return (Line(f"{happening.choice.value:<{LABEL_WIDTH}}{printable(value)}{why}"),)
        case Preparing():
            return (Line(f"{'':<{LABEL_WIDTH}}{happening.what} ...", Tone.QUIET),)
        case Starting():
            heading = "Seconds since the guest was started, and who does what:"
            return (
                Line(""),
                Line(heading, Tone.HEADING),
                _at(0.0, "QEMU starts, the kernel boots", Tone.PLAIN),
            )
        case Printed(word=StockStage(name=name)):
            what = f"stock cloud-init: stage {name}" if name else "stock cloud-init has finished"
            return (_at(at_s, what, Tone.HEADING),)
        case Printed():
            return ()
        case Restored():
            return (_at(at_s, "the guest goes on from a saved one", Tone.PLAIN),)
        case Requested():
            return (_at(at_s, f"guest asks      {_request(happening.record)}", Tone.QUIET),)
        case Said():
            return tuple(_at(at_s, line.text, line.tone) for line in _agent(happening.event))
        case Staying():
            return (_at(at_s, f"the guest stays up (process {happening.pid}); Ctrl-C ends it", Tone.PLAIN),)
        case Ended() if happening.ending.reason is Reason.POWERED_OFF:
            return (_at(at_s, "guest has powered off", Tone.PLAIN),)
        case Ended():
            return (_at(at_s, f"guest {happening.ending.reason.value}", Tone.BAD),)


def _agent(event: AgentEvent) -> tuple[Line, ...]:
    match event:
        case Started(name=name):
            # A module's start says nothing that its end, milliseconds later, does not.
            return () if "/" in name else (Line(f"stage {printable(name)}", Tone.HEADING),)
        case Finished():
            return (_finished(event),)
        case Ready():
            return ()
        case Result():
            return (Line(f"the agent reports: {event.status}", _STATUSES[event.status]),)
        case Malformed():
            return (Line(f"the agent's channel: {printable(event.why)}", Tone.WARNING),)


def _finished(event: Finished) -> Line:
    """A module with its time; a stage without, because the summary counts what led up to it too."""
    word, tone = _RESULTS[event.result]
    stage, _, module = event.name.partition("/")
    said = f"  {printable(event.summary)}" if event.summary else ""
    if not module:
        return Line(f"stage {printable(stage)}: {word}{said}", tone)
    name = printable(module.removeprefix("config-"))
    return Line(f"  {name:<22}{event.took_s * 1000:>6.0f} ms  {word}{said}", tone)


def _request(record: AccessRecord) -> str:
    return f"{record.method} {printable(record.path):<48} {record.status}  {record.took_ms:.1f} ms"


def _at(at_s: float | None, text: str, tone: Tone) -> Line:
    return Line(f"{at_s or 0.0:6.2f}  {text}", tone)


def printable(text: str) -> str:
    """The text on one line, with whatever could drive a terminal escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


# The stages as the agent's events name them, with what each is for.
_STAGES = {
    "init-local": "find the source, set up the network",
    "init-network": "read user data; set names, users, files",
    "modules-config": "prepare what the instance shall run",
    "modules-final": "run it, say that all is done",
}


def outcome_lines(outcome: Outcome, report: Path, *, succeeded: bool) -> tuple[Line, ...]:
    """The end of a boot: the agent's errors, seconds for each stage, the verdict, where the report lies."""
    lines = [Line("")]
    if outcome.result is None:
        lines.append(Line(f"The guest never said how it went ({outcome.ending.reason.value}).", Tone.BAD))
        lines += [Line(f"  console: {line}", Tone.QUIET) for line in _last_words(outcome.console)]
    else:
        lines += [Line(f"error: {printable(error)}", Tone.BAD) for error in outcome.result.errors]
        warnings = [text for texts in outcome.result.recoverable_errors.values() for text in texts]
        lines += [Line(f"warning: {printable(text)}", Tone.WARNING) for text in warnings]
        lines += _stages(outcome.result)
    verdict = "The guest is configured" if succeeded else "The guest is NOT configured as asked"
    tone = Tone.GOOD if succeeded else Tone.BAD
    lines.append(Line(f"{verdict}; it ran for {outcome.took_s:.1f} s.", tone))
    if outcome.verdict is Verdict.INFRASTRUCTURE:
        lost = f"This host stood still for {outcome.lost_s:.0f} s meanwhile"
        lines.append(Line(f"{lost}: that says nothing of the image (infrastructure). Try again.", Tone.BAD))
    lines.append(Line(f"Report: {report}"))
    return tuple(lines)


def expectation_lines(count: int, failures: Sequence[str]) -> tuple[Line, ...]:
    """How a guest was held against a file of expectations."""
    if not failures:
        return (Line(""), Line(f"As expected: {count} of {count}.", Tone.GOOD))
    heading = Line(f"Not as expected: {len(failures)} of {count}.", Tone.BAD)
    return (Line(""), heading, *(Line(f"  {printable(failure)}", Tone.BAD) for failure in failures))


def _last_words(console: bytes) -> list[str]:
    """The end of what the console showed, without the list of changed files."""
    shown = [line for line in console.decode(errors="replace").splitlines() if line.strip()]
    return [printable(line)[:200] for line in shown if not line.startswith("GUESTLING-")][-CONSOLE_LINES:]


def _stages(result: Result) -> list[Line]:
    """Seconds for each stage, as the agent's own status has them, and in all."""
    took_s = {
        name: times.finished - times.start
        for name, times in result.stages.items()
        if times.start is not None and times.finished is not None
    }
    if not took_s:
        return []
    heading = f"The agent's stages took {sum(took_s.values()):.2f} s:"
    rows = (
        f"  {printable(name):<18}{spent:5.2f} s  {_STAGES.get(name, '')}" for name, spent in took_s.items()
    )
    return [Line(heading, Tone.HEADING), *(Line(row.rstrip()) for row in rows), Line("")]
