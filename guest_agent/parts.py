"""From the blob a cloud hands out to the flat list of parts (spec 2.1).

`expand` takes gzip, MIME, includes and archives apart, in place and in order, and names what it leaves
out. It fetches through a function it is given and changes nothing.
"""

from __future__ import annotations

from boot_stages.value import Value
from guest_agent import formats
from guest_agent.errors import BadCompression, IncludeFailed, LimitExceeded, NotUtf8, UnreadableYaml
from guest_agent.limits import DEFAULT, Budget, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guest_agent.mime import Leaf

    Blob = bytes | str | Sequence[object] | None
    Fetch = Callable[[str, bool], bytes]  # (address, once per instance) -> body; raises FetchFailed

HEAD = 4096  # bytes in which `mime-version:` makes a document a MIME message


class Part(Value):
    """One piece of user data, unpacked. `number` counts from 1 in the whole document.

    `chain` holds the #include addresses that led here, outermost first; `headers` are those of MIME or
    archive, names in lower case; `launch_index` is as written where it is not a number.
    """

    type: str
    filename: str
    payload: bytes
    number: int
    launch_index: int | str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    chain: tuple[str, ...] = ()

    def header(self, *names: str) -> str:
        """The first header of these (lower case) names that says something, else ''."""
        known = dict(reversed(self.headers))
        return next((known[name] for name in names if known.get(name)), "")

    @property
    def place(self) -> str:
        """How messages call this part."""
        way = f" (by {' -> '.join(self.chain)})" if self.chain else ""
        return f"{self.filename}{way}"


class Expansion(Value):
    """The parts in order; `warnings` as (level, text); `errors` make the boot an error, not a failure."""

    parts: tuple[Part, ...]
    warnings: tuple[tuple[str, str], ...] = ()
    errors: tuple[str, ...] = ()


def no_fetch(url: str, _once: bool) -> bytes:  # the signature of Fetch
    """For callers that must not touch the network."""
    raise IncludeFailed(url, (), "nothing is fetched here")


def expand(
    blob: Blob, source: str = "user-data", *, fetch: Fetch = no_fetch, limits: Limits = DEFAULT
) -> Expansion:
    """The parts of `blob`. Raises UserDataUnusable where the network stage must stop (spec 6)."""
    work = _Expander(source, fetch, limits)
    for piece in blob if isinstance(blob, (list, tuple)) else (blob,):
        work.blob(_as_bytes(piece), source, (), 0)
    return Expansion(tuple(work.parts), tuple(work.warnings), tuple(work.errors))


def for_launch_index(parts: Sequence[Part], wanted: int | None) -> tuple[Part, ...]:
    """The parts meant for instance number `wanted` of a launch: those with that number or with none."""
    if wanted is None:
        return tuple(parts)
    return tuple(part for part in parts if part.launch_index is None or part.launch_index == wanted)


def _as_bytes(piece: object) -> bytes:
    if isinstance(piece, bytes):
        return piece
    return b"" if piece is None else str(piece).encode("utf-8", "surrogateescape")


class _Expander:
    """One document on its way to parts."""

    def __init__(self, source: str, fetch: Fetch, limits: Limits) -> None:
        self.source = source
        self.fetch = fetch
        self.limits = limits
        self.parts: list[Part] = []
        self.warnings: list[tuple[str, str]] = []
        self.errors: list[str] = []
        self.budget = Budget(limits.gunzip_total_bytes)
        self.bodies: dict[str, bytes] = {}

    def blob(self, data: bytes, place: str, chain: tuple[str, ...], layers: int) -> None:
        """Bytes of any format, from the cloud or an address."""
        if data.startswith(formats.GZIP_MAGIC):
            from guest_agent.gunzip import NotGzip, gunzip

            try:
                data = gunzip(data, place, self.budget)
                layers += 1
            except NotGzip as error:
                self.warn(f"{place}: it begins as gzip does, but {error.text}; taken as it is")
            except LimitExceeded as error:
                self.errors.append(error.text)
                return
        if b"mime-version:" in data[:HEAD].lower():
            self.message(data, place, chain, layers)
        else:
            self.piece(formats.NOT_MULTIPART, None, (), data, place, chain, layers)

    def message(self, data: bytes, place: str, chain: tuple[str, ...], layers: int) -> None:
        from guest_agent import mime

        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise NotUtf8(place, error.start) from error
        message = mime.read(data, place, self.limits)
        for leaf in message.leaves:
            self.leaf(leaf, place, chain, layers)
        self.errors += message.problems

    def leaf(self, leaf: Leaf, place: str, chain: tuple[str, ...], layers: int) -> None:
        kind, payload, headers = leaf.content_type, leaf.payload, leaf.headers
        filename = leaf.type_name if leaf.filename is None else leaf.filename
        if kind in formats.GZIP:
            from guest_agent.gunzip import NotGzip, gunzip

            place = f"{place} part {len(self.parts) + 1}"
            try:
                if layers >= self.limits.gzip_layers:
                    raise LimitExceeded(place, "gzip_layers", self.limits.gzip_layers)
                payload = gunzip(payload, place, self.budget)
            except NotGzip as error:
                raise BadCompression(place, error.text) from error
            except LimitExceeded as error:
                self.errors.append(error.text)
                return
            layers += 1
            kind, headers = formats.PLAIN, tuple(kept for kept in headers if kept[0] == "launch-index")
        elif kind in formats.LOOKED_AT and leaf.filename is None:
            # A type that turns out to be another one takes the name it carried along (cloud-init).
            filename = filename if formats.sniff(payload) in (None, kind) else None
        self.piece(kind, filename, headers, payload, place, chain, layers)

    def piece(
        self,
        kind: str,
        filename: str | None,
        headers: tuple[tuple[str, str], ...],
        payload: bytes,
        place: str,
        chain: tuple[str, ...],
        layers: int,
    ) -> None:
        """One payload of a declared type: looked at, expanded or kept."""
        if kind in formats.LOOKED_AT:
            kind = formats.sniff(payload) or kind
        if kind in (formats.INCLUDE, formats.INCLUDE_ONCE):
            self.include(payload, chain, layers)
        elif kind == formats.ARCHIVE:
            self.archive(payload, place, chain)
        else:
            self.keep(kind, filename, headers, payload, chain)

    def include(self, payload: bytes, chain: tuple[str, ...], layers: int) -> None:
        from guest_agent.includes import addresses

        for url, once in addresses(payload):
            self.blob(self.body(url, chain, once=once), url, (*chain, url), layers)

    def body(self, url: str, chain: tuple[str, ...], *, once: bool) -> bytes:
        """What stands at `url`, asked for at most once a boot. Raises IncludeFailed."""
        from guest_agent.errors import FetchFailed
        from guest_agent.includes import refusal

        problem = refusal(url, chain, len(self.bodies), self.limits)
        if problem:
            raise IncludeFailed(url, chain, problem)
        if url not in self.bodies:
            try:
                self.bodies[url] = self.fetch(url, once)
            except (FetchFailed, IncludeFailed) as error:
                raise IncludeFailed(url, chain, error.problem) from error
        return self.bodies[url]

    def archive(self, payload: bytes, place: str, chain: tuple[str, ...]) -> None:
        from guest_agent.archive import items

        try:
            found, problems = items(payload, place, self.limits)
        except (UnreadableYaml, LimitExceeded) as error:
            self.warn(f"archive {error.text}")
            return
        for problem in problems:
            self.warn(problem)
        for item in found:
            self.keep(item.type, item.filename, item.headers, item.payload, chain)

    def keep(
        self,
        kind: str,
        filename: str | None,
        headers: tuple[tuple[str, str], ...],
        payload: bytes,
        chain: tuple[str, ...],
    ) -> None:
        number = len(self.parts) + 1
        if number > self.limits.mime_parts:
            refused = LimitExceeded(self.source, "mime_parts", self.limits.mime_parts).text
            if refused not in self.errors:
                self.errors.append(refused)
            return
        name = filename or f"part-{number:03d}"
        index = _launch_index(kind, dict(reversed(headers)), payload, self.limits)
        self.parts.append(Part(kind, name, payload, number, index, headers, chain))

    def warn(self, text: str) -> None:
        self.warnings.append(("WARNING", text))


def _launch_index(kind: str, headers: Mapping[str, str], payload: bytes, limits: Limits) -> int | str | None:
    """The header wins over the key of a cloud-config; a header that is no number matches no instance."""
    written: object = headers.get("launch-index")
    if written is None and kind == formats.CLOUD_CONFIG and b"launch-index" in payload:
        from guest_agent import yaml_guard

        try:
            config = yaml_guard.load(payload, "launch-index", limits)
        except (UnreadableYaml, LimitExceeded):
            return None  # the same fault is told when the part is merged
        written = config.get("launch-index") if isinstance(config, dict) else None
        return written if isinstance(written, int) else _number(written)
    return written if written is None else _number(written) if _number(written) is not None else str(written)


def _number(written: object) -> int | None:
    try:
        return int(str(written).strip()[:20])
    except ValueError:
        return None
