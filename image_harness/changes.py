"""Which files a boot made or changed, as the tiny guest's `tree` script lists them on the console."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

_LINE = re.compile(rb"^GUESTLING-CHANGED (\{.*\})\r?$", re.MULTILINE)
_COUNT = re.compile(rb"^GUESTLING-CHANGES (\d+)\r?$", re.MULTILINE)


class Changed(msgspec.Struct, frozen=True):
    """A file as the boot left it. `content` is the SHA-256 of a file, the target of a link, else empty."""

    path: str
    type: str
    mode: str
    owner: str
    content: str


def parse(console: bytes) -> dict[str, Changed] | None:
    """path -> file; None when the list is not there or not whole."""
    count = _COUNT.search(console)
    if count is None:
        return None
    try:
        found = [msgspec.json.decode(line, type=Changed) for line in _LINE.findall(console)]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return {file.path: file for file in found} if len(found) == int(count[1]) else None


def differences(
    one: Mapping[str, Changed], other: Mapping[str, Changed], *, except_for: Iterable[str] = ()
) -> list[str]:
    """One line for each path that the two do not share alike; `except_for`: patterns of paths that may."""
    allowed = [re.compile(pattern) for pattern in except_for]
    lines = []
    for path in sorted({*one, *other}):
        if one.get(path) == other.get(path) or any(pattern.fullmatch(path) for pattern in allowed):
            continue
        lines.append(f"{path}: {_shown(one.get(path))} | {_shown(other.get(path))}")
    return lines


def _shown(file: Changed | None) -> str:
    return f"{file.type} {file.mode} {file.owner} {file.content[:12]}" if file else "absent"
