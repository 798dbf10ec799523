"""`@pytest.mark.guest(...)`: the guest that a test wants. Marks of module, class, test add up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from image_harness.errors import InvalidMark
from image_harness.progress import Source

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


def parse(arguments: Mapping[str, object], beside: Path) -> Wanted:
    """The mark's arguments. `beside`: the directory of the test's file, where user data is looked for.

    Raises InvalidMark.
    """
    unknown = sorted(set(arguments) - set(_READERS))
    if unknown:
        raise InvalidMark(unknown[0], "no such argument", f"Use some of {', '.join(_READERS)}")
    return Wanted(**{name: _READERS[name](value, beside) for name, value in arguments.items()})  # type: ignore[arg-type] # each reader gives its field's type


def _text(name: str) -> Reader:
    def read(value: object, _: Path) -> str:
        if not isinstance(value, str) or not value:
            raise InvalidMark(name, f"{value!r} is not a name", "Give a string")
        return value

    return read


def _user_data(value: object, beside: Path) -> bytes | None:
    """Bytes and text of several lines are user data themselves; other text names a file."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str) and ("\n" in value or value.startswith("#")):
        return value.encode()
    if not isinstance(value, (str, Path)):
        raise InvalidMark("user_data", f"{type(value).__name__} is not user data", "Give text or a file")
    try:
        return (beside / value).read_bytes()
    except OSError as error:
        raise InvalidMark(
            "user_data", f"{error.filename}: {error.strerror}", f"Give a file beside {beside}"
        ) from error


def _keys(value: object, _: Path) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(key, str) for key in value):
        raise InvalidMark("keys", f"{value!r} is not a list of public keys", "Give a list of strings")
    return tuple(value)


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
    "user_data": _user_data,
    "source": _one_of("source", Source),
    "name": _text("name"),
    "keys": _keys,
    "timeout_s": _timeout,
    "scope": _one_of("scope", Scope),
}
