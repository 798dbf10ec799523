"""A guest whose agent has no channel to us, such as stock cloud-init: its result out of the files it leaves.

Source: cloud-init's documentation of status.json and result.json; the log's lines `start:` and `finish:` are
what `cloud-init analyze` reads too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from spawner.compute.agent_events import ModuleReport, Result, StageTimes

LOG = "/var/log/cloud-init.log"
LAST_STEPS = f"grep -h -E ': (start|finish): ' {LOG} 2>/dev/null | tail -n 800 | cut -c 1-300"
_MARK = "guestling-file"
FILES = {
    "status": "/run/cloud-init/status.json",
    "result": "/run/cloud-init/result.json",
    "instance": "/run/cloud-init/.instance-id",
}
COMMAND = "\n".join(
    [f"echo '{_MARK} {name}'; cat {path} 2>/dev/null; echo" for name, path in FILES.items()]
    + [f"echo '{_MARK} steps'; {LAST_STEPS}"]
)
_TEXT_LIMIT = 2_000
_COUNT_LIMIT = 1_000
_STAGES = ("init-local", "init", "modules-config", "modules-final")
_STEP = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) - \S+\[\w+\]: "
    r"(?:start: ([\w/.-]{1,100}):|finish: ([\w/.-]{1,100}): (\w+):)"
)
# What the log calls a failure.
_RESULTS: Mapping[str, Literal["SUCCESS", "WARN", "FAIL"]] = {
    "SUCCESS": "SUCCESS",
    "WARN": "WARN",
    "FAIL": "FAIL",
}


@dataclass(frozen=True)
class Step:
    """A stage or a step of one, from the log; seconds since 1970."""

    name: str
    result: Literal["SUCCESS", "WARN", "FAIL"]
    start_s: float
    end_s: float


def steps(text: str) -> tuple[Step, ...]:
    """The steps of the last boot in a log, in the order in which they ended."""
    started: dict[str, float] = {}
    found: list[Step] = []
    before = ""
    for match in filter(None, map(_STEP.match, text.splitlines())):
        at_s = _epoch_s(match[1])
        name = match[2] or match[3]
        stage = name.partition("/")[0]
        if stage == _STAGES[0] != before:
            found.clear()
            started.clear()
        before = stage
        if match[2] is not None:
            started[name] = at_s
        elif match[4] in _RESULTS:
            # The first stage begins before the log is there.
            inside = (step.start_s for step in found if step.name.startswith(f"{name}/"))
            start_s = started.pop(name) if name in started else min(inside, default=at_s)
            found.append(Step(name, _RESULTS[match[4]], start_s, max(at_s, start_s)))
    return tuple(found[:_COUNT_LIMIT])


def result(text: str) -> Result | None:
    """The answer to COMMAND as an agent's result; None while it has not finished, or where there is none."""
    pieces = re.split(rf"^{_MARK} (\w+)$", text, flags=re.MULTILINE)
    parts = dict(zip(pieces[1::2], pieces[2::2], strict=False))
    ended = _v1(parts.get("result", ""))
    if ended is None:
        return None
    status = _v1(parts.get("status", "")) or {}
    stages = {name: stage for name in _STAGES if isinstance(stage := status.get(name), dict)}
    errors = _texts(ended.get("errors"))
    recoverable = dict(_recoverable(stages))
    datasource = ended.get("datasource")
    return Result(
        status="error" if errors else "degraded" if recoverable else "done",
        instance_id=parts.get("instance", "").strip()[:_TEXT_LIMIT] or None,
        datasource=datasource[:_TEXT_LIMIT] if isinstance(datasource, str) else None,
        errors=errors,
        recoverable_errors=recoverable,
        stages={
            name: StageTimes(_time(stage, "start"), _time(stage, "finished"))
            for name, stage in stages.items()
        },
        modules=tuple(_modules(steps(parts.get("steps", "")))),
    )


def _v1(text: str) -> dict[str, object] | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    v1 = document.get("v1") if isinstance(document, dict) else None
    return v1 if isinstance(v1, dict) else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(each)[:_TEXT_LIMIT] for each in value[:_COUNT_LIMIT]) if isinstance(value, list) else ()


def _recoverable(stages: Mapping[str, Mapping[str, object]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """By level, over all stages."""
    found: dict[str, tuple[str, ...]] = {}
    for stage in stages.values():
        by_level = stage.get("recoverable_errors")
        for level, texts in by_level.items() if isinstance(by_level, dict) else ():
            found[str(level)[:20]] = found.get(str(level)[:20], ()) + _texts(texts)
    yield from found.items()


def _time(stage: Mapping[str, object], name: str) -> float | None:
    value = stage.get(name)
    return float(value) if isinstance(value, (int, float)) else None


def _modules(ran: tuple[Step, ...]) -> Iterator[ModuleReport]:
    for step in ran:
        stage, _, module = step.name.partition("/")
        if module.startswith("config-"):
            took_s = step.end_s - step.start_s
            yield ModuleReport(stage, module.removeprefix("config-"), step.result, took_s)


def _epoch_s(stamp: str) -> float:
    """A time of the log, which is UTC."""
    try:
        return datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0
