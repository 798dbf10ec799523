"""Reading a mapping field by field: a getter returns a good value, or notes a fault and returns the default.

A parser therefore goes through the whole document and reports everything that is wrong with it at once.
Faults name the field and the rule, never the value: it may be a secret (BAD-1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from instance_metadata.errors import Fault

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_REQUIRED = "Give it"


class Notes:
    """Where the faults and warnings of one document are collected, with the line of each field."""

    def __init__(self, source: str, lines: Mapping[str, int]) -> None:
        self.source = source
        self._lines = lines
        self.faults: list[Fault] = []
        self.warnings: list[Fault] = []

    def fault(self, path: str, problem: str, remedy: str) -> None:
        self.faults.append(Fault(self.source, self._line(path), path, problem, remedy))

    def warn(self, path: str, problem: str, remedy: str) -> None:
        self.warnings.append(Fault(self.source, self._line(path), path, problem, remedy))

    def _line(self, path: str) -> int | None:
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self._lines.get("")


class Fields:
    """The fields of one mapping. `finish()` reports those that nobody asked for."""

    def __init__(self, value: object, path: str, notes: Notes) -> None:
        self.path = path
        self.notes = notes
        self._left: dict[str, object] = {}
        if isinstance(value, Mapping):
            self._left = {str(name): item for name, item in value.items()}
        else:
            self.fault("", "a map is expected", "Write `name: value` pairs")

    def at(self, name: str) -> str:
        if not name:
            return self.path
        return f"{self.path}.{name}" if self.path else name

    def fault(self, name: str, problem: str, remedy: str) -> None:
        self.notes.fault(self.at(name), problem, remedy)

    def warn(self, name: str, problem: str, remedy: str) -> None:
        self.notes.warn(self.at(name), problem, remedy)

    def has(self, name: str) -> bool:
        return name in self._left

    def names(self) -> tuple[str, ...]:
        """The fields not read yet, in document order."""
        return tuple(self._left)

    def raw(self, name: str) -> object:
        """The value as it stands, None when absent."""
        return self._left.pop(name, None)

    def drop_null(self, name: str) -> None:
        """Treat an explicit null as absent, where the peers write null for "not known"."""
        if name in self._left and self._left[name] is None:
            del self._left[name]

    def required(self, name: str) -> bool:
        if name in self._left:
            return True
        self.fault(name, "missing", _REQUIRED)
        return False

    def text(self, name: str, default: str = "") -> str:
        found = self.optional_text(name)
        return default if found is None else found

    def optional_text(self, name: str) -> str | None:
        """One line without control characters: a line break would split an EC2 leaf into a list (MS-H13)."""
        if name not in self._left:
            return None
        value = self._left.pop(name)
        if not isinstance(value, str):
            self.fault(name, "a text is expected", "Put it in quotes, or leave the field out")
            return None
        if _CONTROL.search(value) or not _is_unicode(value):
            self.fault(name, "a line break or control character", "Write one line of plain text")
            return None
        return value

    def integer(self, name: str, least: int, most: int, default: int) -> int:
        found = self.optional_integer(name, least, most)
        return default if found is None else found

    def optional_integer(self, name: str, least: int, most: int) -> int | None:
        if name not in self._left:
            return None
        value = self._left.pop(name)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self.fault(name, "not a number in range", f"Use a whole number from {least} to {most}")
        return None

    def number(self, name: str, least: float, most: float, default: float) -> float:
        if name not in self._left:
            return default
        value = self._left.pop(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most:
            return float(value)
        self.fault(name, "not a number in range", f"Use a number from {least:g} to {most:g}")
        return default

    def flag(self, name: str, default: bool) -> bool:
        if name not in self._left:
            return default
        value = self._left.pop(name)
        if isinstance(value, bool):
            return value
        if value in ("on", "off"):
            return value == "on"
        self.fault(name, "neither on nor off", "Write true or false")
        return default

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        if name not in self._left:
            return default
        value = self._left.pop(name)
        if isinstance(value, bool) and "off" in allowed:
            value = "on" if value else "off"  # YAML 1.1 reads a bare `off` as false
        if isinstance(value, str) and value in allowed:
            return value
        self.fault(name, "not a known choice", f"Use one of {', '.join(allowed)}")
        return default

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts, () when absent."""
        return tuple(item for _, item in self._text_items(name))

    def _text_items(self, name: str) -> Iterator[tuple[int, str]]:
        for i, value in enumerate(self._list(name)):
            if isinstance(value, str) and value and not _CONTROL.search(value) and _is_unicode(value):
                yield i, value
            else:
                self.fault(f"{name}[{i}]", "a text is expected", "Write one line of plain text")

    def integers(self, name: str, least: int, most: int) -> tuple[int, ...]:
        good = []
        for i, value in enumerate(self._list(name)):
            if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
                good.append(value)
            else:
                self.fault(
                    f"{name}[{i}]", "not a number in range", f"Use whole numbers from {least} to {most}"
                )
        return tuple(good)

    def entries(self, name: str) -> list[Fields]:
        """The maps of a list, each as Fields, [] when absent; an item that is no map is a fault."""
        found = []
        for i, value in enumerate(self._list(name)):
            entry = Fields(value, self.at(f"{name}[{i}]"), self.notes)
            if isinstance(value, Mapping):
                found.append(entry)
        return found

    def fields(self, name: str) -> Fields | None:
        """A map, None when absent."""
        if name not in self._left:
            return None
        return Fields(self._left.pop(name), self.at(name), self.notes)

    def items(self, name: str) -> list[tuple[str, object]]:
        """The pairs of a map, [] when absent."""
        if name not in self._left:
            return []
        value = self._left.pop(name)
        if isinstance(value, Mapping):
            return [(str(key), item) for key, item in value.items()]
        self.fault(name, "a map is expected", "Write `name: value` pairs, or leave the field out")
        return []

    def _list(self, name: str) -> list[object]:
        if name not in self._left:
            return []
        value = self._left.pop(name)
        if isinstance(value, (list, tuple)):
            return list(value)
        self.fault(name, "a list is expected", "Write a list, or leave the field out")
        return []

    def json(self, name: str) -> Json:
        """Any JSON value, None when absent."""
        value = self._left.pop(name, None)
        if is_json(value):
            return as_json(value)
        self.fault(
            name, "holds what JSON cannot", "Use maps with text keys, lists, texts, numbers, true, false"
        )
        return None

    def starting(self, prefix: str) -> dict[str, object]:
        """Take out every field whose name starts with `prefix`."""
        return {
            name: self._left.pop(name) for name in [name for name in self._left if name.startswith(prefix)]
        }

    def finish(self, known: tuple[str, ...] = ()) -> None:
        for name in self._left:
            self.fault(name, "unknown field", _nearest(name, known))
        self._left = {}


def _nearest(name: str, known: tuple[str, ...]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    return f"Write `{near[0]}`, or remove it" if near else "Remove it, or see docs/reference/metadata.md"


def _is_unicode(value: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in value)


def is_json(value: object) -> bool:
    """Whether json.dumps writes `value` as strict JSON: no NaN, text keys only."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_json(item) for key, item in value.items())
    if isinstance(value, list):
        return all(is_json(item) for item in value)
    if isinstance(value, float):
        return value - value == 0.0  # neither NaN nor infinite
    return value is None or isinstance(value, (bool, int, str))


def as_json(value: object) -> Json:
    """The same value with the type that `is_json` proved."""
    return value  # type: ignore[return-value]  # checked by is_json
