"""A small JSON schema checker for the guest: the keywords that our generated schemas use, faults with paths.

The guest has no jsonschema package; `tests/unit/boot_stages/test_validate.py` holds this one against it.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Schema = dict[str, Any]
    Found = Iterator[tuple[str, str]]

_TYPES: dict[str, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: (
        (isinstance(value, int) and not isinstance(value, bool))
        or (isinstance(value, float) and value.is_integer())
    ),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, (list, tuple)),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}


def faults_of(value: object, schema: Schema) -> list[tuple[str, str]]:
    """Every (path, what is wrong) of `value`; paths are dotted with list indexes: `users.0.name`."""
    return list(_check(value, schema, ""))


def deprecations_of(value: object, schema: Schema) -> list[tuple[str, str]]:
    """Every (path, what to use instead) of keys present in `value` that the schema calls deprecated."""
    return sorted(set(_deprecated(value, schema, "")))


def _join(path: str, step: object) -> str:
    return f"{path}.{step}" if path else str(step)


def _check(value: object, schema: Schema, path: str) -> Found:
    for keyword, argument in schema.items():
        check = _CHECKS.get(keyword)
        if check is not None:
            yield from check(value, argument, schema, path)


def _type(value: object, wanted: Any, _schema: Schema, path: str) -> Found:
    names = [wanted] if isinstance(wanted, str) else wanted
    if not any(_TYPES[name](value) for name in names):
        yield path, f"{value!r} is not of type {', '.join(repr(name) for name in names)}"


def _same(first: object, second: object) -> bool:
    return isinstance(first, bool) == isinstance(second, bool) and first == second


def _enum(value: object, words: Any, _schema: Schema, path: str) -> Found:
    if not any(_same(value, word) for word in words):
        yield path, f"{value!r} is not one of {words!r}"


def _properties(value: object, known: Any, _schema: Schema, path: str) -> Found:
    if isinstance(value, dict):
        for name, inner in known.items():
            if name in value:
                yield from _check(value[name], inner, _join(path, name))


def _pattern_properties(value: object, patterns: Any, _schema: Schema, path: str) -> Found:
    if isinstance(value, dict):
        for pattern, inner in patterns.items():
            for name in value:
                if isinstance(name, str) and re.search(pattern, name):
                    yield from _check(value[name], inner, _join(path, name))


def _additional(value: object, allowed: Any, schema: Schema, path: str) -> Found:
    if not isinstance(value, dict):
        return
    known = schema.get("properties", {})
    patterns = schema.get("patternProperties", {})
    extra = [
        name
        for name in value
        if name not in known and not any(isinstance(name, str) and re.search(each, name) for each in patterns)
    ]
    if allowed is False and extra:
        names = ", ".join(repr(name) for name in extra)
        verb = "was" if len(extra) == 1 else "were"
        yield path, f"Additional properties are not allowed ({names} {verb} unexpected)"
    elif isinstance(allowed, dict):
        for name in extra:
            yield from _check(value[name], allowed, _join(path, name))


def _required(value: object, names: Any, _schema: Schema, path: str) -> Found:
    if isinstance(value, dict):
        for name in names:
            if name not in value:
                yield path, f"{name!r} is a required property"


def _items(value: object, inner: Any, schema: Schema, path: str) -> Found:
    if not isinstance(value, (list, tuple)):
        return
    for index, each in enumerate(value):
        if isinstance(inner, dict):
            yield from _check(each, inner, _join(path, index))
        elif index < len(inner):
            yield from _check(each, inner[index], _join(path, index))
        elif schema.get("additionalItems") is False:
            yield path, "Additional items are not allowed"
            return


def _size(word: str, sized: type, at_least: bool) -> Callable[[object, Any, Schema, str], Found]:
    def check(value: object, limit: Any, _schema: Schema, path: str) -> Found:
        if isinstance(value, sized):
            short = len(value) < limit  # type: ignore[arg-type]  # sized is str, list or dict
            over = len(value) > limit  # type: ignore[arg-type]
            if (at_least and short) or (not at_least and over):
                yield path, f"{value!r} {word}"

    return check


def _minimum(value: object, limit: Any, _schema: Schema, path: str) -> Found:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value < limit:
        yield path, f"{value!r} is less than the minimum of {limit!r}"


def _maximum(value: object, limit: Any, _schema: Schema, path: str) -> Found:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > limit:
        yield path, f"{value!r} is greater than the maximum of {limit!r}"


def _pattern(value: object, pattern: Any, _schema: Schema, path: str) -> Found:
    if isinstance(value, str) and not re.search(pattern, value):
        yield path, f"{value!r} does not match {pattern!r}"


def _unique(value: object, wanted: Any, _schema: Schema, path: str) -> Found:
    if wanted and isinstance(value, (list, tuple)):
        seen: list[object] = []
        for each in value:
            if any(_same(each, other) for other in seen):
                yield path, f"{value!r} has non-unique elements"
                return
            seen.append(each)


def _all_of(value: object, schemas: Any, _schema: Schema, path: str) -> Found:
    for inner in schemas:
        yield from _check(value, inner, path)


def _any_of(value: object, schemas: Any, _schema: Schema, path: str) -> Found:
    attempts = [list(_check(value, inner, path)) for inner in schemas]
    if all(attempts):
        yield from _closest(value, attempts, path)


def _one_of(value: object, schemas: Any, _schema: Schema, path: str) -> Found:
    attempts = [list(_check(value, inner, path)) for inner in schemas]
    good = sum(1 for attempt in attempts if not attempt)
    if good > 1:
        yield path, f"{value!r} is valid under each of {good} alternatives"
    elif good == 0:
        yield from _closest(value, attempts, path)


def _closest(value: object, attempts: list[list[tuple[str, str]]], path: str) -> Found:
    """The alternative itself is what is wrong: cloud-init names the place of the choice, and so do we."""
    deeper = [fault for attempt in attempts for fault in attempt if fault[0] != path]
    hint = f" (closest: {deeper[0][0]}: {deeper[0][1]})" if deeper else ""
    yield path, f"{value!r} is not valid under any of the given schemas{hint}"


def _not(value: object, inner: Any, _schema: Schema, path: str) -> Found:
    if not list(_check(value, inner, path)):
        yield path, f"{value!r} should not be valid under {inner!r}"


_CHECKS: dict[str, Callable[[object, Any, Schema, str], Found]] = {
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
    "uniqueItems": _unique,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
}


def _deprecated(value: object, schema: Schema, path: str) -> Found:
    if schema.get("deprecated"):
        yield path, str(schema.get("deprecated_description") or "Deprecated")
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                yield from _deprecated(value[name], inner, _join(path, name))
        for pattern, inner in schema.get("patternProperties", {}).items():
            for name in value:
                if isinstance(name, str) and re.search(pattern, name):
                    yield from _deprecated(value[name], inner, _join(path, name))
    items = schema.get("items")
    if isinstance(value, (list, tuple)) and isinstance(items, dict):
        for index, each in enumerate(value):
            yield from _deprecated(each, items, _join(path, index))
    for word in ("anyOf", "oneOf", "allOf"):
        for inner in schema.get(word, ()):
            if not faults_of(value, inner):
                yield from _deprecated(value, inner, path)
