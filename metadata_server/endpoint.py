"""One listener's requests: aiohttp to `Request`, the rules, the rules' wishes, and back to bytes.

The second time a target is asked for, its answer is already in the tree's `ready` table: the rules said
before that it is a plain page, and the same bytes are sent with a fresh date and seed. What the head of a
request says is remembered too, by its bytes: the same head is not parsed again (decision 0116).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple, TypeAlias, cast

from aiohttp import web

from metadata_server import wishes
from metadata_server.answers import Answer
from metadata_server.caller import Caller, foreign_headers, identify
from metadata_server.errors import StoreUnavailable
from metadata_server.faults import Script
from metadata_server.http import NOT_FOUND, UNAVAILABLE, Request, Response, error
from metadata_server.listener import Listener, Mode
from metadata_server.pages import SEED_LENGTH, Tree
from metadata_server.paths import BadPath, normal
from metadata_server.protocol import SENT_AND_CLOSE, SENT_AND_ON, GuestProtocol
from metadata_server.responder import (
    MAX_BODY_BYTES,
    MAX_GET_BODY_BYTES,
    Context,
    MintToken,
    Outcome,
    Send,
    Wish,
    allowed_hosts,
    neutron_safe,
    respond,
)
from metadata_server.services import Services

# A request with one of these is looked at by the rules each time.
_SPECIAL = frozenset({"if-none-match", "content-length", "transfer-encoding", "expect", "upgrade"})
_KNOWN_HEADS = 8192
# Of one head. Clients send some 200 bytes; a guest that varies long ones must not fill our memory (MS-D16).
_LONGEST_KNOWN_BYTES = 1024
_KNOWN_HEADER_SETS = 4096
_KNOWN_PEERS = 65_536
_WITHOUT_CALLER = ("/", "/ec2")


RawHeaders: TypeAlias = tuple[tuple[bytes, bytes], ...]


class Known(NamedTuple):
    """What a set of headers means: the caller (None: the connection says it), and headers to warn about.

    `targets` are those of the heads that are known with these headers.
    """

    caller: Caller | None
    foreign: tuple[str, ...]
    targets: set[str]


class Head(NamedTuple):
    """What the bytes of a request without a body say."""

    target: str
    headers: Mapping[str, str]
    known: Known
    keep_alive: bool
    http_1_0: bool


class Endpoint:
    """Handles the requests of one listener."""

    def __init__(self, services: Services, listener: Listener, context: Context) -> None:
        self._services = services
        self._listener = listener
        self._context = context
        self._catalogue = services.instances
        self._is_wildcard = listener.is_wildcard
        # Where the connection alone says who asks: what it said, by the peer's address.
        self._by_peer = listener.mode in (Mode.SOURCE_IP, Mode.SOCKET) and not listener.trusted_proxies
        self._peers: dict[str | None, Caller] = {}
        self._known: dict[RawHeaders, Known] = {}
        self._heads: dict[bytes, Head] = {}

    async def handle(self, raw: web.BaseRequest) -> web.StreamResponse:
        """aiohttp's handler: every request of the listener comes through here."""
        protocol = cast(GuestProtocol, raw.protocol)
        services = self._services
        started_s = services.monotonic()
        known = self._known.get(raw.raw_headers) if raw.method == "GET" else None
        found = None if known is None else self._ready(known, protocol.source, raw.raw_path, started_s)
        if known is None or found is None:
            return await self._answer(raw, protocol, started_s)
        tree, ready = found
        if not services.limiter.allows(tree.instance.uuid, started_s):
            return await self._finish(raw, error(429, Retry_After="1"), tree, started_s)
        if raw.raw_path not in known.targets:
            self._learn_head(raw, known)
        sent = self._send(raw, ready, tree, started_s)
        await _drained(raw)
        return sent

    def repeat(self, head: bytes, source: str | None, write: Callable[[bytes], None]) -> bool | None:
        """Answer a request whose bytes were asked before, if what the rules said then still holds.

        Whether the connection goes on after it; None when nothing was written and the rules must look.
        """
        asked = self._heads.get(head)
        if asked is None:
            return None
        services = self._services
        started_s = services.monotonic()
        found = self._ready(asked.known, source, asked.target, started_s)
        if found is None or not services.limiter.allows(found[0].instance.uuid, started_s):
            return None
        tree, answer = found
        write(self._bytes(answer, keep_alive=asked.keep_alive, http_1_0=asked.http_1_0))
        services.observe(
            self._listener.mode.value, "GET", asked.target, asked.headers, answer, tree, started_s
        )
        return asked.keep_alive

    def _ready(
        self, known: Known, source: str | None, target: str, now_s: float
    ) -> tuple[Tree, Answer] | None:
        """The instance that asks and its answer, where the rules have been asked for it before."""
        caller = known.caller or self._peers.get(source)
        tree = None if caller is None else self._catalogue.find(caller.claim)
        if caller is None or tree is None or caller.tenant not in (None, tree.instance.project_id):
            return None
        if known.foreign:
            self._services.warn_foreign(source or self._listener.address, known.foreign, now_s)
        ready = cast(Answer | None, tree.ready.get(target))
        return None if ready is None else (tree, ready)

    def _learn_head(self, raw: web.BaseRequest, known: Known) -> None:
        """Remember the head of a request that was answered at once.

        Its bytes are written anew from what was parsed, so that they cannot be those of another request.
        """
        if len(self._heads) >= _KNOWN_HEADS:
            self._heads.clear()
            self._known.clear()
        known.targets.add(raw.raw_path)
        if len(raw.raw_path) > _LONGEST_KNOWN_BYTES:
            return
        line = f"GET {raw.raw_path} HTTP/{raw.version.major}.{raw.version.minor}"
        fields = b"".join(b"%s: %s\r\n" % field for field in raw.raw_headers)
        head = line.encode("utf-8", "surrogateescape") + b"\r\n" + fields + b"\r\n"
        self._heads[head] = Head(
            raw.raw_path, raw.headers, known, raw.keep_alive, http_1_0=raw.version.minor == 0
        )

    def _learn(self, raw: web.BaseRequest, caller: Caller) -> None:
        """Remember that these headers say nothing but who asks: clients send the same ones each time."""
        if not self._by_peer and self._listener.mode not in (Mode.PROXY, Mode.LB):
            return
        headers = raw.raw_headers
        if sum(len(name) + len(value) for name, value in headers) > _LONGEST_KNOWN_BYTES:
            return
        names = {name.decode("latin-1").lower() for name, _ in headers}
        if names & _SPECIAL or "host" not in names:
            return
        if len(self._known) >= _KNOWN_HEADER_SETS:
            self._known.clear()
        request = Request("GET", "/", _lower(raw))
        self._known[headers] = Known(
            None if self._by_peer else caller, foreign_headers(self._listener, request), set()
        )

    async def _answer(
        self, raw: web.BaseRequest, protocol: GuestProtocol, started_s: float
    ) -> web.StreamResponse:
        """The long way: read the body, find the instance, ask the rules, carry out what they wish."""
        tree: Tree | None = None
        refused = _http_fault(raw)
        body = refused or await self._body(raw, protocol)
        outcome: Outcome
        if isinstance(body, Response):
            outcome = body
        else:
            request = Request(raw.method, raw.raw_path, _lower(raw), body)
            tree, outcome, caller = await self._decide(request, protocol, started_s)
            if caller is not None and isinstance(outcome, Send):
                self._learn(raw, caller)
            if isinstance(outcome, MintToken):
                _limit_hops(raw, outcome.hop_limit)
        answer = outcome if isinstance(outcome, (Response, Send)) else await self._fulfil(outcome, tree)
        return await self._finish(raw, answer, tree, started_s)

    async def _fulfil(self, wish: Wish, tree: Tree | None) -> Response | Send:
        return NOT_FOUND if tree is None else await wishes.carry_out(wish, tree, self._services)

    async def _decide(
        self, request: Request, protocol: GuestProtocol, now_s: float
    ) -> tuple[Tree | None, Outcome, Caller | None]:
        """Who asks, then what the rules say."""
        wall_s = self._services.wall_time()
        try:
            path = normal(request.target) or "/?"
        except BadPath:
            return None, error(400), None
        self._warn_foreign(request, protocol, now_s)
        context = self._context_of(protocol)
        if path in _WITHOUT_CALLER:
            return None, respond(request, None, wall_s, context), None
        caller = identify(self._listener, protocol.connection(), request, path)
        if isinstance(caller, Response):
            return None, caller, None
        if self._by_peer:
            if len(self._peers) >= _KNOWN_PEERS:
                self._peers.clear()
            self._peers[protocol.source] = caller
        try:
            tree = await self._services.find(caller.claim)
        except StoreUnavailable:
            self._services.events["store_failed"] += 1
            return None, UNAVAILABLE, caller
        if tree is not None and caller.tenant not in (None, tree.instance.project_id):
            tree = None  # 404 and not 403, so that ids cannot be probed (ID-5)
        if tree is not None and not self._services.limiter.allows(tree.instance.uuid, now_s):
            return tree, error(429, Retry_After="1"), caller
        if caller.path is not None:
            request = replace(request, target=_with_query(caller.path, request.target))
        return tree, respond(request, tree, wall_s, context), caller

    def _context_of(self, protocol: GuestProtocol) -> Context:
        """The context at this moment; behind a wildcard address, with the address that was really asked."""
        context = replace(self._context, token_now_s=self._services.token_time())
        if not self._is_wildcard or protocol.transport is None:
            return context
        local: str = protocol.transport.get_extra_info("sockname")[0]
        return replace(context, hosts=allowed_hosts(self._listener, local))

    async def _finish(
        self, raw: web.BaseRequest, outcome: Response | Send, tree: Tree | None, started_s: float
    ) -> web.StreamResponse:
        writer = self._services.writer
        if isinstance(outcome, Send):
            answer = writer.of_page(outcome.page, SEED_LENGTH, head_only=outcome.head_only)
            if tree is not None and self._may_repeat(raw, outcome, tree):
                tree.ready[raw.raw_path] = answer
        else:
            safe = neutron_safe(outcome) if self._context.neutron_safe else outcome
            answer = writer.of_response(safe, head_only=raw.method == "HEAD")
        if self._services.faults is not None:
            answer = await self._misbehave(raw, answer, tree, self._services.faults)
        sent = self._send(raw, answer, tree, started_s)
        await _drained(raw)
        return sent

    async def _misbehave(
        self, raw: web.BaseRequest, answer: Answer, tree: Tree | None, script: Script
    ) -> Answer:
        """The answer as the fault script wants it; a reset connection has no answer at all."""
        path = raw.raw_path.partition("?")[0]
        fault = script.next(None if tree is None else tree.instance.uuid, path)
        if fault is None:
            return answer
        await asyncio.sleep(fault.delay_s)
        if fault.reset and raw.transport is not None:
            reset(raw.transport)
            raise ConnectionResetError
        if fault.status is not None:
            wait = () if fault.retry_after_s is None else (("Retry-After", str(fault.retry_after_s)),)
            answer = self._services.writer.of_response(replace(error(fault.status), headers=wait))
        if fault.truncate is not None:
            body = answer.body + (self._services.seeds.take() if answer.seeded else b"") + answer.rest
            answer = Answer(answer.status, answer.head, body[: fault.truncate], close=True)
        return answer

    def _may_repeat(self, raw: web.BaseRequest, outcome: Send, tree: Tree) -> bool:
        """Whether the rules would say the same for this target until the instance changes.

        A token or a date may change the rest: EC2 pages under tokens, and the list of versions.
        """
        target = raw.raw_path
        if outcome.head_only or not outcome.page.repeatable or self._listener.mode is Mode.PATH:
            return False
        if self._services.faults is not None:
            return False
        in_openstack = target.startswith("/openstack/")
        free = tree.instance.imds.tokens == "off" or (in_openstack and not self._context.tokens_everywhere)
        return free and "?" not in target and normal(target) == target

    def _send(
        self, raw: web.BaseRequest, answer: Answer, tree: Tree | None, started_s: float
    ) -> web.StreamResponse:
        """Put one answer on the wire in one write."""
        protocol = cast(GuestProtocol, raw.protocol)
        keep_alive = raw.keep_alive and not answer.close and not protocol.is_over
        transport = raw.transport
        if transport is None:
            raise ConnectionResetError
        transport.write(self._bytes(answer, keep_alive=keep_alive, http_1_0=raw.version.minor == 0))
        self._services.observe(
            self._listener.mode.value, raw.method, raw.raw_path, raw.headers, answer, tree, started_s
        )
        return SENT_AND_ON if keep_alive else SENT_AND_CLOSE

    def _bytes(self, answer: Answer, *, keep_alive: bool, http_1_0: bool) -> bytes:
        services = self._services
        end = services.tail(keep_alive=keep_alive, http_1_0=http_1_0)
        if answer.seeded:
            return b"".join((answer.head, end, answer.body, services.seeds.take(), answer.rest))
        return b"".join((answer.head, end, answer.body))

    async def _body(self, raw: web.BaseRequest, protocol: GuestProtocol) -> bytes | Response:
        """The whole body, or the refusal of one that is too large or too slow."""
        if not raw.can_read_body:
            return b""
        most = MAX_GET_BODY_BYTES if raw.method in ("GET", "HEAD") else MAX_BODY_BYTES
        if raw.content_length is not None and raw.content_length > most:
            return error(413, close=True)
        body = bytearray()
        try:
            async with asyncio.timeout(protocol.guard.limits.body_s):
                while chunk := await raw.content.readany():
                    body += chunk
                    if len(body) > most:
                        return error(413, close=True)
        except TimeoutError:
            return error(408, close=True)
        except (web.RequestPayloadError, web.PayloadAccessError):
            return error(400, close=True)
        return bytes(body)

    def _warn_foreign(self, request: Request, protocol: GuestProtocol, now_s: float) -> None:
        foreign = foreign_headers(self._listener, request)
        if foreign:
            self._services.warn_foreign(protocol.source or self._listener.address, foreign, now_s)


def _http_fault(raw: web.BaseRequest) -> Response | None:
    """HTTP/1.1 wants exactly one Host (MS-H02); an expectation we do not know is refused (MS-H11)."""
    hosts = raw.headers.getall("Host", [])
    if len(hosts) > 1 or (not hosts and raw.version.minor > 0):
        return error(400, close=True)
    if raw.headers.get("Expect", "100-continue").lower() != "100-continue":
        return error(417, close=True)
    return None


def _lower(raw: web.BaseRequest) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), value) for name, value in raw.headers.items())


def _with_query(path: str, target: str) -> str:
    _, mark, query = target.partition("?")
    return f"{path}{mark}{query}"


def _limit_hops(raw: web.BaseRequest, hops: int) -> None:
    """The token must not leave the link: it ends where the IP packets end (TOK-9)."""
    found: socket.socket | None = None if raw.transport is None else raw.transport.get_extra_info("socket")
    if found is None or found.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with contextlib.suppress(OSError):
        if found.family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
        found.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)


def reset(transport: asyncio.Transport) -> None:
    """End a TCP connection with RST, as a crashed server does."""
    found: socket.socket | None = transport.get_extra_info("socket")
    if found is not None and found.family != socket.AF_UNIX:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _drained(raw: web.BaseRequest) -> None:
    """Wait until most of a large answer has left; the sweep ends a client that does not read it."""
    while _is_busy(raw.transport):  # noqa: ASYNC110  # a transport has no event for this
        await asyncio.sleep(0.02)


def _is_busy(transport: asyncio.Transport | None) -> bool:
    if transport is None or transport.is_closing():
        return False
    return transport.get_write_buffer_size() > 1 << 16
