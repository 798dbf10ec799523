"""MIME documents, taken apart within limits (`mime_writer` puts them together).

Reads what Python's `email` package reads (the tests compare the two), without its 30 modules of import
and without its faults: depth, parts and headers are bounded, a part that cannot be read is left out
alone, and 8-bit text stays the bytes it was.
"""

from __future__ import annotations

import re

from boot_stages.value import Value
from guest_agent.limits import DEFAULT, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DEFAULT_TYPE = "text/plain"
HEADER_LINE = re.compile(rb"From |[\x21-\x39\x3b-\x7e]*:|[\t ]")
LINE_END = re.compile(rb"\r\n|\r|\n")
CONTINUED = re.compile(r"(\w+)\*(?:([0-9]+)\*?)?")


class Leaf(Value):
    """One part that is not a container. Header names are lower case; `payload` is decoded.

    `type_name` is the `name` parameter of Content-Type, which counts only inside a multipart and while
    that type does.
    """

    content_type: str
    filename: str | None
    type_name: str | None
    headers: tuple[tuple[str, str], ...]
    payload: bytes

    def header(self, name: str) -> str | None:
        """The value of the first header of that (lower case) name."""
        return next((value for known, value in self.headers if known == name), None)


class Message(Value):
    """The leaves of a document in order, and what could not be read."""

    leaves: tuple[Leaf, ...]
    problems: tuple[str, ...]


def read(data: bytes, source: str, limits: Limits = DEFAULT) -> Message:
    """The leaves of the MIME document `data`. Never raises: what is unusable is in `problems`."""
    reader = _Reader(data, source, limits)
    reader.message(0, len(data), 0)
    return Message(tuple(reader.leaves), tuple(reader.problems))


class _Reader:
    def __init__(self, data: bytes, source: str, limits: Limits) -> None:
        self.data = data
        self.source = source
        self.limits = limits
        self.leaves: list[Leaf] = []
        self.problems: list[str] = []
        self.full = False

    def message(self, start: int, end: int, depth: int) -> None:
        """The message in data[start:end]: a leaf, or a container whose parts are read in turn."""
        place = f"{self.source} part {len(self.leaves) + 1}"
        headers, body = self.headers(start, end)
        if len(headers) > self.limits.mime_headers:
            self.problems.append(f"{place}: more than {self.limits.mime_headers} headers (mime_headers)")
            return
        kind = content_type(_first(headers, "content-type"))
        if not kind.startswith("multipart/"):
            self.leaf(kind, headers, body, end, place, inside=depth > 0)
        elif depth >= self.limits.mime_depth:
            self.problems.append(f"{place}: more than {self.limits.mime_depth} containers deep (mime_depth)")
        else:
            boundary = parameters(_first(headers, "content-type") or "").get("boundary", "").rstrip()
            self.container(boundary, body, end, depth, place)

    def container(self, boundary: str, start: int, end: int, depth: int, place: str) -> None:
        if not boundary:
            self.problems.append(f"{place}: a multipart without a boundary. Name it in Content-Type")
            return
        before = len(self.leaves)
        for first, last in self.ranges(boundary, start, end):
            if self.full:
                return
            if len(self.leaves) >= self.limits.mime_parts:
                self.full = True
                self.problems.append(f"{self.source}: more than {self.limits.mime_parts} parts (mime_parts)")
                return
            self.message(first, last, depth + 1)
        if len(self.leaves) == before and not self.problems:
            self.problems.append(f"{place}: a multipart in which no line is its boundary")

    def ranges(self, boundary: str, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Start and end of what stands between the boundary lines; the last one may be left open."""
        line = re.compile(
            rb"(?:\A|(?<=[\r\n]))--" + re.escape(boundary.encode("utf-8", "surrogateescape"))
            + rb"(--)?[ \t]*(?:\r\n|\r|\n|\Z)"
        )  # fmt: skip
        opened = -1
        for found in line.finditer(self.data, start, end):
            if found.start() == opened:
                opened = found.end()  # several boundary lines in a row count as one
                continue
            if opened >= 0:
                yield opened, found.start()
            opened = found.end()
            if found.group(1):
                return
        if opened >= 0:
            yield opened, end

    def headers(self, start: int, end: int) -> tuple[list[tuple[str, str]], int]:
        """The headers at `start` (names in lower case) and where the body begins."""
        found: list[tuple[str, bytes]] = []
        at, usable = start, False
        while at < end and len(found) <= self.limits.mime_headers:
            stop = LINE_END.search(self.data, at, end)
            after = stop.end() if stop else end
            line = self.data[at:after]
            if not HEADER_LINE.match(line):
                at = after if LINE_END.match(line) else at
                break
            at = after
            if line[:1] in b" \t":
                if usable:
                    found[-1] = (found[-1][0], found[-1][1] + line)
                continue
            name, colon, value = line.partition(b":")
            usable = bool(colon and name) and not line.startswith(b"From ")
            if usable:
                found.append((name.decode("ascii").lower(), value.lstrip(b" \t")))
        return [(name, value.decode("utf-8", "surrogateescape").rstrip("\r\n")) for name, value in found], at

    def leaf(
        self, kind: str, headers: list[tuple[str, str]], start: int, end: int, place: str, *, inside: bool
    ) -> None:
        body = self.data[start:end]
        if inside:  # the line end before a boundary belongs to the boundary
            body = body[:-2] if body.endswith(b"\r\n") else body[:-1] if body[-1:] in (b"\r", b"\n") else body
        payload = _decoded(body, (_first(headers, "content-transfer-encoding") or "").lower())
        if payload is None:
            self.problems.append(f"{place}: the content is not the base64 its header says")
            return
        disposition = parameters(_first(headers, "content-disposition") or "").get("filename")
        name = parameters(_first(headers, "content-type") or "").get("name")
        self.leaves.append(
            Leaf(
                kind,
                None if disposition is None else disposition.strip(),
                name.strip() if name is not None and inside else None,
                tuple(headers),
                payload,
            )
        )


def _first(headers: Iterable[tuple[str, str]], name: str) -> str | None:
    return next((value for known, value in headers if known == name), None)


def content_type(value: str | None) -> str:
    """`text/x; charset=y` as `text/x`, in lower case; `text/plain` when it is not one."""
    if value is None:
        return DEFAULT_TYPE
    kind = value.partition(";")[0].strip().lower()
    return kind if kind.count("/") == 1 else DEFAULT_TYPE


def parameters(value: str) -> dict[str, str]:
    """The parameters of a header value, names in lower case, RFC 2231 pieces joined and decoded."""
    plain: dict[str, str] = {}
    pieces: dict[str, list[tuple[int, str, bool]]] = {}
    for word in _split(value)[1:]:
        name, _, text = word.partition("=")
        name, text = name.strip().lower(), _unquoted(text.strip())
        continued = CONTINUED.match(name)
        if continued:
            number = int(continued.group(2)[:9]) if continued.group(2) else -1
            pieces.setdefault(continued.group(1), []).append((number, text, name.endswith("*")))
        else:
            plain.setdefault(name, text)
    for name, found in pieces.items():
        plain.setdefault(name, _joined(sorted(found)))
    return plain


def _split(value: str) -> list[str]:
    """At each `;` that is not inside double quotes."""
    words, start, quoted, at = [], 0, False, 0
    while at < len(value):
        if value[at] == "\\" and value[at + 1 : at + 2] == '"':
            at += 1
        elif value[at] == '"':
            quoted = not quoted
        elif value[at] == ";" and not quoted:
            words.append(value[start:at])
            start = at + 1
        at += 1
    words.append(value[start:])
    return words


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1].replace("\\\\", "\\").replace('\\"', '"')
    if len(text) > 1 and text[0] == "<" and text[-1] == ">":
        return text[1:-1]
    return text


def _joined(pieces: list[tuple[int, str, bool]]) -> str:
    if not any(encoded for _, _, encoded in pieces):
        return "".join(text for _, text, _ in pieces)
    raw = b"".join(_percent(text) if encoded else text.encode() for _, text, encoded in pieces)
    charset, quote, rest = raw.partition(b"'")
    _, second, text = rest.partition(b"'")
    if not (quote and second):
        return raw.decode("utf-8", "replace")
    try:
        return text.decode(charset.decode("ascii", "replace") or "ascii", "replace")
    except (LookupError, ValueError):  # ValueError: a NUL in the name of the charset
        return text.decode("latin-1")


def _percent(text: str) -> bytes:
    return re.sub(
        rb"%([0-9A-Fa-f]{2})", lambda found: bytes([int(found.group(1), 16)]), text.encode("utf-8", "replace")
    )


def _decoded(body: bytes, encoding: str) -> bytes | None:
    """The content without its transfer encoding; None when it is not what the header says."""
    import binascii

    if encoding == "quoted-printable":
        return binascii.a2b_qp(body)
    if encoding != "base64":
        return body
    for padding in (b"", b"=", b"=="):
        try:
            return binascii.a2b_base64(body + padding)
        except binascii.Error:
            continue
    return None
