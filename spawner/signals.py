"""Signals of guests, in the words of OpenStack Heat's wait conditions. Pure.

A guest posts JSON to `http://169.254.169.254/openstack/latest/x_report`: `status` SUCCESS or FAILURE, and if
it likes `id`, `reason`, `data`; Heat's other spelling (Status, UniqueId, Reason, Data) is read as well. A
signal with an id that was there before takes its place; one without an id counts by itself.
Source: Heat's OS::Heat::WaitCondition and wait condition handle, guest-agent.md (`type: signal`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

EVENT = "signal.received"
URL = "http://169.254.169.254/openstack/latest/x_report"
TEXT_LIMIT = 1024
_OTHER_SPELLING = {"Status": "status", "UniqueId": "id", "Reason": "reason", "Data": "data"}
_WORDS = ("SUCCESS", "FAILURE")


@dataclass(frozen=True)
class Signal:
    """One signal; `id` is empty when the guest gave none."""

    ok: bool
    id: str = ""
    reason: str = ""
    data: Any = None

    def payload(self) -> dict[str, Any]:
        """As it is recorded, in Heat's words."""
        status = "SUCCESS" if self.ok else "FAILURE"
        return {"status": status, "id": self.id, "reason": self.reason, "data": self.data}


def parse(content: bytes) -> Signal | None:
    """A posted report as a signal; None when it is a report of another kind. Never raises."""
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    fields = {_OTHER_SPELLING.get(name, name): value for name, value in document.items()}
    if fields.get("status") not in _WORDS:
        return None
    texts = {name: str(fields.get(name) or "")[:TEXT_LIMIT] for name in ("id", "reason")}
    return Signal(fields["status"] == "SUCCESS", texts["id"], texts["reason"], fields.get("data"))


@dataclass
class WaitCondition:
    """Waits for `count` signals of success; one failure ends it."""

    count: int
    _ids: set[str] = field(default_factory=set)
    _nameless: int = 0
    failure: str | None = None

    @property
    def received(self) -> int:
        """Signals of success so far, each id once."""
        return len(self._ids) + self._nameless

    @property
    def is_met(self) -> bool:
        """Whether as many as wanted have come."""
        return self.received >= self.count

    def take(self, payload: Mapping[str, Any]) -> None:
        """Count one recorded signal."""
        if payload["status"] == "FAILURE":
            self.failure = str(payload.get("reason") or "the guest gave no reason")
        elif payload.get("id"):
            self._ids.add(str(payload["id"]))
        else:
            self._nameless += 1
