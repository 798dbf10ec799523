"""A request and a response as plain values: what the rules are written in, without any HTTP library."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

TEXT = "text/plain; charset=UTF-8"
# An interim of five seconds at most: cloud-init honours Retry-After past its own limits (HTTP-9).
RETRY_AFTER_S = 2


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `target` is the raw request target, `headers` pairs with lower-case names, in order."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def values(self, name: str) -> tuple[str, ...]:
        """Every value of a header, as often as it was sent."""
        return tuple(value for header, value in self.headers if header == name)

    def value(self, name: str) -> str | None:
        """The first value of a header, None when it was not sent."""
        return next((value for header, value in self.headers if header == name), None)


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. `headers` are those besides Content-Type and -Length; `close` ends the connection."""

    status: int
    body: bytes = b""
    content_type: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()
    close: bool = False


def error(status: int, *, detail: str = "", close: bool = False, **headers: str) -> Response:
    """`<code> <reason>` on one line, whatever the client accepts, never an echo of the request (HTTP-7).

    `detail` is a constant text of ours; a header is given as `Retry_After="2"`.
    """
    reason = HTTPStatus(status).phrase
    line = f"{status} {reason}: {detail}\n" if detail else f"{status} {reason}\n"
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Response(status, line.encode(), headers=pairs, close=close)


NOT_FOUND = error(404)
UNAVAILABLE = error(503, Retry_After=str(RETRY_AFTER_S))
