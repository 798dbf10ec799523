"""What handlers share: who asks, the checked body, times, paging. Everything a request says is read here."""

from __future__ import annotations

import functools
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
# What the API document (openapi.py) finds at a handler: the role it needs, the form of its body.
RULE, BODY_FORM = "api_rule", "api_body_form"


def needs(rule: str) -> Callable[[Handler], Handler]:
    """Let a handler run only for callers whose role the policy allows."""

    def wrap(handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def checked(request: web.Request) -> web.StreamResponse:
            if not policy.allows(rule, request[IDENTITY].roles):
                raise Fault(403, f"Policy doesn't allow {rule} to be performed.")
            return await handler(request)

        setattr(checked, RULE, rule)
        return checked

    return wrap


def takes(
    form: type[T],
) -> Callable[
    [Callable[[Any, web.Request, T], Awaitable[web.StreamResponse]]],
    Callable[[Any, web.Request], Awaitable[web.StreamResponse]],
]:
    """Give a method the body of its request as a checked value, and let the API document know its form."""

    def wrap(
        method: Callable[[Any, web.Request, T], Awaitable[web.StreamResponse]],
    ) -> Callable[[Any, web.Request], Awaitable[web.StreamResponse]]:
        @functools.wraps(method)
        async def with_body(self: Any, request: web.Request) -> web.StreamResponse:
            return await method(self, request, await read_body(request, form))

        return declare(with_body, form)

    return wrap


def declare(handler: T, form: object) -> T:
    """Note the form of the body that a handler reads by itself."""
    setattr(handler, BODY_FORM, form)
    return handler


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
        raise Fault(400, wrong_field(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Fault(400, f"Malformed request body: {error}") from error
    except RecursionError as error:
        raise Fault(400, "Malformed request body: it is nested too deeply") from error


def wrong_field(text: str, inside: str = "") -> str:
    """What msgspec found wrong, with the field named and in the words that Nova has for it."""
    what, _, path = text.partition(" - at `$")
    path = f"{inside}{path.rstrip('`')}".strip(".")
    where = f"Invalid input for field/attribute {path}" if path else "Invalid input"
    if what.startswith("Object contains unknown field "):
        return f"{where}. Additional properties are not allowed ({_named(what)} was unexpected)"
    if what.startswith("Object missing required field "):
        return f"{where}. {_named(what)} is a required property"
    return f"{where}: {what[:1].lower()}{what[1:]}."


def _named(what: str) -> str:
    return f"'{what.split('`')[1][:64]}'"


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
