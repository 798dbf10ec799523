"""A small JSON schema checker for the guest: draft 4 as cloud-init uses it, every fault with its path.

The guest has no jsonschema package. Verdicts are draft 4's; of the alternatives of a `oneOf` the faults of
the deepest place are told, of an `anyOf` the most general one and the choice itself, as cloud-init does.
Bytes count as texts. `tests/unit/boot_stages/test_validate.py` holds this against the jsonschema package.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Schema = dict[str, Any]
    Path = tuple[object, ...]
    Found = Iterator["Mismatch"]
    # A check tells a text about its own place, or the mismatches of places below it.
    Told = Iterator["str | Mismatch"]


class Mismatch:
    """One place that does not fit: its path, what is wrong, and the schema and keyword that say so."""

    __slots__ = ("keyword", "path", "schema", "what")

    def __init__(self, path: Path, what: str, schema: Schema, keyword: str) -> None:
        self.path = path
        self.what = what
        self.schema = schema
        self.keyword = keyword


_TYPES: dict[str, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, (str, bytes)),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, (list, tuple)),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}


def faults_of(value: object, schema: Schema) -> list[tuple[str, str]]:
    """Every (path, what is wrong) of `value`; paths are dotted with list indexes: `users.0.name`.

    An unknown name in the document itself has that name as its path.
    """
    found: list[tuple[str, str]] = []
    for mismatch in _check(value, schema, ()):
        if not mismatch.path and mismatch.keyword == "additionalProperties" and isinstance(value, dict):
            names = [str(name) for name in _unknown_names(value, schema)]
            found.extend(
                (name, f"Additional properties are not allowed ({name!r} was unexpected)") for name in names
            )
        else:
            found.append((_dotted(mismatch.path), mismatch.what))
    return found


def fits(value: object, schema: Schema) -> bool:
    """Whether `value` has no fault at all."""
    return next(_check(value, schema, ()), None) is None


def deprecations_of(value: object, schema: Schema) -> list[tuple[str, str]]:
    """Every (path, what to use instead) of keys present in `value` that the schema calls deprecated."""
    return sorted(set(_deprecated(value, schema, ())))


def _dotted(path: Path) -> str:
    return ".".join(str(step) for step in path)


def _check(value: object, schema: Schema, path: Path) -> Found:
    for keyword, argument in schema.items():
        check = _CHECKS.get(keyword)
        if check is None:
            continue
        for found in check(value, argument, schema, path):
            yield found if isinstance(found, Mismatch) else Mismatch(path, found, schema, keyword)


def _type(value: object, wanted: Any, _schema: Schema, _path: Path) -> Told:
    names = [wanted] if isinstance(wanted, str) else wanted
    if not any(_TYPES[name](value) for name in names):
        yield f"{value!r} is not of type {', '.join(repr(name) for name in names)}"


def _same(first: object, second: object) -> bool:
    return isinstance(first, bool) == isinstance(second, bool) and first == second


def _enum(value: object, words: Any, _schema: Schema, _path: Path) -> Told:
    if not any(_same(value, word) for word in words):
        yield f"{value!r} is not one of {words!r}"


def _properties(value: object, known: Any, _schema: Schema, path: Path) -> Told:
    if isinstance(value, dict):
        for name, inner in known.items():
            if name in value:
                yield from _check(value[name], inner, (*path, name))


def _pattern_properties(value: object, patterns: Any, _schema: Schema, path: Path) -> Told:
    if isinstance(value, dict):
        for pattern, inner in patterns.items():
            for name in value:
                if isinstance(name, str) and _matches(pattern, name):
                    yield from _check(value[name], inner, (*path, name))


def _unknown_names(value: dict[object, object], schema: Schema) -> list[object]:
    known = schema.get("properties", {})
    patterns = schema.get("patternProperties", {})
    return [
        name
        for name in value
        if name not in known and not any(isinstance(name, str) and _matches(each, name) for each in patterns)
    ]


def _additional(value: object, allowed: Any, schema: Schema, path: Path) -> Told:
    if not isinstance(value, dict):
        return
    extra = _unknown_names(value, schema)
    if allowed is False and extra:
        names = ", ".join(repr(name) for name in extra)
        verb = "was" if len(extra) == 1 else "were"
        yield f"Additional properties are not allowed ({names} {verb} unexpected)"
    elif isinstance(allowed, dict):
        for name in extra:
            yield from _check(value[name], allowed, (*path, name))


def _required(value: object, names: Any, _schema: Schema, _path: Path) -> Told:
    if isinstance(value, dict):
        for name in names:
            if name not in value:
                yield f"{name!r} is a required property"


def _items(value: object, inner: Any, schema: Schema, path: Path) -> Told:
    if not isinstance(value, (list, tuple)):
        return
    for index, each in enumerate(value):
        if isinstance(inner, dict):
            yield from _check(each, inner, (*path, index))
        elif index < len(inner):
            yield from _check(each, inner[index], (*path, index))
        elif schema.get("additionalItems") is False:
            yield "Additional items are not allowed"
            return


def _size(word: str, sized: type, at_least: bool) -> Callable[[object, Any, Schema, Path], Told]:
    def check(value: object, limit: Any, _schema: Schema, _path: Path) -> Told:
        if isinstance(value, sized):
            short = len(value) < limit  # type: ignore[arg-type]  # sized is str, list or dict
            over = len(value) > limit  # type: ignore[arg-type]
            if (at_least and short) or (not at_least and over):
                yield f"{value!r} {word}"

    return check


def _minimum(value: object, limit: Any, _schema: Schema, _path: Path) -> Told:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value < limit:
        yield f"{value!r} is less than the minimum of {limit!r}"


def _maximum(value: object, limit: Any, _schema: Schema, _path: Path) -> Told:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > limit:
        yield f"{value!r} is greater than the maximum of {limit!r}"


def _matches(pattern: str, text: str) -> bool:
    import re  # for the few documents that have a pattern to meet; every boot with user data comes by here

    return re.search(pattern, text) is not None


def _pattern(value: object, pattern: Any, _schema: Schema, _path: Path) -> Told:
    if isinstance(value, str) and not _matches(pattern, value):
        yield f"{value!r} does not match {pattern!r}"


def _format(value: object, name: Any, _schema: Schema, _path: Path) -> Told:
    """The one format that can be checked without a package: a date."""
    if name == "date" and isinstance(value, str):
        import datetime

        try:
            datetime.date.fromisoformat(value)
        except ValueError:
            yield f"{value!r} is not a 'date'"


def _unique(value: object, wanted: Any, _schema: Schema, _path: Path) -> Told:
    if wanted and isinstance(value, (list, tuple)):
        seen: list[object] = []
        for each in value:
            if any(_same(each, other) for other in seen):
                yield f"{value!r} has non-unique elements"
                return
            seen.append(each)


def _all_of(value: object, schemas: Any, _schema: Schema, path: Path) -> Told:
    for inner in schemas:
        yield from _check(value, inner, path)


def _any_of(value: object, schemas: Any, _schema: Schema, path: Path) -> Told:
    """Not one fits: the most general mismatch of the alternatives, then the choice itself."""
    attempts = [list(_check(value, inner, path)) for inner in schemas]
    if all(attempts):
        yield max((each for attempt in attempts for each in attempt), key=_relevance)
        yield f"{value!r} is not valid under any of the given schemas"


def _relevance(found: Mismatch) -> tuple[int, list[str], bool]:
    """jsonschema's order for its best match: near the choice, later place, no choice itself."""
    return -len(found.path), [str(step) for step in found.path], found.keyword not in {"anyOf", "oneOf"}


def _one_of(value: object, schemas: Any, _schema: Schema, path: Path) -> Told:
    """None fits: the deepest mismatches of all alternatives. More than one fits: the choice itself."""
    attempts = [list(_check(value, inner, path)) for inner in schemas]
    good = sum(1 for attempt in attempts if not attempt)
    if good > 1:
        yield f"{value!r} is valid under each of {good} alternatives"
    elif good == 0:
        yield from _deepest(value, [found for attempt in attempts for found in attempt])


def _deepest(value: object, mismatches: list[Mismatch]) -> list[Mismatch]:
    """cloud-init's choice among the mismatches of alternatives; a map's `type` says which was meant."""
    if isinstance(value, dict) and "type" in value:
        for found in mismatches:
            words = found.schema.get("properties", {}).get("type", {}).get("enum", ())
            if value["type"] in words:
                return [found]
        about_type = [found for found in mismatches if str(found.path[-1:]).endswith("type',)")]
        return about_type or mismatches[:1]
    depth = max(len(found.path) for found in mismatches)
    return [found for found in mismatches if len(found.path) == depth]


def _not(value: object, inner: Any, _schema: Schema, path: Path) -> Told:
    if next(_check(value, inner, path), None) is None:
        yield f"{value!r} should not be valid under {inner!r}"


_CHECKS: dict[str, Callable[[object, Any, Schema, Path], Told]] = {
    "type": _type,
    "enum": _enum,
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional,
    "required": _required,
    "items": _items,
    "minItems": _size("is too short", list, at_least=True),
    "maxItems": _size("is too long", list, at_least=False),
    "minLength": _size("is too short", str, at_least=True),
    "maxLength": _size("is too long", str, at_least=False),
    "minProperties": _size("does not have enough properties", dict, at_least=True),
    "maxProperties": _size("has too many properties", dict, at_least=False),
    "minimum": _minimum,
    "maximum": _maximum,
    "pattern": _pattern,
    "format": _format,
    "uniqueItems": _unique,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
}


def _deprecated(value: object, schema: Schema, path: Path) -> Iterator[tuple[str, str]]:
    if schema.get("deprecated"):
        yield _dotted(path), str(schema.get("deprecated_description") or "Deprecated")
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                yield from _deprecated(value[name], inner, (*path, name))
        for pattern, inner in schema.get("patternProperties", {}).items():
            for name in value:
                if isinstance(name, str) and _matches(pattern, name):
                    yield from _deprecated(value[name], inner, (*path, name))
    items = schema.get("items")
    if isinstance(value, (list, tuple)) and isinstance(items, dict):
        for index, each in enumerate(value):
            yield from _deprecated(each, items, (*path, index))
    for inner in schema.get("allOf", ()):
        yield from _deprecated(value, inner, path)
    for word in ("anyOf", "oneOf"):
        fitting = next((inner for inner in schema.get(word, ()) if fits(value, inner)), None)
        if fitting is not None:
            yield from _deprecated(value, fitting, path)
