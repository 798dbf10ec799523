"""What differs between two drives, without showing values: they may be secret."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Difference:
    """`change` is `added`, `removed` or `changed`, from the first drive to the second."""

    change: str
    path: str
    detail: str


def differences(first: Mapping[str, bytes], second: Mapping[str, bytes]) -> tuple[Difference, ...]:
    """Every path whose content is not the same on both, in order of path."""
    return tuple(_differences(first, second))


def _differences(first: Mapping[str, bytes], second: Mapping[str, bytes]) -> Iterator[Difference]:
    for path in sorted(first.keys() | second.keys()):
        if path not in first:
            yield Difference("added", path, f"{len(second[path])} bytes")
        elif path not in second:
            yield Difference("removed", path, f"{len(first[path])} bytes")
        elif first[path] != second[path]:
            yield Difference("changed", path, _detail(path, first[path], second[path]))


def _detail(path: str, first: bytes, second: bytes) -> str:
    keys = _changed_keys(first, second) if path.endswith(".json") else None
    if keys:
        return "keys: " + ", ".join(keys)
    if keys is not None:
        return "the same values, written differently"
    return f"{len(first)} bytes, now {len(second)}"


def _changed_keys(first: bytes, second: bytes) -> list[str] | None:
    """The keys of the root whose values differ; None where one of the two is no JSON object."""
    try:
        old, new = json.loads(first), json.loads(second)
    except (ValueError, RecursionError):
        return None
    if not isinstance(old, dict) or not isinstance(new, dict):
        return None
    missing = object()
    return sorted(key for key in old.keys() | new.keys() if old.get(key, missing) != new.get(key, missing))
