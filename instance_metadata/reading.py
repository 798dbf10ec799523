"""Text of an instance document (YAML or JSON) to plain values and the line of each field.

The safe loader only, with a guard before it: size, depth, alias expansions, duplicate keys (BAD-3).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from instance_metadata.errors import Fault, InvalidInstance

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_ALIASES = 100
MAX_NODES = 200_000

# The C loader when PyYAML was built with it: twelve times as fast, same results.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A document as plain values, and `lines`: field path (`keys[0].name`) -> line, counted from 1."""

    value: object
    lines: Mapping[str, int]


def load(text: bytes, source: str) -> Loaded:
    """Read one document; names ending in `.json` are JSON, all others YAML. Raises InvalidInstance."""
    if len(text) > MAX_BYTES:
        raise _refused(source, None, f"larger than {MAX_BYTES} bytes", "Make the document smaller")
    return _load_json(text, source) if source.endswith(".json") else _load_yaml(text, source)


def _refused(source: str, line: int | None, problem: str, remedy: str, path: str = "") -> InvalidInstance:
    return InvalidInstance([Fault(source, line, path, problem, remedy)])


def _load_json(text: bytes, source: str) -> Loaded:
    try:
        value = json.loads(text, object_pairs_hook=_unique_keys(source), parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise _refused(source, error.lineno, f"not JSON: {error.msg}", "Correct the syntax") from error
    except RecursionError as error:
        raise _refused(source, None, "nested too deeply", f"Use at most {MAX_DEPTH} levels") from error
    except ValueError as error:  # not UTF-8, NaN, an integer of too many digits
        raise _refused(source, None, f"not JSON: {error}", "Write UTF-8 JSON with finite numbers") from error
    if depth_exceeds(value, MAX_DEPTH):
        raise _refused(source, None, "nested too deeply", f"Use at most {MAX_DEPTH} levels")
    return Loaded(value, _JsonLines(text, source))


class _JsonLines(Mapping[str, int]):
    """The lines of a JSON document, found by reading it as YAML: only when somebody asks for one."""

    def __init__(self, text: bytes, source: str) -> None:
        self._text = text
        self._source = source

    @cached_property
    def _lines(self) -> Mapping[str, int]:
        try:
            return _load_yaml(self._text, self._source).lines
        except InvalidInstance:
            return {}

    def __getitem__(self, path: str) -> int:
        return self._lines[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


def _unique_keys(source: str) -> Callable[[list[tuple[str, object]]], dict[str, object]]:
    def build(pairs: list[tuple[str, object]]) -> dict[str, object]:
        made = dict(pairs)
        if len(made) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise _refused(source, None, "the key is given twice", "Keep one of them", path=twice)
        return made

    return build


def depth_exceeds(value: object, limit: int) -> bool:
    """Whether maps and lists of a document stand in one another more than so many levels deep."""
    level = [value]
    for _ in range(limit):
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return False
        level = below
    return True


def _load_yaml(text: bytes, source: str) -> Loaded:
    try:
        _guard(text, source)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            lines: dict[str, int] = {}
            value = None if node is None else _Construct(loader, source, lines).value_of(node, "")
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise _refused(source, line, f"not YAML: {error.problem}", "Correct the syntax") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        # The error's own text quotes the document, which may hold secrets.
        raise _refused(source, None, "not YAML: a character is not allowed", "Write UTF-8 text") from error
    return Loaded(value, lines)


def _guard(text: bytes, source: str) -> None:
    """Refuse depth and alias bombs from the event stream, before anything recursive reads the document."""
    depth = aliases = 0
    event: Any
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
        if depth > MAX_DEPTH:
            line = event.start_mark.line + 1
            raise _refused(source, line, "nested too deeply", f"Use at most {MAX_DEPTH} levels")
        if aliases > MAX_ALIASES:
            line = event.start_mark.line + 1
            raise _refused(source, line, f"more than {MAX_ALIASES} aliases", "Write the values out")


class _Construct:
    """Nodes to values, noting the line of every field and refusing duplicate keys and expanded bombs."""

    def __init__(self, loader: Any, source: str, lines: dict[str, int]) -> None:
        self._loader = loader
        self._source = source
        self._lines = lines
        self._nodes = 0

    def value_of(self, node: yaml.Node, path: str, depth: int = 0) -> object:
        line = node.start_mark.line + 1
        self._lines.setdefault(path, line)
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise _refused(
                self._source, line, "aliases expand it beyond the limit", "Write the values out", path
            )
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.value_of(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        raise _refused(
            self._source, line, "a tag that is not allowed", "Use plain maps, lists and texts", path
        )

    def _scalar(self, node: yaml.ScalarNode, path: str) -> object:
        if node.tag == "tag:yaml.org,2002:timestamp":
            return node.value  # a version or a name that looks like a date stays text
        try:
            return self._loader.construct_object(node)
        except (ValueError, yaml.YAMLError) as error:
            line = node.start_mark.line + 1
            raise _refused(self._source, line, "a value that YAML cannot read", "Quote it", path) from error

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, object]:
        made: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise _refused(self._source, line, "a key that is not a text", "Use plain names", path)
            name = str(key_node.value)
            below = f"{path}.{name}" if path else name
            if name in made:
                raise _refused(self._source, line, "the key is given twice", "Keep one of them", below)
            self._lines[below] = line
            made[name] = self.value_of(value_node, below, depth + 1)
        return made
