"""JSON by the C functions behind the `json` module, without importing that module.

`json` brings `re`, `enum`, `functools` and `collections`: 9 ms of a second boot of 50. What these functions
do not take, `json` decides, with its own words. See docs/decisions/0126-c-modules-at-boot.md.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

try:
    from _json import encode_basestring_ascii, make_encoder, make_scanner
except ImportError:  # a Python without the C functions
    from json.encoder import encode_basestring_ascii

    make_encoder = make_scanner = None  # type: ignore[assignment, misc]

SPACE = " \t\n\r"
NUMBERS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


class _Rules:
    """What the scanner asks for: the defaults of `json.loads`."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float

    def __init__(self, parse_int: Callable[[str], int], parse_constant: Callable[[str], object]) -> None:
        self.parse_int = parse_int
        self.parse_constant = parse_constant


def read_json(
    document: str | bytes,
    *,
    parse_int: Callable[[str], int] = int,
    parse_constant: Callable[[str], object] = NUMBERS.__getitem__,
) -> Any:
    """The value of a document, as `json.loads` gives it. Raises ValueError as that does, RecursionError."""
    try:
        text = document.decode() if isinstance(document, bytes) else document
        start = len(text) - len(text.lstrip(SPACE))
        value, end = make_scanner(_Rules(parse_int, parse_constant))(text, start)  # type: ignore[arg-type]
        if not text[end:].strip(SPACE):
            return value
    except (StopIteration, ValueError, TypeError):
        pass
    import json

    return json.loads(document, parse_int=parse_int, parse_constant=parse_constant)


def write_json(value: object, *, separators: tuple[str, str] = (", ", ": "), sort_keys: bool = False) -> str:
    """One line, as `json.dumps` writes it. Raises TypeError for what JSON has no form for, ValueError."""
    if make_encoder is None:
        import json

        return json.dumps(value, separators=separators, sort_keys=sort_keys)
    between, after_key = separators
    encode = make_encoder(
        {}, _refuse, encode_basestring_ascii, None, after_key, between, sort_keys, False, True
    )
    return "".join(encode(value, 0))


def _refuse(value: object) -> object:
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def write_indented(value: object, indent: str = " ") -> str:
    """Sorted keys, a line each, separators `,` and `: `. For values of JSON's own types, keys text."""
    pieces: list[str] = []
    _write(value, "\n", indent, pieces.append)
    return "".join(pieces)


def _write(value: object, margin: str, indent: str, add: Callable[[str], None]) -> None:
    inner = margin + indent
    if isinstance(value, dict) and value:
        before = "{"
        for key in sorted(value):
            add(f"{before}{inner}{encode_basestring_ascii(key)}: ")
            _write(value[key], inner, indent, add)
            before = ","
        add(margin + "}")
    elif isinstance(value, (list, tuple)) and value:
        before = "["
        for item in value:
            add(before + inner)
            _write(item, inner, indent, add)
            before = ","
        add(margin + "]")
    elif isinstance(value, str):
        add(encode_basestring_ascii(value))
    elif value is None:
        add("null")
    else:
        add(write_json(value))
