"""Keys of cloud-config, declared once: decoder, JSON schema and reference page come from the declaration.

A module's `Config` is a `Keys` class whose fields are made by `key(text, kind, default=...)`. A `Kind`
knows two things: the JSON schema it stands for (strict: what `cloud-init schema` says) and how a value is
read (lenient: what a boot does with it, as cloud-init's modules do). Source: guest-agent.md sections 0, 5.4.
"""

from __future__ import annotations

from boot_stages.value import Default, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Generic, TypeVar, dataclass_transform

    T = TypeVar("T")
    T_co = TypeVar("T_co", covariant=True)
    U = TypeVar("U")
    K = TypeVar("K", bound="Keys")
    Schema = dict[str, Any]

    class _Typed(Generic[T_co]):
        pass
else:
    T_co = None

    class _Typed:
        """Stands for typing.Generic[T], which costs an import."""

        def __class_getitem__(cls, _item):
            return cls

    def dataclass_transform(**_options):
        return lambda cls: cls


TRUE_WORDS = ("true", "1", "on", "yes")
FALSE_WORDS = ("false", "0", "off", "no")


class Fault(Value):
    """One thing wrong with a document: where (`users[0].name`), what is wrong, what to do."""

    path: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.what}." + (f" {self.remedy}." if self.remedy else "")


class Undecodable(Exception):
    """A value that no reading rule of its kind takes; holds the faults."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults


class Kind(_Typed[T_co]):
    """What a key may hold: its JSON schema, and `read(value, path, faults)` which gives the typed value.

    `read` raises Undecodable when there is no good reading, and adds to `faults` what it had to leave out.
    """

    __slots__ = ("_schema", "read")

    def __init__(
        self, schema: Schema | Callable[[], Schema], read: Callable[[object, str, list[Fault]], T_co]
    ) -> None:
        self._schema = schema
        self.read = read

    def schema(self) -> Schema:
        """The JSON schema (draft 4) of this kind."""
        return dict(self._schema() if callable(self._schema) else self._schema)


def _name(value: object) -> str:
    return {dict: "a map", list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(
        type(value), "a number"
    )


def wrong(path: str, expected: str, value: object, remedy: str = "") -> Undecodable:
    """The error for a value of another type than `expected`; never holds the value itself."""
    return Undecodable(Fault(path, f"{expected} is expected, not {_name(value)}", remedy))


def _read_text(value: object, path: str, _faults: list[Fault]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise wrong(path, "a text", value)


def _read_bool(value: object, path: str, _faults: list[Fault]) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise wrong(path, "true or false", value, "Write true or false, without quotes")


def _read_int(value: object, path: str, _faults: list[Fault]) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lstrip("-").isdigit():
        return int(value)
    raise wrong(path, "a whole number", value)


TEXT: Kind[str] = Kind({"type": "string"}, _read_text)
BOOL: Kind[bool] = Kind({"type": "boolean"}, _read_bool)
INT: Kind[int] = Kind({"type": "integer"}, _read_int)
ANY: Kind[object] = Kind({}, lambda value, _path, _faults: value)


def text(**limits: Any) -> Kind[str]:
    """A text with JSON schema limits (`minLength`, `pattern`, `format`)."""
    return Kind({"type": "string", **limits}, _read_text)


def integer(**limits: Any) -> Kind[int]:
    """A whole number with JSON schema limits (`minimum`, `maximum`)."""
    return Kind({"type": "integer", **limits}, _read_int)


def one_of(*words: str | int | bool) -> Kind[str]:
    """One of a few words; booleans among them are read as `true` and `false`."""

    def read(value: object, path: str, faults: list[Fault]) -> str:
        given = _read_text(value, path, faults)
        for word in words:
            if _read_text(word, path, faults) == given:
                return given
        choices = ", ".join(_read_text(word, path, faults) for word in words)
        raise Undecodable(Fault(path, "this word is not known", f"Use one of: {choices}"))

    return Kind({"enum": list(words)}, read)


def list_of(item: Kind[T], *, keep_good: bool = False, **limits: Any) -> Kind[tuple[T, ...]]:
    """A list. With `keep_good` a bad item is a fault and the others stay; else it refuses the list."""

    def read(value: object, path: str, faults: list[Fault]) -> tuple[T, ...]:
        if not isinstance(value, (list, tuple)):
            raise wrong(path, "a list", value, "Write each item on its own line, after '- '")
        good: list[T] = []
        bad: list[Fault] = []
        for index, each in enumerate(value):
            try:
                good.append(item.read(each, f"{path}[{index}]", faults))
            except Undecodable as error:
                bad.extend(error.faults)
        if bad and not keep_good:
            raise Undecodable(*bad)
        faults.extend(bad)
        return tuple(good)

    return Kind(lambda: {"type": "array", "items": item.schema(), **limits}, read)


def map_of(item: Kind[T], **limits: Any) -> Kind[Mapping[str, T]]:
    """A map from any name to `item`."""

    def read(value: object, path: str, faults: list[Fault]) -> Mapping[str, T]:
        if not isinstance(value, dict):
            raise wrong(path, "a map", value, "Write 'name: value' lines below it")
        return {str(name): item.read(each, f"{path}.{name}", faults) for name, each in value.items()}

    return Kind(lambda: {"type": "object", "additionalProperties": item.schema(), **limits}, read)


def either(first: Kind[T], second: Kind[U], combine: str = "oneOf") -> Kind[T | U]:
    """One kind or the other: the first whose schema takes the value, else the first that can read it."""

    def read(value: object, path: str, faults: list[Fault]) -> T | U:
        from boot_stages.validate import faults_of

        for kind in (first, second):
            if not faults_of(value, kind.schema()):
                return kind.read(value, path, faults)
        try:
            return first.read(value, path, faults)
        except Undecodable:
            return second.read(value, path, faults)

    return Kind(lambda: {combine: [first.schema(), second.schema()]}, read)


def nullable(kind: Kind[T]) -> Kind[T | None]:
    """`kind`, or null."""

    def schema() -> Schema:
        inner = kind.schema()
        types = inner.get("type")
        if isinstance(types, str):
            return {**inner, "type": [types, "null"]}
        return {"anyOf": [inner, {"type": "null"}]}

    return Kind(schema, lambda value, path, faults: None if value is None else kind.read(value, path, faults))


def with_schema(kind: Kind[T], schema: Schema) -> Kind[T]:
    """`kind` as it is read, under a schema written out (where cloud-init's own is odd)."""
    return Kind(schema, kind.read)


def deprecated(schema: Schema, instead: str) -> Schema:
    """A schema that still takes a value, and says what to write instead."""
    return {**schema, "deprecated": True, "deprecated_description": instead}


def record(keys: type[K], **limits: Any) -> Kind[K]:
    """A map with the keys of `keys`. The schema refuses unknown names unless `additionalProperties`."""

    def read(value: object, path: str, faults: list[Fault]) -> K:
        if not isinstance(value, dict):
            raise wrong(path, "a map", value, "Write 'name: value' lines below it")
        return keys.read(value, path, faults)

    return Kind(lambda: {**keys.schema(), **limits}, read)


class Key(Default):
    """The declaration of one key: what it means, its kind, default, other spellings and old ones."""

    __slots__ = ("aliases", "deprecated", "kind", "name", "old", "required", "spelling", "text", "value")

    def __init__(
        self,
        text: str,
        kind: Kind[Any],
        value: object,
        required: bool,
        aliases: Sequence[str],
        old: Sequence[str],
        deprecated: str,
        spelling: str,
    ) -> None:
        self.text = text
        self.kind = kind
        self.value = value
        self.required = required
        self.aliases = tuple(aliases)
        self.old = tuple(old)
        self.spelling = spelling
        self.deprecated = deprecated

    def default(self) -> object:
        """The value of the key when it is absent."""
        return self.value

    def spellings(self) -> tuple[str, ...]:
        """The name and every other one that is read, in the order in which they are looked for."""
        return (self.spelling or self.name, *self.aliases, *self.old)

    def schemas(self) -> dict[str, Schema]:
        """The JSON schema of each spelling; old ones say what to use instead."""
        inner = {"description": self.text, **self.kind.schema()}
        if isinstance(self.value, (bool, int, str)) and self.value != "":
            inner.setdefault("default", self.value)
        if self.deprecated:
            inner.update(deprecated=True, deprecated_description=self.deprecated)
        instead = {
            "deprecated": True,
            "deprecated_description": f"Use '{self.spelling or self.name}' instead.",
        }
        return {name: {**inner, **instead} if name in self.old else inner for name in self.spellings()}

    def __set_name__(self, _owner: type, name: str) -> None:
        self.name = name


def key(
    text: str,
    kind: Kind[T],
    *,
    default: T,
    required: bool = False,
    aliases: Sequence[str] = (),
    old: Sequence[str] = (),
    deprecated: str = "",
    spelling: str = "",
) -> T:
    """Declare a key of a `Keys` class.

    `required` makes the schema refuse a map without it (a boot uses `default` and the module decides).
    `aliases` are other spellings that are read, `old` ones are deprecated; `deprecated` says what to use
    instead of the key as a whole. `spelling` is the key in the document, where that is no name of Python.
    """
    # A Default: what a record holds is its value, of the type T.
    return Key(  # type: ignore[return-value]
        text,
        kind,
        value=default,
        required=required,
        aliases=aliases,
        old=old,
        deprecated=deprecated,
        spelling=spelling,
    )


@dataclass_transform(frozen_default=True, field_specifiers=(key,))
class Keys(Value):
    """A map of cloud-config with known keys; subclasses declare them with `key`."""

    KEYS: tuple[Key, ...] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.FIELDS = tuple(name for name in cls.FIELDS if name != "KEYS")
        cls.KEYS = tuple(getattr(cls, name) for name in cls.FIELDS)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Every spelling of every key."""
        return tuple(name for each in cls.KEYS for name in each.spellings())

    @classmethod
    def read(cls: type[K], document: Mapping[str, object], path: str, faults: list[Fault]) -> K:
        """The typed keys of a map; null means the default. Raises Undecodable with every bad key."""
        given: dict[str, Any] = {}
        bad: list[Fault] = []
        for each in cls.KEYS:
            spelling = next((name for name in each.spellings() if name in document), None)
            if spelling is None or document[spelling] is None:
                continue
            try:
                given[each.name] = each.kind.read(
                    document[spelling], f"{path}.{spelling}" if path else spelling, faults
                )
            except Undecodable as error:
                bad.extend(error.faults)
        if bad:
            raise Undecodable(*bad)
        return cls(**given)

    @classmethod
    def schema(cls) -> Schema:
        """The JSON schema of the map."""
        properties: Schema = {}
        for each in cls.KEYS:
            properties.update(each.schemas())
        schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
        required = [each.spellings()[0] for each in cls.KEYS if each.required]
        return {**schema, "required": required} if required else schema
