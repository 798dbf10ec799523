"""The report of one boot: a directory that answers "what happened, and when" after the guest is gone.

events.jsonl     everything that was told, in order, with the second it was told at
requests.jsonl   what the guest asked the metadata service
console.log      the serial console, as the guest wrote it
result.json      the agent's own words, absent where it had none
boot.json        image, accelerator, network, source, seconds: what one needs to compare two boots
timeline.json    firmware, kernel, units, stages, modules, requests on one axis
timeline.svg     the same as a picture
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, TypeGuard

import msgspec

from image_harness import cache
from image_harness.boot import Outcome
from image_harness.progress import (
    Choice,
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
from image_harness.timeline import picture, spans
from image_harness.timeline.evidence import NONE, Evidence
from image_harness.timeline.spans import Timeline
from spawner.compute.agent_events import Result
from spawner.compute.driver import Ending

Json = dict[str, object]


def new_directory(name: str) -> Path:
    """A place for a report that nobody chose a place for: below the cache, named after the minute."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return cache.home() / "reports" / f"{stamp}-{name}"


class Report:
    """Collects what is told; `write` makes the directory. Time counts from the guest's start."""

    def __init__(self) -> None:
        self._told: list[tuple[float, Happening]] = []
        self._started_s: float | None = None

    def tell(self, happening: Happening) -> float | None:
        """Take it down; gives the seconds since the guest was started, None before that."""
        now_s = time.monotonic()
        if isinstance(happening, Starting):
            self._started_s = now_s
        at_s = None if self._started_s is None else now_s - self._started_s
        self._told.append((at_s if at_s is not None else 0.0, happening))
        return at_s

    def timeline(self, evidence: Evidence = NONE) -> Timeline:
        """When what happened, so far; `evidence` is what the guest said when it was asked."""
        return spans.build(self._told, evidence)

    def write(self, where: Path, outcome: Outcome, evidence: Evidence = NONE) -> None:
        """Make the directory, readable by its owner only: a console may show secrets."""
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_lines(
            where / "events.jsonl", [{"at_s": round(at_s, 3), **_as_json(told)} for at_s, told in self._told]
        )
        put(
            where / "requests.jsonl", "".join(f"{record.as_json()}\n" for record in outcome.requests).encode()
        )
        put(where / "console.log", outcome.console)
        put(where / "boot.json", json.dumps(self.summary(outcome), indent=1).encode() + b"\n")
        (where / "result.json").unlink(missing_ok=True)
        if outcome.result is not None:
            result = msgspec.json.format(msgspec.json.encode(outcome.result), indent=1)
            put(where / "result.json", result + b"\n")
        self.write_timeline(where, self.timeline(evidence))

    def write_timeline(self, where: Path, timeline: Timeline) -> None:
        """timeline.json and timeline.svg."""
        instance = next((told.value for _, told in self._told if _is_name(told)), "guest")
        put(where / "timeline.json", json.dumps(timeline.as_json(), indent=1).encode() + b"\n")
        put(where / "timeline.svg", picture.svg(timeline, f"The boot of {instance}").encode())

    def summary(self, outcome: Outcome) -> Json:
        """What was chosen and how it went, as `boot.json` has it."""
        choices = [told for _, told in self._told if isinstance(told, Chosen)]
        return {
            **{choice.choice.value: {"value": choice.value, "why": choice.why} for choice in choices},
            "succeeded": outcome.succeeded,
            "verdict": outcome.verdict.value,
            "host_lost_s": round(outcome.lost_s, 3),
            "agent": _agent(outcome.result),
            "took_s": round(outcome.took_s, 3),
            "ending": _ending(outcome.ending),
        }


def put(path: Path, content: bytes) -> None:
    """Write a file of a report, which nobody else may read: a console or a log may show secrets."""
    with private(path) as file:
        file.write(content)


def private(path: Path) -> BinaryIO:
    """A file to be written that only its owner can read, at no instant anybody else."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb")


def _is_name(happening: Happening) -> TypeGuard[Chosen]:
    return isinstance(happening, Chosen) and happening.choice is Choice.INSTANCE


def _as_json(happening: Happening) -> Json:
    match happening:
        case Chosen():
            return {
                "kind": "chosen",
                "what": happening.choice.value,
                "value": happening.value,
                "why": happening.why,
            }
        case Preparing():
            return {"kind": "preparing", "what": happening.what}
        case Starting():
            return {"kind": "starting"}
        case Restored():
            return {"kind": "restored"}
        case Printed():
            return {"kind": "console", "what": type(happening.word).__name__, **asdict(happening.word)}
        case Requested():
            return {"kind": "request", **json.loads(happening.record.as_json())}
        case Said():
            return {"kind": "agent", **msgspec.to_builtins(happening.event)}
        case Staying():
            return {"kind": "staying", "pid": happening.pid}
        case Ended():
            return {"kind": "ended", **_ending(happening.ending)}


def _agent(result: Result | None) -> Json | None:
    """What the agent said, in short; all of it is in result.json."""
    if result is None:
        return None
    return {
        "status": result.status,
        "datasource": result.datasource,
        "errors": result.errors,
        "warnings": result.recoverable_errors,
        "stages": msgspec.to_builtins(result.stages),
    }


def _ending(ending: Ending) -> Json:
    return {"reason": ending.reason.value, "status": ending.status, "took_s": round(ending.took_s, 3)}


def _write_lines(path: Path, documents: list[Json]) -> None:
    put(path, "".join(json.dumps(document) + "\n" for document in documents).encode())
