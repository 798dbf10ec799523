"""How one piece of configuration is put onto another: `merge_how`, and the merge of config files.

The algorithm is cloud-init's, exactly (spec 2.5, 2.6). Beside the value each merge keeps the origins:
which layer set which key, at which line and by which rule, so that `explain` can answer.
"""

from __future__ import annotations

from boot_stages.value import Value
from guest_agent.errors import BadMergeSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    KeyPath = tuple[object, ...]

PARTS_RULE = "dict(replace)+list()+str()"
CONFIG_RULE = "list()+dict()+str()"
SPEC_KEYS = ("merge_how", "merge_type")


class Merger(Value):
    """One `name(option,...)` of a spec."""

    name: str
    options: tuple[str, ...] = ()

    def has(self, *options: str) -> bool:
        return any(option in self.options for option in options)

    def __str__(self) -> str:
        return f"{self.name}({','.join(self.options)})"


class Origin(Value):
    """Who set a key: the layer, the path inside it, its line there, and the merge rule used."""

    layer: str
    path: KeyPath
    line: int | None
    rule: str
    chain: tuple[str, ...] = ()


class Merged(Value):
    """The result: a plain value, who set which path, and the lines of each layer for exact answers."""

    value: Mapping[object, object]
    origins: Mapping[KeyPath, tuple[Origin, ...]]
    lines: Mapping[str, Mapping[KeyPath, int]]

    def where(self, path: KeyPath) -> tuple[Origin, ...]:
        """Who set `path`: several only where texts were joined. Empty when nobody did."""
        for length in range(len(path), -1, -1):
            found = self.origins.get(path[:length])
            if found is not None:
                return tuple(self._inside(origin, path[length:]) for origin in found)
        return ()

    def below(self, path: KeyPath) -> tuple[KeyPath, ...]:
        """The paths under `path` that somebody set on their own, such as items that were appended."""
        depth = len(path)
        return tuple(at for at in self.origins if len(at) > depth and at[:depth] == path)

    def _inside(self, origin: Origin, rest: KeyPath) -> Origin:
        if not rest:
            return origin
        path = (*origin.path, *rest)
        return origin.replace(path=path, line=line_of(self.lines.get(origin.layer, {}), path))


NOTHING = Merged({}, {}, {})


class Layer(Value):
    """A document to be merged, with what is known about it.

    `header` is the text of a MIME `Merge-Type` header, `chain` the addresses that led to it.
    `merged` is set when the document is itself the result of a merge and has origins of its own.
    """

    name: str
    value: Mapping[object, object]
    lines: Mapping[KeyPath, int] | None = None
    header: str = ""
    chain: tuple[str, ...] = ()
    merged: Merged | None = None

    def origins(self, path: KeyPath, rule: str) -> tuple[Origin, ...]:
        """Where the value at `path` of this layer comes from."""
        if self.merged is not None:
            return self.merged.where(path)
        return (Origin(self.name, path, line_of(self.lines or {}, path), rule, self.chain),)


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int | None:
    """The line of `path`, or of the nearest thing around it that has one."""
    for length in range(len(path), -1, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


def merge_parts(layers: Iterable[Layer]) -> Merged:
    """Parts of user data, in order: each part's own mergers govern how it is put on (2.5).

    Raises BadMergeSpec for the first layer whose spec cannot be followed.
    """
    merged = NOTHING
    for layer in layers:
        merged = put_on(merged, layer, PARTS_RULE)
    return merged


def merge_config(layers: Iterable[Layer]) -> Merged:
    """Configuration sources, highest first: the first one to say something wins (2.6)."""
    merged = NOTHING
    for layer in layers:
        if layer.value:
            merged = put_on(merged, layer, CONFIG_RULE)
    return merged


def put_on(below: Merged, layer: Layer, default: str) -> Merged:
    """`layer` merged onto `below` by its own mergers, else by `default`. Raises BadMergeSpec."""
    value, mergers = own_mergers(layer)
    if not mergers:
        mergers = parse_spec(default, layer.name)
    work = _Work(layer, mergers, below)
    result = work.root(value)
    return Merged(result, work.origins, {**below.lines, **_lines(layer)})


def _lines(layer: Layer) -> Mapping[str, Mapping[KeyPath, int]]:
    if layer.merged is not None:
        return layer.merged.lines
    return {} if layer.lines is None else {layer.name: layer.lines}


def own_mergers(layer: Layer) -> tuple[dict[object, object], tuple[Merger, ...]]:
    """The layer's value without its spec, and its mergers: those of the body, then of the header."""
    value = dict(layer.value)
    spec = None
    for key in SPEC_KEYS:
        spec = value.pop(key, None)
        if spec is not None:
            break
    mergers = () if spec is None else parse_spec(spec, layer.name)
    return value, (*mergers, *parse_spec(layer.header, layer.name))


def parse_spec(spec: object, source: str) -> tuple[Merger, ...]:
    """`dict(replace)+list(append)`, or its list form, as mergers. Raises BadMergeSpec."""
    if isinstance(spec, str):
        words = [word.lower().strip().replace("-", "_") for word in spec.split("+")]
        mergers = tuple(_parse_word(word, source) for word in words if word)
    elif isinstance(spec, (list, tuple)):
        mergers = tuple(_parse_item(item, source) for item in spec)
    else:
        raise BadMergeSpec(f"{source}: merge_how: text or a list is expected. {REMEDY}")
    for merger in mergers:
        if merger.name not in ("dict", "list", "str"):
            raise BadMergeSpec(f"{source}: merge_how: there is no merger {merger.name!r}. {REMEDY}")
    return mergers


REMEDY = "Write it like 'dict(recurse_list)+list(append)', with dict, list and str"


def _parse_word(word: str, source: str) -> Merger:
    name, opened, rest = word.partition("(")
    if not opened or not rest.endswith(")") or not name.isidentifier() or not name.isascii():
        raise BadMergeSpec(f"{source}: merge_how: {word!r} is not a merger. {REMEDY}")
    options = (option.strip() for option in rest[:-1].split(","))
    return Merger(_short(name), tuple(option for option in options if option))


def _parse_item(item: object, source: str) -> Merger:
    if isinstance(item, dict):
        name, options = item.get("name"), item.get("settings")
    elif isinstance(item, (list, tuple)) and item:
        name, options = item[0], list(item[1:])
    else:
        name, options = None, None
    if not isinstance(name, str) or not isinstance(options, (list, tuple, str)):
        raise BadMergeSpec(f"{source}: merge_how: an item needs a name and its settings. {REMEDY}")
    listed = [options] if isinstance(options, str) else options
    return Merger(_short(name.replace("-", "_").strip()), tuple(str(option) for option in listed))


def _short(name: str) -> str:
    return name.removeprefix("m_")


class _Work:
    """One layer on its way onto the value below; `origins` is brought up to date as keys are set."""

    def __init__(self, layer: Layer, mergers: tuple[Merger, ...], below: Merged) -> None:
        self.layer = layer
        self.below = below
        self.origins = dict(below.origins)
        self.rule = "+".join(map(str, mergers))
        self.by_name = {merger.name: merger for merger in reversed(mergers)}

    def root(self, new: dict[object, object]) -> dict[object, object]:
        """The whole result. Without a dict merger everything below stays as it is."""
        below = dict(self.below.value)
        return self._dict(below, new, (), ()) if "dict" in self.by_name else below

    def merge(self, old: object, new: object, path: KeyPath, source: KeyPath) -> object:
        """`new` (at `source` of the layer) onto `old` (at `path` of the result): by the type of `old`."""
        if isinstance(old, dict) and "dict" in self.by_name:
            return self._dict(old, new, path, source)
        if isinstance(old, (list, tuple)) and "list" in self.by_name:
            return self._list(list(old), new, path, source)
        if isinstance(old, str) and "str" in self.by_name:
            return self._str(old, new, path, source)
        return old

    def _dict(
        self, old: dict[object, object], new: object, path: KeyPath, source: KeyPath
    ) -> dict[object, object]:
        merger = self.by_name["dict"]
        if not isinstance(new, dict):
            return old
        result = dict(old)
        for key, value in new.items():
            at, taken = (*path, key), (*source, key)
            if key not in result:
                result[key] = self._take(value, at, taken)
            elif value is None and merger.has("allow_delete"):
                del result[key]
                self._forget(at)
            elif merger.has("replace"):
                result[key] = self._take(value, at, taken)
            elif isinstance(value, dict) or self._recurses(merger, value):
                result[key] = self.merge(result[key], value, at, taken)
        return result

    def _list(self, old: list[object], new: object, path: KeyPath, source: KeyPath) -> object:
        merger = self.by_name["list"]
        method = next((m for m in ("append", "prepend", "replace", "no_replace") if merger.has(m)), "replace")
        if method in ("append", "prepend"):
            return self._concatenate(old, new, path, source, before=method == "prepend")
        if not isinstance(new, (list, tuple)):
            return self._take(new, path, source) if method == "replace" else old
        if method == "no_replace":
            return old
        for i, item in enumerate(new[: len(old)]):
            at, taken = (*path, i), (*source, i)
            if self._recurses(merger, item) or (isinstance(item, dict) and merger.has("recurse_dict")):
                old[i] = self.merge(old[i], item, at, taken)
            else:
                old[i] = self._take(item, at, taken)
        return old

    def _concatenate(
        self, old: list[object], new: object, path: KeyPath, source: KeyPath, *, before: bool
    ) -> list[object]:
        """Both lists as one. A text or mapping counts as the list of its characters or keys (cloud-init)."""
        items = list(new) if isinstance(new, (list, tuple, str, dict)) else [new]
        if before:
            self._shift(path, len(old), len(items))
        first = 0 if before else len(old)
        for i, item in enumerate(items):
            self._take(item, (*path, first + i), (*source, i))
        return [*items, *old] if before else [*old, *items]

    def _str(self, old: str, new: object, path: KeyPath, source: KeyPath) -> object:
        if isinstance(new, str) and self.by_name["str"].has("append"):
            earlier = Merged({}, self.origins, self.below.lines).where(path)
            self.origins[path] = (*earlier, *self.layer.origins(source, self.rule))
            return old + new
        return self._take(new, path, source)

    @staticmethod
    def _recurses(merger: Merger, value: object) -> bool:
        if isinstance(value, (list, tuple)):
            return merger.has("recurse_list", "recurse_array")
        return isinstance(value, str) and merger.has("recurse_str")

    def _take(self, value: object, path: KeyPath, source: KeyPath) -> object:
        """The layer's value as a whole; whatever was known below `path` is no longer true."""
        self._forget(path)
        self.origins[path] = self.layer.origins(source, self.rule)
        if self.layer.merged is not None:
            for inner in self.layer.merged.below(source):
                self.origins[(*path, *inner[len(source) :])] = self.layer.merged.origins[inner]
        return value

    def _forget(self, path: KeyPath) -> None:
        depth = len(path)
        for known in [known for known in self.origins if known[:depth] == path]:
            del self.origins[known]

    def _shift(self, path: KeyPath, count: int, by: int) -> None:
        """The `count` items of the list at `path` move back by `by` places, and their origins with them."""
        depth = len(path)
        before = Merged({}, dict(self.origins), self.below.lines)
        for i in range(count):
            self._forget((*path, i))
        for i in range(count):
            self.origins[(*path, i + by)] = before.where((*path, i))
            for inner in before.below((*path, i)):
                self.origins[(*path, i + by, *inner[depth + 1 :])] = before.origins[inner]


def replaced(
    below: Merged,
    value: Mapping[object, object],
    changed: Iterable[KeyPath],
    layer: str,
    chain: tuple[str, ...],
) -> Merged:
    """`value` in the place of `below`, where a JSON patch called `layer` touched the paths `changed`."""
    origins = dict(below.origins)
    for path in changed:
        top = path[:1]
        for known in [known for known in origins if known[:1] == top]:
            del origins[known]
        if top and top[0] in value:
            origins[top] = (*below.where(top), Origin(layer, path, None, "json-patch", chain))
    return Merged(value, origins, below.lines)
