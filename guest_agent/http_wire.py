"""One HTTP exchange on one connection, with one deadline for all of it.

`http.client` would bring the `email` package along (47 modules, 36 ms) and bounds each read, not the
whole: a server that sends a byte a second could hold a boot for days. See docs/decisions/0042.
"""

from __future__ import annotations

import socket
import time

from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

HEAD_BYTES = 64 * 1024
NO_BODY = frozenset({204, 304})
PIECE = 64 * 1024


class WireError(Exception):
    """The exchange ended without a whole answer. The text says how."""


class TooLarge(WireError):
    """The body is larger than allowed; asking again would not help."""


class Address(Value):
    """The parts of an http(s) address. `zone` is the interface of a link-local IPv6 one."""

    scheme: str
    host: str
    port: int
    target: str
    zone: str = ""

    @property
    def host_header(self) -> str:
        """As the Host header names it: no zone, no port that the scheme implies."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


class Reply(Value):
    """Status, headers (names in lower case) and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


PORTS = {"http": 80, "https": 443}


def parse_address(url: str) -> Address:
    """`url` in parts. Raises ValueError saying what is wrong with it."""
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in PORTS:
        raise ValueError("only http:// and https:// addresses can be fetched")
    if any(letter <= " " or letter == "\x7f" for letter in url):
        raise ValueError("white space in an address. Write it as %20")
    rest = rest.partition("#")[0]
    cut = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    authority, target = rest[:cut], rest[cut:]
    if "@" in authority:
        raise ValueError("a user name or password in an address is not sent")
    host, port, zone = _authority(authority, PORTS[scheme])
    return Address(scheme, host, port, target if target.startswith("/") else f"/{target}", zone)


def _authority(text: str, default_port: int) -> tuple[str, int, str]:
    zone = ""
    if text.startswith("["):
        host, closed, tail = text[1:].partition("]")
        host, _, zone = host.partition("%")
        zone = zone[2:] if zone.startswith("25") and len(zone) > 2 else zone
        if not closed or (tail and not tail.startswith(":")):
            raise ValueError("the IPv6 address is not closed with ]")
        port = tail[1:]
    else:
        host, _, port = text.partition(":")
    if not host:
        raise ValueError("the address has no host")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise ValueError("the port is not a number from 1 to 65535")
    return host, int(port) if port else default_port, zone


def connect(address: Address, deadline: float) -> socket.socket:
    """A connected TCP socket. Raises OSError."""
    host = f"{address.host}%{address.zone}" if address.zone else address.host
    last: OSError = OSError("the name has no address")
    for family, kind, protocol, _, place in socket.getaddrinfo(host, address.port, 0, socket.SOCK_STREAM):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_left(deadline))
            connection.connect(place)
        except OSError as error:
            connection.close()
            last = error
        else:
            return connection
    raise last


def _left(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("no whole answer in time")
    return left_s


def request_bytes(method: str, target: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A request as it goes over the wire. Raises ValueError for a header with a line end in it."""
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body or method in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(body)}")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header holds a line end")
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("utf-8") + body


def exchange(connection: socket.socket, request: bytes, deadline: float, limit: int) -> Reply:
    """Send `request`, read the whole answer. Raises WireError or OSError (TimeoutError when too late)."""
    connection.settimeout(_left(deadline))
    connection.sendall(request)
    reader = _Reader(connection, deadline)
    while True:
        status, headers = reader.head()
        if status < 100 or status >= 200:
            break
    if request.startswith(b"HEAD ") or status in NO_BODY:
        return Reply(status, headers, b"")
    return Reply(status, headers, reader.body(headers, limit))


class _Reader:
    """Reads from the socket; every wait ends at the one deadline."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self.connection = connection
        self.deadline = deadline
        self.buffer = b""

    def more(self) -> bool:
        self.connection.settimeout(_left(self.deadline))
        piece = self.connection.recv(PIECE)
        self.buffer += piece
        return bool(piece)

    def line(self) -> bytes:
        while b"\n" not in self.buffer:
            if len(self.buffer) > HEAD_BYTES:
                raise WireError("a header line without end")
            if not self.more():
                raise WireError("the connection closed in the middle of the answer")
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.rstrip(b"\r")

    def head(self) -> tuple[int, dict[str, str]]:
        words = self.line().split(None, 2)
        if (
            len(words) < 2
            or not words[0].startswith(b"HTTP/1.")
            or not words[1].isdigit()
            or len(words[1]) > 3
        ):
            raise WireError("the answer is not HTTP")
        headers: dict[str, str] = {}
        size = 0
        while True:
            line = self.line()
            if not line:
                return int(words[1]), headers
            size += len(line)
            if size > HEAD_BYTES:
                raise WireError("more than 64 KiB of headers")
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()

    def body(self, headers: Mapping[str, str], limit: int) -> bytes:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return self.chunks(limit)
        length = headers.get("content-length")
        if length is None:
            return self.rest(limit)
        if not (length.isascii() and length.isdigit()):
            raise WireError("Content-Length is not a number")
        size = int(length[:15])
        if size > limit:
            raise TooLarge(f"{size} bytes, more than {limit} (download_bytes)")
        return self.exactly(size)

    def exactly(self, size: int) -> bytes:
        pieces = [self.buffer]
        got = len(self.buffer)
        while got < size:
            self.buffer = b""
            if not self.more():
                raise WireError(f"{got} bytes came, {size} were announced")
            pieces.append(self.buffer)
            got += len(self.buffer)
        whole = b"".join(pieces)
        self.buffer = whole[size:]
        return whole[:size]

    def rest(self, limit: int) -> bytes:
        pieces = [self.buffer]
        got = len(self.buffer)
        while got <= limit:
            self.buffer = b""
            if not self.more():
                return b"".join(pieces)
            pieces.append(self.buffer)
            got += len(self.buffer)
        raise TooLarge(f"more than {limit} bytes (download_bytes)")

    def chunks(self, limit: int) -> bytes:
        pieces: list[bytes] = []
        got = 0
        while True:
            word = self.line().partition(b";")[0].strip()
            try:
                size = int(word[:16], 16)
            except ValueError as error:
                raise WireError("a chunk without its size") from error
            if size <= 0:
                break
            got += size
            if got > limit:
                raise TooLarge(f"more than {limit} bytes (download_bytes)")
            pieces.append(self.exactly(size))
            if self.line():
                raise WireError("a chunk longer than it said")
        while self.line():
            pass  # trailers
        return b"".join(pieces)
