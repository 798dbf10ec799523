"""YAML 1.1, safely: bounded before it is built, with line numbers, and one kind of error.

libyaml's composer recurses in C (a document 100,000 levels deep kills the process) and merge keys
multiply without being seen. So the events are counted first; only then is anything built.
Meaning is PyYAML's safe loader: `yes` is a boolean, `0644` an octal, `1:30` sexagesimal, `!!binary` bytes.
"""

from __future__ import annotations

from boot_stages.value import Value
from guest_agent import plain_yaml
from guest_agent.errors import LimitExceeded, UnreadableYaml
from guest_agent.limits import DEFAULT, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import yaml

    from guest_agent.known_documents import KnownDocuments

# Documents that need not be read again; a boot puts its store here, everything else reads.
KNOWN: list[KnownDocuments | None] = [None]


class Loaded(Value):
    """A document: its value, the line (from 1) of each key and item, and what was said twice."""

    value: object
    lines: Mapping[tuple[object, ...], int]
    repeated: tuple[str, ...] = ()


def load(data: bytes | str, source: str, limits: Limits = DEFAULT) -> object:
    """The value of the one document in `data`; None when there is none.

    Raises UnreadableYaml (with line and column) or LimitExceeded, nothing else.
    """
    return _known_or_loaded(_decoded(data, source, limits), source, limits, lines=False).value


def load_with_lines(
    data: bytes | str, source: str, limits: Limits = DEFAULT, *, strict: bool = False
) -> Loaded:
    """As `load`, with lines. A repeated key keeps its last value, or is an error when `strict`."""
    text = _decoded(data, source, limits)
    if strict:
        return loaded_by_library(text, source, limits, strict=True)
    return _known_or_loaded(text, source, limits, lines=True)


def _known_or_loaded(text: str, source: str, limits: Limits, *, lines: bool) -> Loaded:
    known = KNOWN[-1] if limits == DEFAULT else None
    found = known.find(text, lines=lines) if known is not None else None
    if found is not None:
        return Loaded(*found)
    plain = plain_yaml.read(text) if limits == DEFAULT else None
    loaded = loaded_by_library(text, source, limits) if plain is None else Loaded(*plain)
    if known is not None:
        known.add(text, loaded.value, loaded.lines, loaded.repeated)
    return loaded


def loaded_by_library(text: str, source: str, limits: Limits, *, strict: bool = False) -> Loaded:
    """The document as PyYAML reads it, between the guards. Raises as `load` does."""
    import yaml

    try:
        _count_events(text, source, limits)
        loader = _loader_class()(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return Loaded(None, {})
            lines, repeated = _walk(node)
            if repeated and strict:
                raise UnreadableYaml(source, f"{repeated[0][0]}. Keep one of them", repeated[0][1])
            value = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise _worded(error, source, text) from error
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise UnreadableYaml(source, f"not usable as YAML ({type(error).__name__})") from error
    return Loaded(value, lines, tuple(text for text, _ in repeated))


def _decoded(data: bytes | str, source: str, limits: Limits) -> str:
    if len(data) > limits.yaml_bytes:
        raise LimitExceeded(source, "yaml_bytes", limits.yaml_bytes)
    try:
        if isinstance(data, str):
            data.encode("utf-8")  # a lone surrogate is not a character
            return data[1:] if data[:1] == "\ufeff" else data
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return data.decode("utf-16")
        text = data.decode()
        return text[1:] if text[:1] == "\ufeff" else text
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        head = data[:start]
        line = head.count("\n" if isinstance(head, str) else b"\n") + 1  # type: ignore[arg-type]  # same kind
        raise UnreadableYaml(source, "not UTF-8. Save it as UTF-8", line) from error


def _count_events(text: str, source: str, limits: Limits) -> None:
    """Stop before a document that is too deep, has too many aliases, or grows too large by them."""
    import yaml

    sizes: dict[str, int] = {}  # nodes below each anchor that is complete
    anchors: list[str | None] = []  # of the collections that are open
    counts: list[int] = []  # nodes inside each of them so far
    aliases = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.ScalarEvent):
            grown = 1
            _bounded_number(event, source, limits)
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            anchors.append(event.anchor)
            counts.append(1)
            if len(counts) > limits.yaml_depth:
                raise LimitExceeded(_place(event, source), "yaml_depth", limits.yaml_depth)
            continue
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, grown = anchors.pop(), counts.pop()
            if anchor:
                sizes[anchor] = grown
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
            if event.anchor in anchors:
                raise UnreadableYaml(
                    source, f"the alias *{event.anchor} contains itself", *_mark(event.start_mark)
                )
            if aliases > limits.yaml_aliases:
                raise LimitExceeded(_place(event, source), "yaml_aliases", limits.yaml_aliases)
            grown = sizes.get(event.anchor or "", 1)
        else:
            continue
        if counts:
            counts[-1] += grown
            grown = counts[-1]
        if grown > limits.yaml_nodes:
            raise LimitExceeded(_place(event, source), "yaml_nodes", limits.yaml_nodes)


DECIMAL_LETTERS = frozenset("0123456789_:.+-")


def _bounded_number(event: yaml.ScalarEvent, source: str, limits: Limits) -> None:
    """Python needs quadratic time for a decimal of a million digits; nobody means one."""
    text = event.value
    if len(text) > limits.number_digits and event.implicit[0] and DECIMAL_LETTERS.issuperset(text):
        raise LimitExceeded(_place(event, source), "number_digits", limits.number_digits)


def _place(event: yaml.Event, source: str) -> str:
    return f"{source}:{_mark(event.start_mark)[0]}"


def _mark(mark: yaml.error.Mark | yaml._yaml.Mark | None) -> tuple[int | None, int | None]:
    return (None, None) if mark is None else (mark.line + 1, mark.column + 1)


def _worded(error: yaml.YAMLError, source: str, text: str) -> UnreadableYaml:
    """PyYAML's error as ours. Values are not repeated: they may be secret."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
    context = getattr(error, "context", None)
    line, column = _mark(mark)
    position = getattr(error, "position", None)
    if line is None and isinstance(position, int):  # the reader knows bytes only
        line = text.encode("utf-8")[:position].count(b"\n") + 1
    return UnreadableYaml(source, f"{context}, {problem}" if context else str(problem), line, column)


def _walk(root: yaml.Node) -> tuple[dict[tuple[object, ...], int], list[tuple[str, int]]]:
    """Lines of keys and items by path, and the repeated keys with the line of the later one."""
    import yaml

    lines: dict[tuple[object, ...], int] = {(): root.start_mark.line + 1}
    repeated: list[tuple[str, int]] = []
    todo: list[tuple[tuple[object, ...], yaml.Node]] = [((), root)]
    seen: set[int] = set()
    while todo:
        path, node = todo.pop()
        if id(node) in seen:
            continue  # an alias: its lines are those of the anchor
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            for key, line, child in _children(node, repeated):
                lines[(*path, key)] = line
                todo.append(((*path, key), child))
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                lines[(*path, index)] = item.start_mark.line + 1
                todo.append(((*path, index), item))
    return lines, repeated


def _children(
    node: yaml.MappingNode, repeated: list[tuple[str, int]]
) -> Iterator[tuple[str, int, yaml.Node]]:
    import yaml

    first: dict[object, int] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            continue
        key, line = key_node.value, key_node.start_mark.line + 1
        if key in first and key != "<<":
            repeated.append((f"the key {key!r} stands in line {first[key]} and again in line {line}", line))
        first.setdefault(key, line)
        yield key, line, value_node


_LOADERS: list[type[yaml.SafeLoader]] = []


def _loader_class() -> type[yaml.SafeLoader]:
    """PyYAML's safe loader whose scalars fail with their line (PyYAML lets ValueError through)."""
    import yaml

    if not _LOADERS:
        base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        made: type[yaml.SafeLoader] = type("GuardedLoader", (base,), {})
        for kind in ("bool", "int", "float", "timestamp", "binary"):
            tag = f"tag:yaml.org,2002:{kind}"
            made.add_constructor(tag, _with_place(kind, base.yaml_constructors[tag]))
        for kind in ("set", "omap", "pairs"):
            made.add_constructor(f"tag:yaml.org,2002:{kind}", _refused)
        _LOADERS.append(made)
    return _LOADERS[0]


def _with_place(
    kind: str, construct: Callable[[yaml.SafeLoader, yaml.Node], object]
) -> Callable[[yaml.SafeLoader, yaml.Node], object]:
    def guarded(loader: yaml.SafeLoader, node: yaml.Node) -> object:
        import yaml

        try:
            return construct(loader, node)
        except (ValueError, OverflowError, AttributeError, LookupError) as error:
            problem = f"this is not a {kind}; quote it if it is text"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error

    return guarded


def _refused(_loader: yaml.SafeLoader, node: yaml.Node) -> object:
    import yaml

    problem = "sets and ordered maps have no meaning here; write a list or a mapping"
    raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
