"""JSON patches (RFC 6902) on plain values: `#cloud-config-jsonp`."""

from __future__ import annotations

from guest_agent import json_guard
from guest_agent.errors import BadPatch, LimitExceeded, UnreadableJson
from guest_agent.limits import DEFAULT, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

HEADER = "#cloud-config-jsonp"
MISSING = object()


def read(payload: bytes, source: str, limits: Limits = DEFAULT) -> list[Mapping[str, object]]:
    """The operations of a part. Raises BadPatch."""
    text = payload.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if text.lower().startswith(HEADER):
        text = text[len(HEADER) :]
    try:
        operations = json_guard.load(text, source, limits)
    except (UnreadableJson, LimitExceeded) as error:
        raise BadPatch(error.text) from error
    if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
        raise BadPatch(f"{source}: a JSON patch is a list of operations, each a mapping with op and path")
    return operations


def apply(value: object, operations: list[Mapping[str, object]], source: str) -> object:
    """A new value with all operations carried out, or none. Raises BadPatch naming the operation."""
    from copy import deepcopy

    root: list[object] = [deepcopy(value)]
    for number, operation in enumerate(operations):
        try:
            _carry_out(root, operation)
        except (BadPatch, RecursionError) as error:
            raise BadPatch(f"{source}: [{number}]: {error}") from error
    return root[0]


def paths(operations: list[Mapping[str, object]]) -> list[tuple[object, ...]]:
    """The paths that the operations set or remove, list indexes as numbers."""
    named = [operation.get(key) for operation in operations for key in ("path", "from")]
    return [
        tuple(int(word) if word.isdigit() else word for word in pointer(path))
        for path in named
        if isinstance(path, str)
    ]


def pointer(text: object) -> list[str]:
    """The words of a JSON pointer. Raises BadPatch."""
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise BadPatch("path: a JSON pointer is expected. It begins with '/'")
    return [word.replace("~1", "/").replace("~0", "~") for word in text.split("/")[1:]]


def _carry_out(root: list[object], operation: Mapping[str, object]) -> None:
    kind, words = operation.get("op"), pointer(operation.get("path"))
    if kind not in OPERATIONS:
        raise BadPatch(f"op: one of {', '.join(OPERATIONS)} is expected")
    OPERATIONS[kind](root, words, operation)


def _add(root: list[object], words: list[str], operation: Mapping[str, object]) -> None:
    _put(root, words, _value(operation), insert=True)


def _replace(root: list[object], words: list[str], operation: Mapping[str, object]) -> None:
    _get(root, words)
    _put(root, words, _value(operation), insert=False)


def _remove(root: list[object], words: list[str], _operation: Mapping[str, object]) -> None:
    _take(root, words)


def _move(root: list[object], words: list[str], operation: Mapping[str, object]) -> None:
    origin = pointer(operation.get("from"))
    if words[: len(origin)] == origin and len(words) > len(origin):
        raise BadPatch("from: a value cannot be moved into itself")
    _put(root, words, _take(root, origin), insert=True)


def _copy(root: list[object], words: list[str], operation: Mapping[str, object]) -> None:
    from copy import deepcopy

    _put(root, words, deepcopy(_get(root, pointer(operation.get("from")))), insert=True)


def _test(root: list[object], words: list[str], operation: Mapping[str, object]) -> None:
    found, wanted = _get(root, words), _value(operation)
    if found != wanted or isinstance(found, bool) != isinstance(wanted, bool):
        raise BadPatch(f"test: the value at /{'/'.join(words)} is another one")


OPERATIONS = {
    "add": _add, "remove": _remove, "replace": _replace, "move": _move, "copy": _copy, "test": _test,
}  # fmt: skip


def _value(operation: Mapping[str, object]) -> object:
    if "value" not in operation:
        raise BadPatch("value: it is missing")
    return operation["value"]


def _get(root: list[object], words: list[str]) -> object:
    found: object = root[0]
    for word in words:
        if isinstance(found, dict):
            found = found.get(word, MISSING)
        elif isinstance(found, list):
            found = found[_index(word, len(found) - 1)]
        else:
            found = MISSING
        if found is MISSING:
            raise BadPatch(f"path: there is nothing at /{'/'.join(words)}")
    return found


def _put(root: list[object], words: list[str], value: object, *, insert: bool) -> None:
    if not words:
        root[0] = value
        return
    parent = _get(root, words[:-1])
    if isinstance(parent, dict):
        parent[words[-1]] = value
    elif isinstance(parent, list) and insert:
        last = len(parent) if words[-1] == "-" else _index(words[-1], len(parent))
        parent.insert(last, value)
    elif isinstance(parent, list):
        parent[_index(words[-1], len(parent) - 1)] = value
    else:
        raise BadPatch(f"path: /{'/'.join(words[:-1])} is neither a mapping nor a list")


def _take(root: list[object], words: list[str]) -> object:
    found = _get(root, words)
    if not words:
        root[0] = None
        return found
    parent = _get(root, words[:-1])
    if isinstance(parent, dict):
        del parent[words[-1]]
    elif isinstance(parent, list):
        del parent[_index(words[-1], len(parent) - 1)]
    return found


def _index(word: str, last: int) -> int:
    """A list index of the pointer grammar: no sign, no leading zero."""
    if not (word.isascii() and word.isdigit()) or (word != "0" and word.startswith("0")) or len(word) > 9:
        raise BadPatch(f"path: {word[:20]!r} is not a list index")
    if int(word) > last:
        raise BadPatch(f"path: the list has no index {word}")
    return int(word)
