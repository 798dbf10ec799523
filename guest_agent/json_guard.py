"""JSON within limits, and one kind of error. NaN, Infinity and numbers of a thousand digits are refused."""

from __future__ import annotations

from boot_stages.plain_json import read_json
from guest_agent.errors import LimitExceeded, UnreadableJson
from guest_agent.limits import DEFAULT, Limits


def load(data: bytes | str, source: str, limits: Limits = DEFAULT) -> object:
    """The value of the JSON document `data`. Raises UnreadableJson or LimitExceeded, nothing else."""
    if len(data) > limits.json_bytes:
        raise LimitExceeded(source, "json_bytes", limits.json_bytes)

    def whole(digits: str) -> int:
        if len(digits) > limits.number_digits:
            raise LimitExceeded(source, "number_digits", limits.number_digits)
        return int(digits)

    def constant(word: str) -> object:
        raise UnreadableJson(source, f"{word} is not JSON. Write null or a number")

    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
    except UnicodeDecodeError as error:
        raise UnreadableJson(source, "not UTF-8") from error
    try:
        value = read_json(text, parse_int=whole, parse_constant=constant)
    except RecursionError as error:
        raise LimitExceeded(source, "json_depth", limits.json_depth) from error
    except ValueError as error:
        raise UnreadableJson(source, _problem(error)) from error
    _bounded_depth(value, source, limits)
    return value


def _problem(error: ValueError) -> str:
    """What is wrong and where; `json` is imported for it alone."""
    from json import JSONDecodeError

    if not isinstance(error, JSONDecodeError):
        return str(error)
    return f"{error.msg} (line {error.lineno} column {error.colno})"


def _bounded_depth(value: object, source: str, limits: Limits) -> None:
    level = [value]
    for _ in range(limits.json_depth):
        level = [child for one in level for child in _children(one)]
        if not level:
            return
    raise LimitExceeded(source, "json_depth", limits.json_depth)


def _children(value: object) -> list[object]:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [child for child in inside if isinstance(child, (dict, list))]
