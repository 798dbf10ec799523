"""The timeline of a boot: spans on the host's clock, seconds since the guest was started.

The guest's clock starts when its kernel does. How far it is behind ours is learned from what the guest said:
no word can arrive before it was spoken, so the earliest arrival is the closest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum

from image_harness.progress import Happening, Printed, Requested, Restored, Said
from image_harness.timeline.console import FirstOutput, KernelLine, StatusLine
from image_harness.timeline.evidence import NONE, Evidence
from spawner.compute.agent_events import Finished, Ready, Result, Started

SPANS_LIMIT = 2_000
NAME_LIMIT = 200

Told = Sequence[tuple[float, Happening]]


class Track(Enum):
    """What kind of thing a span is, in the order in which they are drawn."""

    MACHINE = "machine"
    UNIT = "unit"
    STAGE = "stage"
    MODULE = "module"
    REQUEST = "request"


class State(Enum):
    """How it went."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Span:
    """Something that took time. `within`: the stage of a module. `note`: more about it, in words."""

    track: Track
    name: str
    start_s: float
    end_s: float
    state: State = State.OK
    within: str = ""
    note: str = ""

    @property
    def took_s(self) -> float:
        """How long it took."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Timeline:
    """All spans of a boot, and how long it took until the guest was up. None: it never was."""

    spans: tuple[Span, ...]
    up_s: float | None
    end_s: float

    def seconds(self, name: str) -> float:
        """How long that took: `firmware`, `kernel`, `userspace`, a stage, module, unit, or `boot`: until up.

        Stages answer to the short names init, config and final too; stock cloud-init writes `users-groups`
        where we write `users_groups`, and both are understood. Raises KeyError.
        """
        if name == BOOT:
            if self.up_s is None:
                raise KeyError(f"{BOOT}: the guest was never up")
            return self.up_s
        for wanted in (name, *_SHORT.get(name, ())):
            found = [span for span in self.spans if _is_named(span, wanted)]
            if found:
                return sum(span.took_s for span in found)
        known = dict.fromkeys(span.name for span in self.spans if span.track in (Track.MACHINE, Track.STAGE))
        raise KeyError(
            f"{name}: not in the timeline. There are {', '.join([BOOT, *known])}, and modules and units"
        )

    def over(self, budget: Mapping[str, float]) -> tuple[str, ...]:
        """What took longer than the budget allows, or is not there to be measured: one line each."""
        found = []
        for name, most_s in budget.items():
            try:
                took_s = self.seconds(name)
            except KeyError as error:
                found.append(f"budget: {error.args[0]}")
                continue
            if took_s > most_s:
                found.append(f"budget: {name} took {took_s:.2f} s, {most_s:g} s are allowed")
        return tuple(found)

    def budget(self, budget: Mapping[str, float]) -> None:
        """Hold the boot against seconds by name, as `over` does. Raises AssertionError that says all."""
        if found := self.over(budget):
            raise AssertionError("\n".join(found))

    def as_json(self) -> dict[str, object]:
        """As timeline.json has it."""
        spans = [
            {
                **asdict(span),
                "track": span.track.value,
                "state": span.state.value,
                "took_s": round(span.took_s, 4),
            }
            for span in self.spans
        ]
        return {"up_s": self.up_s, "end_s": self.end_s, "spans": spans}


def _is_named(span: Span, name: str) -> bool:
    if span.track is Track.MODULE:
        return span.name.replace("-", "_") == name.replace("-", "_")
    return span.name == name and span.track is not Track.REQUEST


BOOT = "boot"
# What a stage is called in conversation; our agent and stock cloud-init do not agree on the second one.
_SHORT = {
    "local": ("init-local",),
    "init": ("init-network",),
    "network": ("init-network", "init"),
    "init-network": ("init",),
    "config": ("modules-config",),
    "final": ("modules-final",),
}
_STATES = {"SUCCESS": State.OK, "WARN": State.WARNING, "FAIL": State.FAILED}


def build(told: Told, evidence: Evidence = NONE) -> Timeline:
    """The timeline out of what was told, second by second, and what the guest said when asked."""
    behind_s = _behind_s(told)
    spans = [
        *_machine(told, evidence, behind_s),
        *(_units(evidence, behind_s) if evidence.units else _status_lines(told)),
        *(_stages(told, behind_s) or _logged_stages(evidence, behind_s)),
        *_requests(told),
    ]
    kept = tuple(span for span in spans if _is_sane(span))[:SPANS_LIMIT]
    up_s = next((at_s for at_s, each in told if _is_up(each)), None)
    last_s = max((span.end_s for span in kept), default=0.0)
    return Timeline(kept, up_s, max(up_s or 0.0, last_s))


def _is_up(happening: Happening) -> bool:
    """The agent has given its result, or, where it gives none, whoever takes commands is there."""
    return isinstance(happening, Said) and isinstance(happening.event, (Result, Ready))


def _behind_s(told: Told) -> float | None:
    """The host's second at which the guest's clock was 0."""
    clocks = [(at_s, clock_s) for at_s, each in told if (clock_s := _guest_clock_s(each)) is not None]
    return min((at_s - clock_s for at_s, clock_s in clocks), default=None)


def _guest_clock_s(happening: Happening) -> float | None:
    match happening:
        case Said(event=Started() | Finished() | Ready() as event) if math.isfinite(event.uptime_s):
            return event.uptime_s
        case Printed(word=KernelLine() as line):
            return line.clock_s
    return None


def _machine(told: Told, evidence: Evidence, behind_s: float | None) -> Iterator[Span]:
    restored_s = next((at_s for at_s, each in told if isinstance(each, Restored)), None)
    if restored_s is not None:
        yield Span(Track.MACHINE, "restore", 0.0, restored_s, note="the guest goes on from a saved one")
        return
    if behind_s is None:
        first = next(
            (at_s for at_s, each in told if isinstance(each, Printed) and isinstance(each.word, FirstOutput)),
            None,
        )
        if first is not None:
            yield Span(Track.MACHINE, "firmware", 0.0, first, note="until the console's first output")
        return
    yield Span(Track.MACHINE, "firmware", 0.0, max(behind_s, 0.0), note="QEMU, firmware, loading the kernel")
    init_s = _init_s(told, evidence)
    if init_s is None:
        init_s = min(
            (clock_s for _, each in told if (clock_s := _guest_clock_s(each)) is not None), default=0.0
        )
    yield Span(Track.MACHINE, "kernel", behind_s, behind_s + init_s, note="until its first program")
    stages = [
        event.uptime_s
        for _, each in told
        if isinstance(each, Said) and isinstance(event := each.event, Started)
    ]
    if evidence.finished_s is not None:
        yield Span(
            Track.MACHINE,
            "userspace",
            behind_s + init_s,
            behind_s + evidence.finished_s,
            note="until systemd was done",
        )
    elif stages and not evidence.units:
        note = "until the agent's first stage"
        yield Span(
            Track.MACHINE, "userspace", behind_s + init_s, behind_s + max(min(stages), init_s), note=note
        )


def _init_s(told: Told, evidence: Evidence) -> float | None:
    """When the kernel started its first program, by its own clock."""
    words = [each.word for _, each in told if isinstance(each, Printed)]
    printed = next((word.clock_s for word in words if isinstance(word, KernelLine) and word.is_init), None)
    known = (evidence.userspace_s, evidence.init_s, printed)
    return next((each for each in known if each is not None), None)


def _units(evidence: Evidence, behind_s: float | None) -> Iterator[Span]:
    for unit in evidence.units if behind_s is not None else ():
        state = State.FAILED if unit.failed else State.OK
        yield Span(Track.UNIT, unit.name, behind_s + unit.start_s, behind_s + unit.end_s, state)  # type: ignore[operator] # no units without a clock


def _status_lines(told: Told) -> Iterator[Span]:
    """Units as systemd's lines on the console have them: by description, at the second they were seen at."""
    started: dict[str, float] = {}
    for at_s, each in told:
        if not isinstance(each, Printed) or not isinstance(each.word, StatusLine):
            continue
        line = each.word
        if line.starts:
            started.setdefault(line.unit, at_s)
        else:
            state = State.FAILED if line.failed else State.OK
            yield Span(Track.UNIT, line.unit, started.pop(line.unit, at_s), at_s, state)


def _stages(told: Told, behind_s: float | None) -> list[Span]:
    if behind_s is None:
        return []
    events = [each.event for _, each in told if isinstance(each, Said)]
    started = {event.name: event.uptime_s for event in events if isinstance(event, Started)}
    found = []
    for event in events:
        if not isinstance(event, Finished) or event.name.startswith("run/"):
            continue
        end_s = behind_s + event.uptime_s
        # A guest's uptime has two digits, a module's figure four; a stage's own counts more than itself.
        began_s = (
            event.uptime_s - event.took_s if "/" in event.name else started.get(event.name, event.uptime_s)
        )
        start_s = behind_s + began_s
        found.append(_stage_or_module(event.name, start_s, end_s, event.result, event.summary))
    return found


def _logged_stages(evidence: Evidence, behind_s: float | None) -> list[Span]:
    """From the log of an agent that sent nothing."""
    if behind_s is None or evidence.boot_time_s is None:
        return []
    shift_s = behind_s - evidence.boot_time_s
    return [
        _stage_or_module(step.name, step.start_s + shift_s, step.end_s + shift_s, step.result, "")
        for step in evidence.steps
    ]


def _stage_or_module(name: str, start_s: float, end_s: float, result: str, note: str) -> Span:
    stage, _, module = name.partition("/")
    track = Track.MODULE if module else Track.STAGE
    return Span(
        track,
        module.removeprefix("config-") or stage,
        start_s,
        end_s,
        _STATES[result],
        stage if module else "",
        note,
    )


def _requests(told: Told) -> Iterator[Span]:
    for at_s, each in told:
        if isinstance(each, Requested):
            record = each.record
            state = (
                State.OK if record.status < 400 else State.WARNING if record.status < 500 else State.FAILED
            )
            start_s = max(at_s - record.took_ms / 1000, 0.0)
            yield Span(
                Track.REQUEST, f"{record.method} {record.path}", start_s, at_s, state, note=str(record.status)
            )


def _is_sane(span: Span) -> bool:
    """Numbers that a picture can show; a guest may say what it likes about its clock."""
    day_s = 86_400.0
    return (
        all(math.isfinite(at_s) and -day_s < at_s < day_s for at_s in (span.start_s, span.end_s))
        and span.end_s >= span.start_s
    )


def in_order(spans: Iterable[Span]) -> list[Span]:
    """By kind, then by time; modules follow their stage."""
    return sorted(spans, key=lambda span: (list(Track).index(span.track), span.start_s, span.end_s))
