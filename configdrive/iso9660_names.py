"""The plain and the Joliet name of each entry of a directory; Rock Ridge keeps the name as it is.

Plain names are those of Nova's genisoimage switches (`-l -allow-lowercase -allow-multidot -ldots`), so that a
reader without Rock Ridge and Joliet still finds `meta_data.json`. Source: ECMA-119 7.5, Joliet 3.2.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_PLAIN_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_JOLIET_UNSAFE = re.compile(r"[\x00-\x1f*/:;?\\]")
_PLAIN_LONGEST = 30
_JOLIET_LONGEST = 62  # 64 characters with `;1`
VERSION = ";1"


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Name -> plain name without version; different names stay different, also when case is ignored."""
    unique = _Unique(_PLAIN_LONGEST)
    return {name: unique.name(_PLAIN_UNSAFE.sub("_", name)) for name in names}


def joliet_names(names: Iterable[str]) -> dict[str, str]:
    """Name -> Joliet name without version; different names stay different, also when case is ignored."""
    unique = _Unique(_JOLIET_LONGEST)
    return {name: unique.name(_JOLIET_UNSAFE.sub("_", name)) for name in names}


class _Unique:
    """Names of one directory, each at most `longest` UTF-16 units and none given out twice."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def name(self, name: str) -> str:
        """`name` cut to length, with a number at the end where that is taken."""
        short = candidate = _cut(name, self._longest)
        while candidate.casefold() in self._taken:
            number = self._next[short] = self._next.get(short, 0) + 1
            suffix = f"_{number}"
            candidate = _cut(short, self._longest - len(suffix)) + suffix
        self._taken.add(candidate.casefold())
        return candidate


def _cut(name: str, longest: int) -> str:
    """At most `longest` UTF-16 units of `name`, whole characters."""
    name = name[:longest]
    while len(name.encode("utf-16-be")) > 2 * longest:
        name = name[:-1]
    return name
