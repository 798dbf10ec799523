"""`@pytest.mark.guest(...)`: the guest that a test wants. Marks of module, class, test add up."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from image_harness.errors import InvalidMark
from image_harness.progress import Source
from instance_metadata.errors import InvalidInstance
from metadata_server import faults

Reader = Callable[[object, Path], object]


class Scope(Enum):
    """Who shares a guest: the tests of a run, of a module, or nobody."""

    SESSION = "session"
    MODULE = "module"
    FUNCTION = "function"


@dataclass(frozen=True)
class Wanted:
    """A guest as a test asks for it. Tests that want the same, of one scope, get the same guest."""

    image: str = "tiny"
    user_data: bytes | None = None
    source: Source = Source.METADATA
    name: str = "guest"
    keys: tuple[str, ...] = ()
    timeout_s: float = 300.0
    scope: Scope = Scope.MODULE
    faults: bytes | None = None
    template: bool = False


def parse(arguments: Mapping[str, object], beside: Path) -> Wanted:
    """The mark's arguments. `beside`: the directory of the test's file, where user data is looked for.

    Raises InvalidMark.
    """
    unknown = sorted(set(arguments) - set(_READERS))
    if unknown:
        raise InvalidMark(unknown[0], "no such argument", f"Use some of {', '.join(_READERS)}")
    return Wanted(**{name: _READERS[name](value, beside) for name, value in arguments.items()})  # type: ignore[arg-type] # each reader gives its field's type


def variants(matrices: Sequence[Mapping[str, object]]) -> list[tuple[str, dict[str, object]]]:
    """Each combination of the values that matrices list, with a name for it. Raises InvalidMark.

    A value may have a name of its own: `user_data={"plain": "a.yaml", "big": "b.yaml"}`.
    """
    axes: dict[str, list[tuple[str, object]]] = {}
    for name, values in (item for matrix in matrices for item in matrix.items()):
        if name not in _READERS:
            raise InvalidMark(name, "no such argument", f"Use some of {', '.join(_READERS)}")
        if isinstance(values, Mapping):
            axes[name] = [(str(word), value) for word, value in values.items()]
        elif isinstance(values, (list, tuple)):
            axes[name] = [(_word(name, value, number), value) for number, value in enumerate(values)]
        if not axes.get(name):
            raise InvalidMark(name, f"{values!r} lists no values", "Give a list, or values by name")
    combined = itertools.product(*axes.values())
    return [
        ("-".join(word for word, _ in chosen), dict(zip(axes, (value for _, value in chosen), strict=True)))
        for chosen in combined
    ]


def _word(name: str, value: object, number: int) -> str:
    """A short value names itself; a document is named after its argument."""
    short = isinstance(value, (str, int, float)) and len(str(value)) <= 40 and str(value).isprintable()
    return str(value) if short else f"{name}{number}"


def _text(name: str) -> Reader:
    def read(value: object, _: Path) -> str:
        if not isinstance(value, str) or not value:
            raise InvalidMark(name, f"{value!r} is not a name", "Give a string")
        return value

    return read


def _document(name: str, words: str) -> Reader:
    """Bytes and text of several lines are the document itself; other text names a file."""

    def read(value: object, beside: Path) -> bytes | None:
        if value is None or isinstance(value, bytes):
            return value
        if isinstance(value, str) and ("\n" in value or value.startswith("#")):
            return value.encode()
        if not isinstance(value, (str, Path)):
            raise InvalidMark(name, f"{type(value).__name__} is not {words}", "Give text or a file")
        try:
            return (beside / value).read_bytes()
        except OSError as error:
            raise InvalidMark(
                name, f"{error.filename}: {error.strerror}", f"Give a file beside {beside}"
            ) from error

    return read


def _faults(value: object, beside: Path) -> bytes | None:
    """A list of rules too, as YAML would have it."""
    if isinstance(value, (list, tuple)):
        value = json.dumps({"rules": value}).encode()
    script: object = _document("faults", "a fault script")(value, beside)
    if isinstance(script, bytes):
        try:
            faults.parse(script, "faults")
        except InvalidInstance as error:
            raise InvalidMark("faults", str(error).rstrip("."), "See docs/reference/metadata.md") from error
        return script
    return None


def parse_budget(value: object) -> dict[str, float]:
    """Seconds by name: of a stage, a module, a unit, or `boot`. Raises InvalidMark."""
    if not isinstance(value, dict):
        raise InvalidMark("budget", f"{value!r} is not a budget", "Give seconds by name: {'final': 5}")
    for name, seconds in value.items():
        if not isinstance(name, str) or isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise InvalidMark("budget", f"{name!r}: {seconds!r} is no time", "Give seconds")
    return {name: float(seconds) for name, seconds in value.items()}


def _keys(value: object, _: Path) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(key, str) for key in value):
        raise InvalidMark("keys", f"{value!r} is not a list of public keys", "Give a list of strings")
    return tuple(value)


def _flag(name: str) -> Reader:
    def read(value: object, _: Path) -> bool:
        if not isinstance(value, bool):
            raise InvalidMark(name, f"{value!r} is neither true nor false", "Give True or False")
        return value

    return read


def _timeout(value: object, _: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        raise InvalidMark("timeout_s", f"{value!r} is no time", "Give seconds")
    return float(value)


def _one_of(name: str, kind: type[Source | Scope]) -> Reader:
    def read(value: object, _: Path) -> Enum:
        words = [each.value for each in kind]
        if value not in words:
            raise InvalidMark(name, f"{value!r} is none", f"Use {', '.join(words)}")
        return kind(value)

    return read


_READERS: Mapping[str, Reader] = {
    "image": _text("image"),
    "user_data": _document("user_data", "user data"),
    "source": _one_of("source", Source),
    "name": _text("name"),
    "keys": _keys,
    "timeout_s": _timeout,
    "scope": _one_of("scope", Scope),
    "faults": _faults,
    "template": _flag("template"),
}
