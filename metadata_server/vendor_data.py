"""Dynamic vendor data: other services asked, once an instance and not once a request.

An upstream may be slow, wrong or hostile: every answer is bounded in time and size, its address is checked
when the connection is made, and one that keeps failing is left alone for a while.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import aiohttp

from instance_metadata.fields import Json, as_json, is_json
from instance_metadata.instance import Instance
from metadata_server.errors import BadListener

LOG = logging.getLogger("metadata_server")
USER_AGENT = "openstack-guestling-vendordata"
MAX_BYTES = 1 << 20
MAX_DEPTH = 64
FAILURES_TO_OPEN = 5
OPEN_S = 30.0
FRESH_S = 60.0
FAILED_S = 5.0
STALE_S = 300.0
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=(\d{1,9})(?:$|[,\s])")


@dataclass(frozen=True, slots=True)
class Target:
    """One upstream: its key in the document and where it is asked."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Rules:
    """How targets are asked. `allowed` are networks that may be asked although they are local."""

    connect_s: float = 5.0
    read_s: float = 5.0
    total_s: float = 8.0
    concurrent: int = 16
    failure_is_fatal: bool = False
    allowed: tuple[str, ...] = ()
    ca_file: Path | None = None
    token_file: Path | None = None


def parse_targets(texts: tuple[str, ...]) -> tuple[Target, ...]:
    """`name@url` each, split at the first `@`; without `@`, a name twice, or `static`: skipped and logged."""
    targets: dict[str, Target] = {}
    for text in texts:
        name, at, url = text.partition("@")
        if not at or not name:
            LOG.warning("vendor data target %d skipped: write NAME@URL", len(targets) + 1)
        elif name == "static" or name in targets:
            LOG.warning("vendor data target %s skipped: the name is taken", name)
        elif not url.startswith(("http://", "https://")):
            raise BadListener(f"{name}: not an http or https URL. Write NAME@https://HOST/PATH.")
        else:
            targets[name] = Target(name, url)
    return tuple(targets.values())


class UpstreamFailed(Exception):
    """One target did not give JSON in time; says why, without what it sent."""


@dataclass(slots=True)
class _Reply:
    value: Json
    good: bool
    fresh_until: float
    stale_until: float


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    open_until: float = 0.0


@dataclass(slots=True)
class VendorData:
    """Asks all targets of an instance at once and keeps what they said."""

    targets: tuple[Target, ...]
    rules: Rules = field(default_factory=Rules)
    now: Callable[[], float] = time.monotonic
    _kept: dict[tuple[str, str], _Reply] = field(default_factory=dict)
    _asking: dict[tuple[str, str], asyncio.Task[_Reply]] = field(default_factory=dict)
    _breakers: dict[str, _Breaker] = field(default_factory=dict)
    _session: aiohttp.ClientSession | None = None
    _room: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._room = asyncio.Semaphore(self.rules.concurrent)

    async def replies(self, instance: Instance) -> Mapping[str, Json] | None:
        """Target -> reply, `{}` for one that failed; None when a failure must stop the guest."""
        found = await asyncio.gather(*(self._reply(instance, target) for target in self.targets))
        if self.rules.failure_is_fatal and not all(reply.good for reply in found):
            return None
        return {target.name: reply.value for target, reply in zip(self.targets, found, strict=True)}

    def forget(self, instance_id: str) -> None:
        """The instance changed or is gone: ask again."""
        for key in [key for key in self._kept if key[0] == instance_id]:
            del self._kept[key]

    async def close(self) -> None:
        for task in self._asking.values():
            task.cancel()
        if self._session is not None:
            await self._session.close()

    async def _reply(self, instance: Instance, target: Target) -> _Reply:
        """The kept reply, or one request for however many guests' processes wait for it."""
        key = (instance.uuid, target.name)
        kept = self._kept.get(key)
        if kept is not None and self.now() < kept.fresh_until:
            return kept
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask_and_keep(instance, target, kept))
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(task)

    async def _ask_and_keep(self, instance: Instance, target: Target, kept: _Reply | None) -> _Reply:
        breaker = self._breakers.setdefault(target.name, _Breaker())
        try:
            if self.now() < breaker.open_until:
                raise UpstreamFailed("it failed too often; asked again later")
            value, fresh_s = await self._ask(instance, target)
        except UpstreamFailed as failure:
            return self._failed(instance, target, kept, breaker, str(failure))
        breaker.failures = 0
        now = self.now()
        reply = _Reply(value, True, now + fresh_s, now + max(fresh_s, STALE_S))
        self._kept[instance.uuid, target.name] = reply
        return reply

    def _failed(
        self, instance: Instance, target: Target, kept: _Reply | None, breaker: _Breaker, why: str
    ) -> _Reply:
        now = self.now()
        if now >= breaker.open_until:
            breaker.failures += 1
            LOG.warning("vendor data target %s failed for %s: %s", target.name, instance.uuid, why)
            if breaker.failures >= FAILURES_TO_OPEN:
                breaker.failures, breaker.open_until = 0, now + OPEN_S
        if kept is not None and kept.good and now < kept.stale_until:
            return kept
        reply = _Reply({}, False, now + FAILED_S, now + FAILED_S)
        self._kept[instance.uuid, target.name] = reply
        return reply

    async def _ask(self, instance: Instance, target: Target) -> tuple[Json, float]:
        """One request. Raises UpstreamFailed."""
        try:
            async with (
                self._room,
                asyncio.timeout(self.rules.total_s),
                self._open().post(
                    target.url, data=_question(instance), headers=self._headers(), allow_redirects=False
                ) as response,
            ):
                if not 200 <= response.status < 300:
                    raise UpstreamFailed(f"status {response.status}")
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    raise UpstreamFailed("the answer is compressed")
                body = await _limited(response)
                return _parse(body), _fresh_s(response.headers.get("Cache-Control", ""))
        except TimeoutError as error:
            raise UpstreamFailed("no answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpstreamFailed(type(error).__name__) from error

    def _headers(self) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": USER_AGENT,
        }
        if self.rules.token_file is not None:
            headers["Authorization"] = f"Bearer {self.rules.token_file.read_text().strip()}"
        return headers

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            tls = ssl.create_default_context(cafile=self.rules.ca_file and str(self.rules.ca_file))
            timeout = aiohttp.ClientTimeout(
                total=self.rules.total_s, sock_connect=self.rules.connect_s, sock_read=self.rules.read_s
            )
            connector = aiohttp.TCPConnector(ssl=tls, socket_factory=self._guarded_socket)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=timeout, auto_decompress=False, trust_env=False
            )
        return self._session

    def _guarded_socket(self, address: tuple[Any, ...]) -> socket.socket:
        """A socket for an address that may be asked; checked here because a name may change what it means."""
        family, kind, protocol, _, place = address
        if not may_ask(str(place[0]), self.rules.allowed):
            raise OSError("the address is local; allow its network to ask it")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made


def may_ask(host: str, allowed: tuple[str, ...]) -> bool:
    """Whether an address is neither local nor special, or explicitly allowed (MS-D10)."""
    address = ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    if any(address in ip_network(network, strict=False) for network in allowed):
        return True
    return not (
        address.is_link_local or address.is_loopback or address.is_multicast or address.is_unspecified
    )


def _question(instance: Instance) -> bytes:
    """What Nova asks; the password is never part of it."""
    user_data = instance.user_data
    return json.dumps(
        {
            "project-id": instance.project_id,
            "instance-id": instance.uuid,
            "image-id": instance.image_id,
            "user-data": None if user_data is None else base64.b64encode(user_data).decode(),
            "hostname": instance.hostname,
            "metadata": dict(instance.meta),
            "boot-roles": instance.extra.get("x_boot_roles", ""),
        }
    ).encode()


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BYTES:
            raise UpstreamFailed(f"the answer is larger than {MAX_BYTES} bytes")
    return bytes(body)


def _parse(body: bytes) -> Json:
    """JSON of limited depth; nothing and an empty list mean `{}`. Raises UpstreamFailed."""
    if not body:
        return {}
    try:
        value = json.loads(body)
        good = is_json(value) and _depth(value) <= MAX_DEPTH
    except (ValueError, RecursionError) as error:
        raise UpstreamFailed("the answer is not JSON") from error
    if not good:
        raise UpstreamFailed("the answer is not strict JSON, or too deep")
    return as_json(value) if value != [] else {}


def _depth(value: object) -> int:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max((_depth(item) for item in below), default=0)


def _fresh_s(cache_control: str) -> float:
    found = _MAX_AGE.search(cache_control)
    return float(found[1]) if found else FRESH_S
