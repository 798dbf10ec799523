"""What the endpoints of a server share: instances, passwords, keys, clocks, counters and the request log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from instance_metadata.fields import Json
from instance_metadata.instance import Instance
from metadata_server.access import AccessRecord
from metadata_server.answers import Answer, Writer, tail
from metadata_server.caller import Claim
from metadata_server.catalogue import Catalogue
from metadata_server.faults import Script
from metadata_server.limiter import Limiter
from metadata_server.pages import SEED_LENGTH, Tree
from metadata_server.passwords import Passwords
from metadata_server.seeds import Seeds
from metadata_server.tokens import since_boot_s

LOG = logging.getLogger("metadata_server")
REPORTS_PER_INSTANCE = 64


@dataclass(slots=True)
class Services:
    """One for a server. Clocks are fields so that a test can hand in its own."""

    instances: Catalogue
    passwords: Passwords
    writer: Writer
    limiter: Limiter
    token_keys: tuple[bytes, ...]
    on_request: Callable[[AccessRecord], None] | None = None
    on_report: Callable[[str, bytes], Awaitable[None]] | None = None
    vendor_data: Callable[[Instance], Awaitable[Mapping[str, Json] | None]] | None = None
    wall_time: Callable[[], float] = time.time
    token_time: Callable[[], float] = since_boot_s
    monotonic: Callable[[], float] = time.monotonic
    sign: Callable[[str, bytes], Awaitable[bytes]] | None = None
    fetch: Callable[[Claim], Awaitable[None]] | None = None
    faults: Script | None = None
    seeds: Seeds = field(default_factory=Seeds)
    answered: Counter[int] = field(default_factory=Counter)
    refused: Counter[int] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    reports: dict[str, list[bytes]] = field(default_factory=dict)
    _waiting: dict[str, set[asyncio.Event]] = field(default_factory=dict)
    _tails: dict[tuple[bool, bool], bytes] = field(default_factory=dict)
    _tails_of_s: int = 0
    _warned: dict[str, float] = field(default_factory=dict)

    def tail(self, *, keep_alive: bool, http_1_0: bool) -> bytes:
        """The last header lines, made once a second."""
        now = int(self.wall_time())
        if now != self._tails_of_s:
            self._tails.clear()
            self._tails_of_s = now
        found = self._tails.get((keep_alive, http_1_0))
        if found is None:
            found = self._tails[keep_alive, http_1_0] = tail(now, keep_alive=keep_alive, http_1_0=http_1_0)
        return found

    def observe(
        self,
        mode: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        answer: Answer,
        tree: Tree | None,
        started_s: float,
    ) -> None:
        """Count one answer, and hand it to whoever wants to know who read what."""
        self.answered[answer.status] += 1
        if self.on_request is None:
            return
        size = answer.size(SEED_LENGTH)
        took_ms = (self.monotonic() - started_s) * 1000
        instance_id = None if tree is None else tree.instance.uuid
        agent = headers.get("User-Agent", "")
        record = AccessRecord(
            self.wall_time(), instance_id, mode, method, path, answer.status, size, took_ms, agent
        )
        try:
            self.on_request(record)
        except Exception:  # not our code, and the guest's answer is on its way already
            LOG.exception("on_request failed")

    def warn_foreign(self, peer: str, headers: tuple[str, ...], now_s: float) -> None:
        """Identity headers where none are read: one warning per peer and minute (ID-1)."""
        self.events["foreign_identity_header"] += 1
        if now_s - self._warned.get(peer, -60.0) < 60.0:
            return
        if len(self._warned) > 10_000:
            self._warned.clear()
        self._warned[peer] = now_s
        LOG.warning("ignored identity headers from %s: %s", peer, ", ".join(headers))

    async def find(self, claim: Claim) -> Tree | None:
        """The instance of a claim, fetched from the store when it is not in memory.

        Raises StoreUnavailable.
        """
        tree = self.instances.find(claim)
        if tree is None and self.fetch is not None:
            await self.fetch(claim)
            tree = self.instances.find(claim)
        return tree

    async def vendor_replies(self, tree: Tree) -> Mapping[str, Json] | None:
        """Replies of the dynamic vendor data targets; None when one failed that must not."""
        return {} if self.vendor_data is None else await self.vendor_data(tree.instance)

    def tell_change(self, instance_id: str) -> None:
        """Wake the requests that wait for a change of this instance (X-1)."""
        for event in self._waiting.get(instance_id, ()):
            event.set()

    async def changed(self, instance_id: str, timeout_s: float) -> None:
        """Return when the instance changes, or after `timeout_s`."""
        event = asyncio.Event()
        waiting = self._waiting.setdefault(instance_id, set())
        waiting.add(event)
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            waiting.discard(event)
            if not waiting:
                self._waiting.pop(instance_id, None)
