"""What handlers share: who asks, the checked body, times, paging. Everything a request says is read here."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from spawner.api import policy
from spawner.api.faults import Fault
from spawner.api.microversion import Version
from spawner.conductor import Caller
from spawner.identity import Identity

IDENTITY: web.RequestKey[Identity] = web.RequestKey("identity", Identity)
REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
MICROVERSION: web.RequestKey[Version] = web.RequestKey("microversion", tuple)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
T = TypeVar("T")
PAGE_LIMIT = 1000


def needs(rule: str) -> Callable[[Handler], Handler]:
    """Let a handler run only for callers whose role the policy allows."""

    def wrap(handler: Handler) -> Handler:
        async def checked(request: web.Request) -> web.StreamResponse:
            if not policy.allows(rule, request[IDENTITY].roles):
                raise Fault(403, f"Policy doesn't allow {rule} to be performed.")
            return await handler(request)

        return checked

    return wrap


def may(request: web.Request, rule: str) -> bool:
    """Whether the caller may also do this."""
    return policy.allows(rule, request[IDENTITY].roles)


def caller(request: web.Request) -> Caller:
    """On whose behalf the spawner works."""
    identity = request[IDENTITY]
    return Caller(identity.project_id, identity.user_id, request[REQUEST_ID])


async def read_body(request: web.Request, form: type[T]) -> T:
    """The JSON body as a typed value. Raises Fault 400 that names the field."""
    content = await request.read()
    try:
        return msgspec.json.decode(content, type=form)
    except msgspec.ValidationError as error:
        raise Fault(400, f"Invalid input: {str(error).replace('$.', '')}") from error
    except msgspec.DecodeError as error:
        raise Fault(400, f"Malformed request body: {error}") from error


def answer(document: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.Response(
        body=msgspec.json.encode(document), status=status, headers=headers, content_type="application/json"
    )


def iso(epoch_s: float | None, *, micro: bool = False) -> str | None:
    """`2026-11-22T13:00:00Z`, or with microseconds and no Z, as Nova's extended times are."""
    if epoch_s is None:
        return None
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(epoch_s))
    return f"{whole}.{int(epoch_s % 1 * 1e6):06d}" if micro else f"{whole}Z"


def page(request: web.Request, rows: Sequence[T], key: Callable[[T], str]) -> tuple[list[T], str]:
    """The rows after `marker`, at most `limit`, and the query of the next page ("" at the end).

    Raises Fault 400 for a bad limit or a marker that is not among them.
    """
    limit_text = request.query.get("limit", str(PAGE_LIMIT))
    if not limit_text.isdigit():
        raise Fault(400, f"Invalid input for query parameters limit. Value: {limit_text[:20]}.")
    limit = min(int(limit_text) or PAGE_LIMIT, PAGE_LIMIT)
    start = 0
    marker = request.query.get("marker")
    if marker:
        places = [index for index, row in enumerate(rows) if key(row) == marker]
        if not places:
            raise Fault(400, f"marker [{marker[:64]}] not found")
        start = places[0] + 1
    chosen = list(rows[start : start + limit])
    more = start + limit < len(rows)
    return chosen, f"limit={limit}&marker={key(chosen[-1])}" if more and chosen else ""


def link(url: str, rel: str = "self") -> dict[str, str]:
    """A link entry."""
    return {"rel": rel, "href": url}


def truth(word: str) -> bool:
    """A boolean of a query string."""
    return word.lower() in {"1", "true", "yes", "on", "t", "y"}


def any_json(value: Any) -> Any:
    """A value of JSON type as it is; marks the few places where a document is passed on unread."""
    return value
