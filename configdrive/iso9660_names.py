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
    taken: set[str] = set()
    return {name: _unique(_PLAIN_UNSAFE.sub("_", name), _PLAIN_LONGEST, taken) for name in names}


def joliet_names(names: Iterable[str]) -> dict[str, str]:
    """Name -> Joliet name without version; different names stay different, also when case is ignored."""
    taken: set[str] = set()
    return {name: _unique(_JOLIET_UNSAFE.sub("_", name), _JOLIET_LONGEST, taken) for name in names}


def _unique(name: str, longest: int, taken: set[str]) -> str:
    candidate = _cut(name, longest)
    number = 0
    while candidate.casefold() in taken:
        number += 1
        suffix = f"_{number}"
        candidate = _cut(name, longest - len(suffix)) + suffix
    taken.add(candidate.casefold())
    return candidate


def _cut(name: str, longest: int) -> str:
    """At most `longest` UTF-16 units of `name`, whole characters."""
    while len(name.encode("utf-16-be")) > 2 * longest:
        name = name[: max(longest, len(name) // 2)] if len(name) > longest else name[:-1]
    return name
