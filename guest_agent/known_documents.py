"""YAML documents that an earlier boot has read or written: what is known needs no YAML library.

Importing PyYAML is a quarter of what a second boot costs, and its documents (the image's configuration, the
seed, the user data) are those of the first. The whole text is the key, so nothing can be mistaken for
something else; values that JSON has no form for are not kept. See docs/decisions/0055-known-documents.md.
"""

from __future__ import annotations

from boot_stages.plain_json import read_json, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = 1
# Larger documents are rare, and reading the store must stay cheaper than reading YAML.
DOCUMENT_LIMIT = 64 << 10
STORE_LIMIT = 256 << 10


class KnownDocuments:
    """Text -> (value, lines of keys, repeated keys), and value -> text as it was written.

    What cannot be read of a store counts as empty.
    """

    def __init__(self, stored: bytes | None = None) -> None:
        self.is_changed = False
        self._documents: dict[str, str]
        self._written: dict[str, str]
        self._documents, self._written = _maps(stored or b"{}")

    def find(
        self, text: str, *, lines: bool = True
    ) -> tuple[object, dict[tuple[object, ...], int], tuple[str, ...]] | None:
        """What the text meant, made anew for each caller; None when it is not known, or its lines are not."""
        kept = self._documents.get(text)
        if kept is None:
            return None
        try:
            value, listed, repeated = read_json(kept)
            if listed is None and lines:
                return None
            return value, {tuple(path): line for path, line in listed or ()}, tuple(repeated)
        except (ValueError, TypeError, RecursionError):
            return None

    def add(
        self,
        text: str,
        value: object,
        lines: Mapping[tuple[object, ...], int] | None,
        repeated: tuple[str, ...] = (),
    ) -> None:
        """Keep what a text meant, where that can be done without loss. `lines`: None when not known."""
        if len(text) > DOCUMENT_LIMIT or not _is_plain(value):
            return
        listed = None if lines is None else [[list(path), line] for path, line in lines.items()]
        self._documents[text] = write_json([value, listed, list(repeated)], separators=(",", ":"))
        self.is_changed = True

    def find_written(self, value: object) -> str | None:
        """The text that was made of a value; None when it is not known."""
        return self._written.get(write_json(value)) if _is_plain(value) else None

    def add_written(self, value: object, text: str) -> None:
        """Keep what was made of a value, where JSON has a form for the value."""
        if len(text) <= DOCUMENT_LIMIT and _is_plain(value):
            self._written[write_json(value)] = text
            self.is_changed = True

    def as_bytes(self) -> bytes:
        """The store: the same bytes for the same documents. Without the longest ones where it is too long."""
        kept: tuple[dict[str, str], dict[str, str]] = ({}, {})
        size = 0
        both = [(self._documents, kept[0]), (self._written, kept[1])]
        listed = [(key, old, new) for old, new in both for key in old]
        for key, old, new in sorted(listed, key=lambda item: (len(item[0]), item[0])):
            size += len(key) + len(old[key])
            if size > STORE_LIMIT:
                break
            new[key] = old[key]
        self.is_changed = False
        return write_json({"schema": SCHEMA, "documents": kept[0], "written": kept[1]}).encode() + b"\n"


def _maps(stored: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """What a store holds; nothing where it is damaged or of another schema."""
    try:
        found = read_json(stored)
    except (ValueError, RecursionError):
        return {}, {}
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        return {}, {}
    return _texts(found.get("documents")), _texts(found.get("written"))


def _texts(table: object) -> dict[str, str]:
    return {key: text for key, text in table.items() if type(text) is str} if isinstance(table, dict) else {}


def _is_plain(value: object) -> bool:
    """Whether JSON gives the value back as it was: no dates, bytes, numbers as keys, NaN or infinity."""
    todo = [value]
    while todo:
        one = todo.pop()
        if type(one) is dict:
            if not all(type(key) is str for key in one):
                return False
            todo.extend(one.values())
        elif type(one) is list:
            todo.extend(one)
        elif type(one) is float:
            if one - one != 0.0:  # NaN and the infinities
                return False
        elif one is not None and type(one) not in (str, int, bool):
            return False
    return True
