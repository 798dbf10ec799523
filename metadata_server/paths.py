"""A request target to the one path it means (HTTP-3). Purely lexical: no file is ever looked at."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

_HEX = frozenset("0123456789abcdefABCDEF")


class BadPath(ValueError):
    """The target holds NUL, a bad percent-escape or bytes that are not UTF-8."""


def normal(target: str) -> str | None:
    """`/openstack//latest/../latest/?x` -> `/openstack/latest`; None when no name can match. Raises BadPath.

    The query is split off, each segment decoded once, then `.`, `..` and empty segments are resolved without
    ever going above the root. An escaped slash is part of a name, and no name has one.
    """
    path = _without_origin(target).partition("?")[0]
    segments: list[str] = []
    hopeless = False
    for raw in path.split("/"):
        segment = _decode(raw)
        if segment in ("", "."):
            continue
        if segment == "..":
            del segments[-1:]
            continue
        hopeless = hopeless or "/" in segment
        segments.append(segment)
    return None if hopeless else "/" + "/".join(segments)


def query(target: str) -> dict[str, str]:
    """The query's parameters, the first of each name; only the change notice (X-1) looks at them."""
    found: dict[str, str] = {}
    for pair in target.partition("?")[2].split("&"):
        name, _, value = pair.partition("=")
        found.setdefault(name, _decode(value))
    return found


def host_of(target: str) -> str | None:
    """The host of an absolute request target (`GET http://host/path`), None for a plain path."""
    if target[:7].lower() != "http://":
        return None
    return target[7:].partition("/")[0].partition("?")[0]


def _without_origin(target: str) -> str:
    host = host_of(target)
    return target if host is None else target[7 + len(host) :] or "/"


def _decode(segment: str) -> str:
    if "%" in segment:
        for escape in segment.split("%")[1:]:
            if len(escape) < 2 or not set(escape[:2]) <= _HEX:
                raise BadPath
    try:
        text = unquote_to_bytes(segment.encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError as error:
        raise BadPath from error
    if "\x00" in text:
        raise BadPath
    return text
