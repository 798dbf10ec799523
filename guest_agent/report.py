"""Telling how a boot goes: status.json and result.json, events, and the one result for the host.

`Status` is what `cloud-init status` reads; `Reporter` hands events to the log and to whoever else asked for
them (`listeners.py`). Exit codes of stages are decided here. Source: guest-agent.md 1.9, 5.8, 6.
"""

from __future__ import annotations

import time

from boot_stages.errors import StageError
from boot_stages.log import logger
from boot_stages.plain_json import read_json
from boot_stages.runner import FAILED, SKIPPED, SUCCESS, WARNED
from boot_stages.stages import FINAL, STAGES
from boot_stages.value import Value
from guest_agent.plain import to_json
from guest_agent.state import DATA_RESULT, DATA_STATUS, RUN_RESULT, RUN_STATUS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Protocol

    from boot_stages.apply import CommandResult
    from boot_stages.registry import Unread
    from boot_stages.runner import Outcome
    from guest_agent.machine import Machine
    from guest_agent.state import Place

    class Listener(Protocol):
        """Somebody who wants to hear of events."""

        def event(self, event: Event) -> None:
            """Take one event. Never raises: nobody who listens may stop a boot."""

        def result(self, document: dict[str, Any]) -> None:
            """Take the result of the whole boot, once."""


LOG = logger("handlers")

# One table for the exit status of `status` and of a stage: nothing, errors, recoverable errors only.
DONE, ERROR, DEGRADED = 0, 1, 2
# Letters of the commands' output in a result: of one that succeeded, of one that failed, of all together.
TAIL_OF_GOOD = 1024
TAIL_OF_FAILED = 4096
TAILS_LIMIT = 256 * 1024


class Event(Value):
    """A stage, a step of it or a module begins or ends; `name` is `init-network/config-users_groups`."""

    kind: str
    name: str
    description: str
    epoch_s: float
    uptime_s: float
    result: str = ""
    took_s: float = 0.0
    summary: str = ""


def places(machine: Machine) -> tuple[str, str]:
    """Where status.json and result.json of this boot are: below /run, or where they are kept."""
    at = (RUN_STATUS, RUN_RESULT) if machine.exists(RUN_STATUS.path) else (DATA_STATUS, DATA_RESULT)
    return at[0].path, at[1].path


class Status:
    """status.json: what each stage did, written before and after it; result.json at the end of the last.

    They are made durable at that end alone: nobody asks how a boot went that a power cut has ended, the next
    one removes both unread (`forget`).
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.v1 = self._load()

    def _load(self) -> dict[str, Any]:
        """What an earlier stage left; a fresh one when there is none or it cannot be read."""
        fresh: dict[str, Any] = {"datasource": None, "stage": None}
        for stage in STAGES:
            fresh[stage.key] = {"errors": [], "recoverable_errors": {}, "start": None, "finished": None}
        try:
            found = read_json(self._machine.read_text(places(self._machine)[0]) or "{}")["v1"]
            for stage in STAGES:
                fresh[stage.key].update(found[stage.key])
            fresh["datasource"] = found["datasource"]
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        return fresh

    def forget(self) -> None:
        """A new boot begins: what the last one said is removed."""
        for place in (DATA_STATUS, DATA_RESULT, RUN_STATUS, RUN_RESULT):
            try:
                self._machine.remove(place.path)
            except OSError as error:
                LOG.debug("%s is not removed: %s", place.path, error)
        self.v1 = self._load()

    def begin(self, key: str, uptime_s: float) -> None:
        """A stage starts."""
        self.v1["stage"] = key
        self.v1[key].update(start=uptime_s, finished=None)
        self._write()

    def end(
        self,
        key: str,
        uptime_s: float,
        *,
        datasource: str | None,
        errors: Sequence[str],
        recoverable: Mapping[str, Sequence[str]],
    ) -> None:
        """A stage has ended, with these errors."""
        stage = self.v1[key]
        stage["errors"] = [*stage["errors"], *errors]
        for level, texts in recoverable.items():
            known = stage["recoverable_errors"].setdefault(level, [])
            known.extend(text for text in texts if text not in known)
        stage["finished"] = uptime_s
        self.v1["stage"] = None
        if datasource is not None:
            self.v1["datasource"] = datasource
        self._write(durable=key == FINAL.key)

    def finish(self) -> None:
        """The last stage has ended: result.json, whose existence means `finished`."""
        document = {"v1": {"datasource": self.v1["datasource"], "errors": self.all_errors()}}
        self._publish(DATA_RESULT, RUN_RESULT, to_json(document), durable=True)

    def _write(self, *, durable: bool = False) -> None:
        self._publish(DATA_STATUS, RUN_STATUS, to_json({"v1": self.v1}), durable=durable)

    def _publish(self, kept: Place, shown: Place, text: str, *, durable: bool) -> None:
        """Keep a file on the disk with a link to it below /run; one that cannot be written must not end the
        boot nor hide how it went, so then the file itself is below /run (GA-S10).
        """
        try:
            self._machine.write(kept.path, text, durable=durable)
            self._machine.link(shown.path, f"../..{kept.path}")
        except (OSError, StageError) as error:
            LOG.warning("%s is below /run only, until the next boot: %s", kept.path, error)
            try:
                self._machine.remove(shown.path)
                self._machine.write(shown.path, text)
            except (OSError, StageError) as again:
                LOG.warning("%s cannot be written either: %s", shown.path, again)

    def all_errors(self) -> list[str]:
        """The errors of all stages, in the order of the stages."""
        return [error for stage in STAGES for error in self.v1[stage.key]["errors"]]

    def all_recoverable(self) -> dict[str, list[str]]:
        """The recoverable errors of all stages by level."""
        found: dict[str, list[str]] = {}
        for stage in STAGES:
            for level, texts in self.v1[stage.key]["recoverable_errors"].items():
                found.setdefault(level, []).extend(texts)
        return found

    def verdict(self) -> int:
        """DONE, ERROR or DEGRADED over all stages."""
        if self.all_errors():
            return ERROR
        return DEGRADED if self.all_recoverable() else DONE


WORDS = {DONE: "done", ERROR: "error", DEGRADED: "degraded"}


class Reporter:
    """Events of one agent process: to the log always, to listeners as they come."""

    def __init__(self, machine: Machine, listeners: Sequence[Listener] = ()) -> None:
        self._machine = machine
        self._built_in = tuple(listeners)
        self.listeners = list(listeners)
        self.modules: list[dict[str, Any]] = []
        self._tails = Tails()
        self._started: dict[str, float] = {}

    def use(self, configured: Sequence[Listener]) -> None:
        """Tell these besides the built-in ones, from now on, and no longer those of before."""
        self.listeners = [*self._built_in, *configured]

    def start(self, name: str, description: str) -> None:
        """Something begins."""
        self._started[name] = time.monotonic()
        LOG.debug("start: %s: %s", name, description)
        self._tell("start", name, description)

    def finish(self, name: str, description: str, result: str = SUCCESS, summary: str = "") -> None:
        """It has ended, with SUCCESS, WARN or FAIL."""
        took_s = round(time.monotonic() - self._started.pop(name, time.monotonic()), 4)
        LOG.debug("finish: %s: %s: %s", name, result, description)
        self._tell("finish", name, description, result, took_s, summary)

    def _tell(
        self, kind: str, name: str, description: str, result: str = "", took_s: float = 0.0, summary: str = ""
    ) -> None:
        if not self.listeners:
            return
        clock = self._machine.clock()
        event = Event(kind, name, description, clock.epoch_s, clock.uptime_s, result, took_s, summary)
        for listener in self.listeners:
            listener.event(event)

    def module(self, stage_event: str, name: str, outcome: Outcome | None) -> None:
        """A module begins (`outcome` None) or has ended; a skipped one is no event."""
        event = f"{stage_event}/config-{name}"
        if outcome is None:
            self.start(event, f"running config-{name}")
            return
        self.modules.append({"stage": stage_event, **told_of(outcome, self._tails)})
        if outcome.result == SKIPPED:
            return
        ran = f"config-{name} ran successfully and took {outcome.took_s:.3f} seconds"
        text = f"running config-{name}" if outcome.result == FAILED else ran
        self.finish(event, text, outcome.result, _summary(outcome))

    def boot_result(
        self, status: Status, version: str, instance_id: str, verdict: int, unread: Sequence[Unread] = ()
    ) -> dict[str, Any]:
        """The one document that says how the boot went; `unread` are the keys that no module read."""
        stages = {
            stage.event: {
                "start": status.v1[stage.key]["start"],
                "finished": status.v1[stage.key]["finished"],
            }
            for stage in STAGES
        }
        document = {
            "event": "result",
            "version": version,
            "instance_id": instance_id,
            "datasource": status.v1["datasource"],
            "status": WORDS[verdict],
            "errors": status.all_errors(),
            "recoverable_errors": status.all_recoverable(),
            "stages": stages,
            "modules": self.modules,
            "unread_keys": [{"key": each.key, "why": each.why} for each in unread],
        }
        for listener in self.listeners:
            listener.result(document)
        return document


def _summary(outcome: Outcome) -> str:
    if outcome.error:
        return outcome.error
    changes = len(outcome.done)
    return outcome.reason or f"{changes} change{'' if changes == 1 else 's'}"


class Tails:
    """How much of the commands' output one result still has room for (its line is bounded on the host)."""

    def __init__(self, left: int = TAILS_LIMIT) -> None:
        self._left = left

    def of(self, result: CommandResult) -> str:
        """The end of a command's output: more of one that failed; nothing once the room is used up."""
        limit = TAIL_OF_GOOD if result.status == 0 else TAIL_OF_FAILED
        tail = result.tail[-min(limit, self._left) :] if self._left else ""
        self._left -= len(tail)
        return tail


def told_of(outcome: Outcome, tails: Tails) -> dict[str, Any]:
    """A module as the result and changes.jsonl tell it: what it did, why not, how its commands ended."""
    told: dict[str, Any] = {
        "name": outcome.name,
        "result": outcome.result,
        "took_s": outcome.took_s,
        "actions": list(outcome.done),
    }
    if outcome.error or outcome.reason:
        told["why"] = outcome.error or outcome.reason
    if outcome.commands:
        told["commands"] = [
            {"argv": list(each.argv), "status": each.status, "tail": tails.of(each), "took_s": each.took_s}
            for each in outcome.commands
        ]
    return told


__all__ = ["DEGRADED", "DONE", "ERROR", "FAILED", "SUCCESS", "WARNED", "WORDS", "Event", "Reporter", "Status"]
