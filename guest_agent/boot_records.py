"""The events of boots, as the log tells them: lines to events, events to boots, stages and steps.

A finish without its start, as after a rotated log, is left out (D24). Source: guest-agent.md 5.6.
"""

from __future__ import annotations

import re

from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FIRST_STAGE = "init-local"
ORIGIN = "cloudinit"
LINE = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d) (?P<clock>\d\d:\d\d:\d\d)[,.](?P<fraction>\d+) - \S+\[(?P<level>\w+)\]: "
    r"(?P<kind>start|finish): (?P<name>[^ :]+): (?P<rest>.*)\Z"
)
RESULT = re.compile(r"(SUCCESS|WARN|FAIL): ?(.*)\Z", re.DOTALL)


class Event(Value):
    """One event line."""

    kind: str
    name: str
    description: str
    epoch_s: float
    result: str = ""
    level: str = "DEBUG"

    def to_json(self) -> dict[str, object]:
        """As `dump` prints it."""
        document: dict[str, object] = {
            "description": self.description,
            "event_type": self.kind,
            "name": self.name,
            "origin": ORIGIN,
            "timestamp": self.epoch_s,
        }
        return {**document, "result": self.result} if self.kind == "finish" else document


class Step(Value):
    """A step with its start and its end."""

    name: str
    description: str
    start_s: float
    end_s: float
    result: str
    level: str = "DEBUG"

    @property
    def took_s(self) -> float:
        """Seconds; never negative, whatever the clock did."""
        return max(self.end_s - self.start_s, 0.0)

    def shown(self, line_format: str, record_start_s: float) -> str:
        """The step by the letters of `analyze show --format`."""
        depth = self.name.count("/")
        letters = {
            "%d": f"{self.took_s:08.5f}",
            "%D": self.description,
            "%E": f"{max(self.start_s - record_start_s, 0.0):08.5f}",
            "%e": "finish",
            "%I": f"{' ' * max(depth - 1, 0)}|`->",
            "%l": self.level,
            "%n": self.name,
            "%o": ORIGIN,
            "%r": self.result,
            "%t": f"{self.end_s:.3f}",
            "%T": f"{max(self.end_s - record_start_s, 0.0):08.5f}",
        }
        return re.sub(r"%[dDEeIlnortT]", lambda match: letters[match.group()], line_format)


class StageRecord(Value):
    """A stage and its steps in order."""

    name: str
    start_s: float
    end_s: float
    steps: tuple[Step, ...]

    @property
    def took_s(self) -> float:
        """Seconds of the whole stage."""
        return max(self.end_s - self.start_s, 0.0)


class BootRecord(Value):
    """One boot."""

    stages: tuple[StageRecord, ...]

    @property
    def start_s(self) -> float:
        """When its first stage started."""
        return self.stages[0].start_s if self.stages else 0.0

    @property
    def took_s(self) -> float:
        """The stages' times together: what lies between them is not the agent's."""
        return sum(stage.took_s for stage in self.stages)


def parse(text: str) -> list[Event]:
    """The events in the lines of a log."""
    return [event for line in text.splitlines() for event in _event(line)]


def _event(line: str) -> Iterator[Event]:
    match = LINE.match(line)
    if match is None:
        return
    rest, result = match["rest"], ""
    if match["kind"] == "finish":
        found = RESULT.match(rest)
        if found is None:
            return
        result, rest = found.groups()
    epoch_s = _epoch_s(match["day"], match["clock"], match["fraction"])
    yield Event(match["kind"], match["name"], rest, epoch_s, result, match["level"])


def _epoch_s(day: str, clock: str, fraction: str) -> float:
    """A time of the log, which is UTC, as seconds since 1970."""
    import calendar

    year, month, date = (int(part) for part in day.split("-"))
    hour, minute, second = (int(part) for part in clock.split(":"))
    return calendar.timegm((year, month, date, hour, minute, second)) + float(f"0.{fraction}")


def records(events: Iterable[Event]) -> list[BootRecord]:
    """The boots of a log; a new one begins where the first stage starts."""
    boots: list[list[Event]] = []
    for event in events:
        if not boots or (event.kind == "start" and event.name == FIRST_STAGE):
            boots.append([])
        boots[-1].append(event)
    made = (BootRecord(tuple(_stages(boot))) for boot in boots)
    return [boot for boot in made if boot.stages]


def _stages(events: list[Event]) -> Iterator[StageRecord]:
    started: dict[str, Event] = {}
    steps: dict[str, list[Step]] = {}
    for event in events:
        if event.kind == "start":
            started[event.name] = event
            continue
        begun = started.pop(event.name, None)
        if begun is None:
            continue
        stage, slash, _ = event.name.partition("/")
        if slash:
            step = Step(
                event.name, event.description, begun.epoch_s, event.epoch_s, event.result, event.level
            )
            steps.setdefault(stage, []).append(step)
        else:
            yield StageRecord(stage, begun.epoch_s, event.epoch_s, tuple(steps.pop(stage, ())))
