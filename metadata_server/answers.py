"""A response as the bytes that go on the wire: built once for a page, sent many times."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from metadata_server.http import Response
from metadata_server.pages import Page
from metadata_server.responder import page_headers

# After one of these the body must be empty and has no length (RFC 9110).
_NO_BODY = (204, 304)


@dataclass(frozen=True, slots=True)
class Answer:
    """`head` ends before the Date line. A seeded answer has its random seed between `body` and `rest`."""

    status: int
    head: bytes
    body: bytes
    rest: bytes = b""
    seeded: bool = False
    close: bool = False

    def size(self, seed_length: int) -> int:
        """Bytes of the body as sent."""
        return len(self.body) + len(self.rest) + (seed_length if self.seeded else 0)


class Writer:
    """Turns responses and pages into answers, with the server's own header."""

    def __init__(self, server_name: str | None) -> None:
        self._server = f"Server: {server_name}\r\n" if server_name else ""

    def of_response(self, response: Response, *, head_only: bool = False) -> Answer:
        """HEAD has the headers of GET and no body (HTTP-2)."""
        pairs = list(response.headers)
        if response.status not in _NO_BODY:
            pairs = [
                ("Content-Type", response.content_type),
                ("Content-Length", str(len(response.body))),
                *pairs,
            ]
        body = b"" if head_only or response.status in _NO_BODY else response.body
        return Answer(response.status, self._head(response.status, pairs), body, close=response.close)

    def of_page(self, page: Page, seed_length: int, *, head_only: bool = False) -> Answer:
        seeded = bool(page.rest)
        size = len(page.body) + len(page.rest) + (seed_length if seeded else 0)
        pairs = [("Content-Type", page.content_type), ("Content-Length", str(size)), *page_headers(page)]
        head = self._head(200, pairs)
        if head_only:
            return Answer(200, head, b"")
        return Answer(200, head, page.body, page.rest, seeded)

    def _head(self, status: int, pairs: list[tuple[str, str]]) -> bytes:
        lines = "".join(f"{name}: {value}\r\n" for name, value in pairs)
        return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines}{self._server}".encode("latin-1")


def tail(now_s: float, *, keep_alive: bool, http_1_0: bool) -> bytes:
    """The last header lines: the date, and what becomes of the connection."""
    connection = ""
    if not keep_alive:
        connection = "Connection: close\r\n"
    elif http_1_0:
        connection = "Connection: keep-alive\r\n"
    return f"Date: {formatdate(now_s, usegmt=True)}\r\n{connection}\r\n".encode("latin-1")
