"""The protocols under the server, with the limits that aiohttp does not have (HTTP-11, MS-H).

A connection begins as a `RepeatConnection`, which knows bytes and nothing of HTTP, and becomes aiohttp's with
the first request that was not asked before (decision 0116). One that is slow to ask, slow to read, one too
many, or not HTTP costs a timer entry and one short log line; it never reaches a rule.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast
from uuid import uuid4

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from metadata_server.answers import Writer, tail
from metadata_server.caller import Connection
from metadata_server.http import Response, error

LOG = logging.getLogger("metadata_server")


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds; every one may be set."""

    line_bytes: int = 8190
    head_bytes: int = 16 << 10
    header_fields: int = 64
    connections: int = 12_000
    connections_per_source: int = 64
    request_s: float = 10.0
    body_s: float = 10.0
    idle_s: float = 30.0
    stalled_reader_s: float = 30.0
    linger_s: float = 2.0
    sweep_s: float = 1.0


class Sent(web.StreamResponse):
    """Tells aiohttp that the answer is on its way already, and whether the connection goes on."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._keep_alive = keep_alive

    async def prepare(self, request: web.BaseRequest) -> None:  # noqa: ARG002  # aiohttp passes it by name
        return None

    async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002  # as above
        return None


SENT_AND_ON = Sent(keep_alive=True)
SENT_AND_CLOSE = Sent(keep_alive=False)


# Answers what was asked before, byte for byte: whether the connection goes on; None for what is new.
Repeat: TypeAlias = Callable[[bytes, str | None, Callable[[bytes], None]], bool | None]


def never(head: bytes, source: str | None, write: Callable[[bytes], None]) -> bool | None:  # noqa: ARG001
    """A `Repeat` for what is answered anew each time."""
    return None


class RepeatConnection(asyncio.Protocol):
    """A connection that has asked nothing so far, or only what was asked before, byte for byte.

    Costs neither a parser nor a task. `source` is the peer's address, None on a unix socket.
    """

    __slots__ = ("_guard", "_transport", "source")

    def __init__(self, guard: GuestServer) -> None:
        self._guard = guard
        self._transport: asyncio.Transport | None = None
        self.source: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.source = peer[0]
        if not self._guard.admit(self, self.source):
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        transport, guard = self._transport, self._guard
        if transport is None:
            return
        goes_on = guard.repeat(data, self.source, transport.write)
        if goes_on is None:
            deadline = guard.slow.pop(self, math.inf)
            guest = self._hand_over(transport)
            guard.allow(guest, guard.limits.request_s, deadline)
            guest.data_received(data)
            return
        if self._transport is not None:
            guard.allow(self, guard.limits.idle_s)
        if not goes_on:
            transport.close()

    def pause_writing(self) -> None:
        """The client is slow to take an answer: aiohttp's connections are watched for that."""
        if self._transport is not None:
            self._guard.slow.pop(self, None)
            self._hand_over(self._transport).pause_writing()

    def _hand_over(self, transport: asyncio.Transport) -> GuestProtocol:
        self._transport = None
        guest = self._guard.guest(self.source)
        transport.set_protocol(guest)
        guest.connection_made(transport)
        return guest

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002  # asyncio's signature
        self._guard.forget(self, self.source)

    def close(self) -> None:
        """Send what is written, then end."""
        if self._transport is not None:
            self._transport.close()

    def be_too_slow(self) -> None:
        """Nobody asked for long: there is no request that an answer would belong to."""
        if self._transport is not None:
            self._transport.abort()


class GuestProtocol(web.RequestHandler):
    """One connection of aiohttp's. `source` is the peer's address, None on a unix socket."""

    __slots__ = ("_answered", "_asked_bytes", "_head_bytes", "ended", "guard", "source")

    def __init__(self, guard: GuestServer, source: str | None, **kwargs: Any) -> None:
        super().__init__(guard, **kwargs)
        self.guard = guard
        self.ended = False
        self._answered = self._asked_bytes = self._head_bytes = 0
        self.source = source

    def connection(self) -> Connection:
        """What identification may know of this connection."""
        transport = self.transport
        if self.source is None or transport is None:
            return Connection()
        local = transport.get_extra_info("sockname")
        return Connection(self.source, local[1], self.guard.mac_of(self.source))

    def eof_received(self) -> bool:  # type: ignore[override]  # aiohttp's never keeps a half-closed connection
        """The client has asked all it wants: what it asked is still answered, then the connection ends."""
        self.ended = True
        return self._request_count > self._answered

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """aiohttp has no state that lasts from the last byte of a request to its answer: count both."""
        self._answered += 1
        return await super().finish_response(request, resp, start_time)

    @property
    def is_over(self) -> bool:
        """Whether the answer now sent is the last one."""
        return self.ended and not self._messages

    def connection_lost(self, exc: BaseException | None) -> None:
        self.guard.forget(self, self.source)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Watch how long and how large a request's head gets before it is complete."""
        before = self._request_count
        self._head_bytes += len(data)
        super().data_received(data)
        if self._request_count != before:
            self._asked_bytes, self._head_bytes = self._head_bytes, 0
            self.guard.slow.pop(self, None)
        elif not self._request_in_progress:
            if self not in self.guard.slow:
                self.guard.allow(self, self.guard.limits.request_s)
            if self._head_bytes > self.guard.limits.head_bytes:
                self.refuse(error(431, close=True))

    def be_too_slow(self) -> None:
        """The client is in the middle of a request for too long, or silent since it connected."""
        if self._head_bytes == 0:
            self.force_close()
        else:
            self.refuse(error(408, close=True))

    def refuse(self, response: Response) -> None:
        """Answer without a request, and close."""
        transport = self.transport
        if transport is not None:
            answer = self.guard.writer.of_response(response)
            transport.write(
                answer.head + tail(self.guard.wall_time(), keep_alive=False, http_1_0=False) + answer.body
            )
        self.guard.count_refused(response.status)
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002  # nothing of the request is said to anyone
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  # quotes the request
    ) -> web.StreamResponse:
        """Not HTTP: one line in the log, `400`, no echo (MS-H10). 500 is a bug of ours (HTTP-10)."""
        if status >= 500:
            number = uuid4().hex[:12]
            LOG.error("request %s failed: a bug of guestling", number, exc_info=exc)
            response = Response(500, f"500 Internal Server Error: request {number}\n".encode(), close=True)
        else:
            large = isinstance(exc, LineTooLong) and self._asked_bytes > self.guard.limits.head_bytes
            response = error(431 if large else 400, close=True)
            self.guard.log_refused(self.source, "not an HTTP request", type(exc).__name__)
        self.refuse(response)
        return SENT_AND_CLOSE


class GuestServer(web.Server):
    """All connections of one listener, and the clock that closes the slow ones."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        limits: Limits,
        writer: Writer,
        wall_time: Callable[[], float],
        refused: Counter[int],
        repeat: Repeat,
        neighbour: Callable[[str], str | None] | None = None,
    ) -> None:
        super().__init__(handler)
        self.repeat = repeat
        self._neighbour = neighbour
        self.limits = limits
        self.writer = writer
        self.wall_time = wall_time
        self.slow: dict[GuestProtocol | RepeatConnection, float] = {}
        self._refused = refused
        self._per_source: dict[str, int] = {}
        self._open = 0
        self._stalled: dict[asyncio.Transport, tuple[int, float]] = {}
        self._logged_at = 0.0
        self._suppressed = 0

    def __call__(self) -> RepeatConnection:  # type: ignore[override]  # aiohttp's comes later
        return RepeatConnection(self)

    def guest(self, source: str | None) -> GuestProtocol:
        """aiohttp's protocol, for a connection that was admitted."""
        limits = self.limits
        return GuestProtocol(
            self,
            source,
            loop=self._loop,
            keepalive_timeout=limits.idle_s,
            tcp_keepalive=False,
            max_line_size=limits.line_bytes,
            max_field_size=limits.line_bytes,
            max_headers=limits.header_fields,
            access_log=None,
            auto_decompress=False,
            lingering_time=limits.linger_s,
        )

    def allow(
        self, protocol: GuestProtocol | RepeatConnection, seconds: float, at_most: float = math.inf
    ) -> None:
        """It is too slow in so many seconds from now, or at `at_most` of the loop's clock."""
        self.slow[protocol] = min(self._loop.time() + seconds, at_most)

    def pre_shutdown(self) -> None:
        """Close the connections on which nothing goes on."""
        for protocol in list(self.slow):
            if isinstance(protocol, RepeatConnection):
                protocol.close()
        super().pre_shutdown()

    def mac_of(self, peer: str) -> str | None:
        """The neighbour table's answer, None where the listener does not ask it."""
        return None if self._neighbour is None else self._neighbour(peer)

    def admit(self, protocol: RepeatConnection, source: str | None) -> bool:
        """Whether one more connection fits, in all and from this source (MS-H08)."""
        self._open += 1
        limits = self.limits
        crowded = self._open > limits.connections
        if source is not None:
            count = self._per_source[source] = self._per_source.get(source, 0) + 1
            crowded = crowded or count > limits.connections_per_source
        if crowded:
            self._refused[0] += 1
            return False
        self.slow[protocol] = self._loop.time() + limits.request_s
        return True

    def forget(self, protocol: GuestProtocol | RepeatConnection, source: str | None) -> None:
        self._open -= 1
        self.slow.pop(protocol, None)
        if source is not None:
            self._per_source[source] -= 1
            if not self._per_source[source]:
                del self._per_source[source]

    def count_refused(self, status: int) -> None:
        self._refused[status] += 1

    def log_refused(self, source: str | None, what: str, why: str) -> None:
        """At most one line a second, with the number of those left out (G11)."""
        now = self._loop.time()
        if now - self._logged_at < 1.0:
            self._suppressed += 1
            return
        LOG.warning(
            "%s from %s: %s (%d more suppressed)", what, source or "a unix socket", why, self._suppressed
        )
        self._logged_at, self._suppressed = now, 0

    async def sweep(self) -> None:
        """Close what is too slow, once a second, until cancelled (MS-H06)."""
        look_at_readers = 0.0
        while True:
            await asyncio.sleep(self.limits.sweep_s)
            now = self._loop.time()
            for protocol in [protocol for protocol, deadline in self.slow.items() if deadline <= now]:
                self.slow.pop(protocol, None)
                protocol.be_too_slow()
            if now >= look_at_readers:
                self._drop_stalled_readers(now)
                look_at_readers = now + self.limits.stalled_reader_s / 6  # it goes through all connections

    def _drop_stalled_readers(self, now: float) -> None:
        """A client that takes no byte of its answer is dropped, what is queued for it with it."""
        waiting: dict[asyncio.Transport, tuple[int, float]] = {}
        for transport in self._connections.values():
            size = transport.get_write_buffer_size()
            if size:
                before, since = self._stalled.get(transport, (-1, now))
                waiting[transport] = (size, since if size == before else now)
                if now - waiting[transport][1] >= self.limits.stalled_reader_s:
                    transport.abort()
        self._stalled = waiting
