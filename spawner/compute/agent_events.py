"""What a guest's agent says on the port `org.guestling.agent.0`: JSON lines, from a side we do not trust.

`parse` turns one line into one typed value and never raises: a line that is not as agreed becomes
`Malformed`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

import msgspec

PORT_NAME = "org.guestling.agent.0"

LINE_LIMIT = 1 << 20
"""Bytes of one line; what is longer is dropped and reported as `Malformed`."""

EVENT_LIMIT = 100_000
BYTES_LIMIT = 16 << 20
"""Lines and bytes a guest may send in its life; the rest is read and dropped."""


class Started(msgspec.Struct, frozen=True, tag_field="event", tag="start"):
    """A stage (`init-local`) or one of its modules (`init-local/config-growpart`) begins."""

    name: str
    uptime_s: float


class Finished(msgspec.Struct, frozen=True, tag_field="event", tag="finish"):
    """A stage or module ended."""

    name: str
    result: Literal["SUCCESS", "WARN", "FAIL"]
    took_s: float
    uptime_s: float
    summary: str = ""


class Ready(msgspec.Struct, frozen=True, tag_field="event", tag="ready"):
    """A guest that is to become a template has come as far as it shall, and waits to be resumed."""

    uptime_s: float


class StageTimes(msgspec.Struct, frozen=True):
    """When a stage started and finished, as the agent's status file has it; None: not yet."""

    start: float | None = None
    finished: float | None = None


class CommandReport(msgspec.Struct, frozen=True):
    """One command that a module ran: its exit status (negative: a signal) and the end of its output."""

    argv: tuple[str, ...]
    status: int
    tail: str = ""
    took_s: float = 0.0


class UnreadKey(msgspec.Struct, frozen=True):
    """A key of the user data that no module of the guest read, and why."""

    key: str
    why: str


class ModuleReport(msgspec.Struct, frozen=True):
    """One module of the final report: what it changed, in words, why not, and how its commands ended."""

    stage: str
    name: str
    result: Literal["SUCCESS", "WARN", "FAIL", "SKIPPED"]
    took_s: float
    actions: tuple[str, ...] = ()
    why: str = ""
    commands: tuple[CommandReport, ...] = ()


class Result(msgspec.Struct, frozen=True, tag_field="event", tag="result"):
    """The agent's last word: one for each boot."""

    status: Literal["done", "degraded", "error"]
    version: str = ""
    instance_id: str | None = None
    datasource: str | None = None
    errors: tuple[str, ...] = ()
    recoverable_errors: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    stages: dict[str, StageTimes] = msgspec.field(default_factory=dict)
    modules: tuple[ModuleReport, ...] = ()
    unread_keys: tuple[UnreadKey, ...] = ()


class Malformed(msgspec.Struct, frozen=True):
    """A line that is not what was agreed; `why` never repeats the line itself."""

    why: str


AgentEvent = Started | Finished | Ready | Result | Malformed

_DECODER = msgspec.json.Decoder(Started | Finished | Ready | Result)


def parse(line: bytes) -> AgentEvent:
    """One line, without its newline, as a typed event.

    Unknown fields are ignored: a newer agent may add some.
    """
    if len(line) > LINE_LIMIT:
        return Malformed(f"line longer than {LINE_LIMIT} bytes")
    try:
        event: AgentEvent = _DECODER.decode(line)
    except msgspec.ValidationError as error:
        return Malformed(str(error)[:200])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Malformed("line is not JSON")
    except RecursionError:
        return Malformed("line is nested too deeply")
    return event


class LineSplitter:
    """Cuts a stream into lines of at most LINE_LIMIT bytes; memory stays bounded whatever comes."""

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self._limit = limit
        self._pending = bytearray()
        self._too_long = False

    def feed(self, chunk: bytes) -> list[bytes | None]:
        """The lines that `chunk` completes; None stands for one that was too long."""
        lines: list[bytes | None] = []
        *complete, rest = chunk.split(b"\n")
        for part in complete:
            self._keep(part)
            lines.append(None if self._too_long else bytes(self._pending))
            self._pending.clear()
            self._too_long = False
        self._keep(rest)
        return [line for line in lines if line is None or line.strip()]

    def _keep(self, part: bytes) -> None:
        if self._too_long or len(self._pending) + len(part) > self._limit:
            self._too_long = True
            self._pending.clear()
        else:
            self._pending += part


class EventLog:
    """The events of one guest, in order. Any number of readers; each sees all from the first to the end."""

    def __init__(self) -> None:
        self._events: list[AgentEvent] = []
        self._splitter = LineSplitter()
        self._bytes = 0
        self._closed = False
        self._news = asyncio.Event()

    def feed(self, chunk: bytes) -> None:
        """Take what the port brought.

        Beyond the limits of a guest's life, one last `Malformed` and no more.
        """
        if self._bytes > BYTES_LIMIT or len(self._events) > EVENT_LIMIT:
            return
        self._bytes += len(chunk)
        for line in self._splitter.feed(chunk):
            self._append(
                parse(line) if line is not None else Malformed(f"line longer than {LINE_LIMIT} bytes")
            )
            if len(self._events) > EVENT_LIMIT:
                break
        if self._bytes > BYTES_LIMIT or len(self._events) > EVENT_LIMIT:
            self._append(
                Malformed(f"more than {EVENT_LIMIT} events or {BYTES_LIMIT} bytes: the rest is dropped")
            )

    def close(self) -> None:
        """No more will come: readers end."""
        self._closed = True
        self._news.set()

    async def read(self) -> AsyncIterator[AgentEvent]:
        """Each event from the first on, as it comes; ends when the guest has."""
        seen = 0
        while True:
            while seen < len(self._events):
                yield self._events[seen]
                seen += 1
            if self._closed:
                return
            self._news.clear()
            await self._news.wait()

    def _append(self, event: AgentEvent) -> None:
        self._events.append(event)
        self._news.set()
