"""A boot as the page shows it: how far it is, its timeline, its console as harmless text. Pure.

Everything is on the host's clock: a report of the guest counts when it arrived, which is what its user saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spawner.states import begins_boot
from spawner.store.events import Event

# What the agent goes through, in order; the last step is its result.
STAGES = ("init-local", "init-network", "modules-config", "modules-final")
_STATE = {"SUCCESS": "ok", "WARN": "warn", "FAIL": "fail", "done": "ok", "degraded": "warn", "error": "fail"}
CONSOLE_TAIL_LINES = 200
ROW_LIMIT = 200


@dataclass(frozen=True)
class Progress:
    """How far a boot is: `step` of `of`, in words, and whether it goes well (running, ok, warn, fail)."""

    step: int
    of: int
    text: str
    state: str


@dataclass(frozen=True)
class Bar:
    """One thing that took time, in seconds since the boot was asked for; `depth` 1: part of the one above."""

    name: str
    start_s: float
    end_s: float
    state: str
    depth: int = 0
    note: str = ""

    @property
    def took_ms(self) -> int:
        """Its length."""
        return round((self.end_s - self.start_s) * 1000)


def this_boot(events: Sequence[Event]) -> Sequence[Event]:
    """The events since the guest was last asked to start."""
    starts = [index for index, event in enumerate(events) if begins_boot(event.type, event.payload)]
    return events[starts[-1] :] if starts else events


def progress(events: Sequence[Event]) -> Progress:
    """How far the boot that these events tell of has come."""
    of = len(STAGES) + 1
    step, text, state = 0, "waiting for a host", "running"
    for event in this_boot(events):
        name = str(event.payload.get("name", ""))
        stage, _, part = name.partition("/")
        if event.type.endswith(".error"):
            return Progress(step, of, str(event.payload.get("fault", "failed")), "fail")
        if event.type == "guest.result":
            status = str(event.payload.get("status", ""))
            return Progress(of, of, f"the agent reports: {status}", _STATE.get(status, "warn"))
        if event.type in {"guest.start", "guest.finish"} and stage in STAGES:
            step = STAGES.index(stage) + (0 if part or event.type == "guest.start" else 1)
            text = f"{stage}: {part}" if part else stage
            if event.payload.get("result") in {"WARN", "FAIL"} and state == "running":
                state = "warn"
        elif event.type in {"instance.power_off.end", "instance.delete.end"}:
            text = "off"
        elif event.type == "instance.update" and event.payload.get("host") and not step:
            text = "starting its machine"
        elif event.type.startswith("instance.") and event.type.endswith(".end") and not step:
            text = "its kernel boots"
    return Progress(step, of, text, state)


def bars(events: Sequence[Event], now_s: float) -> list[Bar]:
    """The timeline: what the host did, then the agent's stages with their parts; what runs ends now."""
    boot = this_boot(events)
    if not boot:
        return []
    zero_s = boot[0].time
    found = [_machine(boot, zero_s, now_s)]
    open_since: dict[str, float] = {}
    done: list[Bar] = []
    for event in boot:
        name, at_s = str(event.payload.get("name", "")), event.time - zero_s
        if event.type == "guest.start":
            open_since[name] = at_s
        elif event.type == "guest.finish":
            open_since.pop(name, None)
            took_s = max(0.0, min(_number(event.payload.get("took_s")), at_s))
            state = _STATE.get(str(event.payload.get("result")), "warn")
            done.append(_bar(name, at_s - took_s, at_s, state, str(event.payload.get("summary", ""))))
    ended = any(event.type in {"guest.result", "instance.power_off.end"} for event in boot)
    end_s = boot[-1].time - zero_s if ended else max(0.0, now_s - zero_s)
    done += [_bar(name, since_s, max(since_s, end_s), "running") for name, since_s in open_since.items()]
    return (found + sorted(done, key=lambda bar: (bar.start_s, bar.depth)))[:ROW_LIMIT]


def _machine(boot: Sequence[Event], zero_s: float, now_s: float) -> Bar:
    """From the request to the guest's first word: choosing a host, QEMU, the kernel."""
    for event in boot[1:]:
        if event.type.endswith(".error"):
            return Bar("host and kernel", 0.0, event.time - zero_s, "fail")
        if event.type == "guest.start":
            return Bar("host and kernel", 0.0, event.time - zero_s, "ok")
    return Bar("host and kernel", 0.0, max(0.0, now_s - zero_s), "running")


def _bar(name: str, start_s: float, end_s: float, state: str, note: str = "") -> Bar:
    _stage, _, part = name.partition("/")
    return Bar((part or name)[:60], start_s, end_s, state, 1 if part else 0, note[:200])


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def picture(rows: Sequence[Bar], marks_s: Sequence[float]) -> dict[str, Any]:
    """The timeline as figures for an SVG 1000 wide: bars, marks of metadata requests, a scale in seconds."""
    left, right, height = 290.0, 960.0, 22
    span_s = max([bar.end_s for bar in rows] + list(marks_s) + [1.0])
    place = (right - left) / span_s
    step_s = next((each for each in (0.5, 1, 2, 5, 10, 30, 60, 300, 1800) if span_s / each <= 12), 7200)
    ticks = [number * step_s for number in range(int(span_s / step_s) + 1)]
    drawn = [
        {
            "bar": bar,
            "x": round(left + bar.start_s * place, 1),
            "y": 26 + index * height,
            "width": round(max((bar.end_s - bar.start_s) * place, 2.0), 1),
        }
        for index, bar in enumerate(rows)
    ]
    bottom = 26 + len(rows) * height
    return {
        "drawn": drawn,
        "ticks": [{"x": round(left + tick * place, 1), "text": f"{tick:g} s"} for tick in ticks],
        "marks": [round(left + mark * place, 1) for mark in marks_s if mark >= 0],
        "bottom": bottom,
        "height": bottom + 34,
        "left": left,
    }


def harmless(output: bytes) -> str:
    """The last lines of a console as text in which nothing acts: control characters are shown, not done."""
    lines = output.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")[-CONSOLE_TAIL_LINES:]
    return "\n".join("".join(_shown(letter) for letter in line.rstrip("\r")[:2000]) for line in lines)


def _shown(letter: str) -> str:
    if letter.isprintable() or letter == "\t":
        return letter
    return f"\\x{ord(letter):02x}"


def addresses(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """All addresses of a server in one text."""
    return ", ".join(str(each["addr"]) for rows in found.values() for each in rows)
