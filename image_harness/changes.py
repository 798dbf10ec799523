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
    one: Mapping[str, Changed],
    other: Mapping[str, Changed],
    *,
    except_for: Iterable[str] = (),
    except_content_of: Iterable[str] = (),
) -> list[str]:
    """One line for each path that the two do not share alike.

    `except_for`: patterns of paths that may differ in all. `except_content_of`: of paths that both must have,
    of the same type, mode and owner, whatever is in them.
    """
    allowed = re.compile("|".join(except_for) or r"(?!)")
    blurred = re.compile("|".join(except_content_of) or r"(?!)")

    def seen(file: Changed | None) -> Changed | None:
        return msgspec.structs.replace(file, content="") if file and blurred.fullmatch(file.path) else file

    return [
        f"{path}: {_shown(one.get(path))} | {_shown(other.get(path))}"
        for path in sorted({*one, *other})
        if seen(one.get(path)) != seen(other.get(path)) and not allowed.fullmatch(path)
    ]


def _shown(file: Changed | None) -> str:
    return f"{file.type} {file.mode} {file.owner} {file.content[:12]}" if file else "absent"
