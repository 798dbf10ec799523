"""Where a key of the config, or a change of a guest, came from: out of the report of a boot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec

from image_harness.errors import NoOrigins

FILE = "origins.json"


class Origin(msgspec.Struct, frozen=True):
    """Who set a key: the layer, its line, the rule by which it was merged, the includes that led there."""

    key: str
    layer: str
    rule: str
    line: int | None = None
    includes: tuple[str, ...] = ()


class Change(msgspec.Struct, frozen=True):
    """What a module did, in the agent's words."""

    stage: str
    module: str
    uptime_s: float
    did: tuple[str, ...]


class Origins(msgspec.Struct, frozen=True):
    """All that a boot's agent said about it."""

    keys: tuple[Origin, ...]
    changes: tuple[Change, ...]


def document(keys: bytes, changes: bytes) -> bytes:
    """What the guest's agent printed, as the report keeps it: not looked at before somebody asks."""
    lines = [line for line in changes.decode(errors="replace").splitlines() if line.strip()]
    whole = {"keys": keys.decode(errors="replace"), "changes": lines}
    return json.dumps(whole).encode() + b"\n"


def read(report: Path) -> Origins:
    """The origins in a report's directory. Raises NoOrigins."""
    try:
        whole = json.loads((report / FILE).read_bytes())
        keys = msgspec.json.decode(whole["keys"], type=tuple[Origin, ...])
        changes = tuple(msgspec.json.decode(line, type=Change) for line in whole["changes"])
    except FileNotFoundError as error:
        why = f"it holds no {FILE}: not a boot's report, or its agent tells no origins"
        raise NoOrigins(report, why) from error
    except (OSError, ValueError, KeyError, TypeError, msgspec.DecodeError) as error:
        raise NoOrigins(report, f"{FILE} cannot be used ({error})") from error
    return Origins(keys, changes)


def of_key(origins: Origins, key: str) -> tuple[Origin, ...]:
    """Who set a key such as `users.0.name`, or anything below it; else who set what it is part of."""
    below = tuple(each for each in origins.keys if each.key == key or each.key.startswith(f"{key}."))
    if below:
        return below
    above = [each for each in origins.keys if key.startswith(f"{each.key}.")]
    longest = max((len(each.key) for each in above), default=0)
    return tuple(each for each in above if len(each.key) == longest)


def of_path(origins: Origins, path: str) -> tuple[Change, ...]:
    """What was done with a file, in order."""
    found = (
        (change, tuple(did for did in change.did if path in _words(did.split())))
        for change in origins.changes
    )
    return tuple(msgspec.structs.replace(change, did=did) for change, did in found if did)


def _words(words: Sequence[str]) -> set[str]:
    return {word.rstrip(":,") for word in words}
