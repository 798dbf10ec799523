"""A JSON document of a drive, read as strictly as the strictest guest reads it (CD-09)."""

from __future__ import annotations

import json
from dataclasses import dataclass

from configdrive.findings import Finding, error
from configdrive.source import MIB
from instance_metadata.reading import depth_exceeds

MOST_BYTES = 4 * MIB
DEEPEST = 64
_REMEDY = "Write UTF-8 JSON without a byte order mark"


@dataclass(frozen=True)
class _DuplicateKeyError(ValueError):
    key: str


def parse(content: bytes, path: str) -> tuple[object, Finding | None]:
    """(value, None), or (None, what is wrong, with line and column)."""
    text, finding = _text(content, path)
    if finding is not None:
        return None, finding
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as fault:
        return None, _invalid(path, fault.msg[:1].lower() + fault.msg[1:], fault.lineno, fault.colno)
    except _DuplicateKeyError as fault:
        remedy = "Keep one of the two; guests disagree about which one counts"
        return None, error("drive-duplicate-key", path, "the key is given twice", remedy, key=fault.key)
    except RecursionError:
        return None, _too_deep(path)
    except ValueError as fault:
        # NaN, Infinity, or an integer with thousands of digits.
        return None, _invalid(path, str(fault).partition(";")[0], None, None)
    return (None, _too_deep(path)) if depth_exceeds(value, DEEPEST) else (value, None)


def _text(content: bytes, path: str) -> tuple[str, Finding | None]:
    if len(content) > MOST_BYTES:
        problem = f"{len(content):,} bytes, the limit is {MOST_BYTES:,}"
        return "", error("drive-document-too-large", path, problem, "Make the document smaller")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "", error("drive-not-utf-8", path, "it is UTF-16", _REMEDY)
    if content.startswith(b"\xef\xbb\xbf"):
        return "", error("drive-byte-order-mark", path, "it begins with a byte order mark", _REMEDY)
    try:
        return content.decode(), None
    except UnicodeDecodeError as fault:
        line = content.count(b"\n", 0, fault.start) + 1
        column = fault.start - content.rfind(b"\n", 0, fault.start)
        return "", error(
            "drive-not-utf-8", path, "a byte that is not UTF-8", _REMEDY, line=line, column=column
        )


def _invalid(path: str, problem: str, line: int | None, column: int | None) -> Finding:
    return error(
        "drive-invalid-json",
        path,
        f"invalid JSON: {problem}",
        "Correct the document",
        line=line,
        column=column,
    )


def _too_deep(path: str) -> Finding:
    return error("drive-invalid-json", path, f"nested more than {DEEPEST} levels deep", "Use fewer levels")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made: dict[str, object] = {}
    for key, value in pairs:
        if key in made:
            raise _DuplicateKeyError(key)
        made[key] = value
    return made


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")
