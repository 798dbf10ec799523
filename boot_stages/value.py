"""Frozen records for the guest side.

`dataclasses` costs a guest 8 ms of import and 0.7 ms a class; a boot of ours costs less than 140 ms in
all. `Value` gives what we use of it (frozen fields, defaults, equality, a readable form) for 10 us a
class, and type checkers treat it as a dataclass. See docs/decisions/0080-values-without-dataclasses.md.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar, dataclass_transform

    Self = TypeVar("Self", bound="Value")
else:

    def dataclass_transform(**_options):
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Value:
    """A frozen record: its fields are the annotations of the class, in order; defaults are class attributes.

    Two values are equal when class and fields are. A class attribute that is a `Default` gives its
    `value` as the default. Raises TypeError for a missing, repeated or unknown field.
    """

    FIELDS: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = [name for name in cls.__annotations__ if name != "FIELDS" and not name.startswith("_")]
        cls.FIELDS = (*cls.FIELDS, *(name for name in own if name not in cls.FIELDS))

    def __init__(self, *args: Any, **fields: Any) -> None:
        names = self.FIELDS
        if len(args) > len(names):
            raise TypeError(f"{type(self).__name__} takes {len(names)} fields, not {len(args)}")
        given = dict(zip(names, args))
        for name, value in fields.items():
            if name in given or name not in names:
                raise TypeError(f"{type(self).__name__}: the field {name!r} is unknown or given twice")
            given[name] = value
        if len(given) < len(names):
            for name in names:
                if name not in given:
                    given[name] = self._default(name)
        self.__dict__.update(given)

    @classmethod
    def _default(cls, name: str) -> object:
        try:
            default = getattr(cls, name)
        except AttributeError:
            raise TypeError(f"{cls.__name__} needs the field {name!r}") from None
        return default.default() if isinstance(default, Default) else default

    def __setattr__(self, name: str, _value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name!r} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name!r} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), tuple(self.__dict__[name] for name in self.FIELDS)))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self.FIELDS)
        return f"{type(self).__name__}({fields})"

    def replace(self: Self, **changes: object) -> Self:
        """The same record with some fields changed."""
        return type(self)(**{**self.__dict__, **changes})


class Default:
    """A class attribute that stands for a default, with more to say about the field than its value."""

    def default(self) -> object:
        """The default value. Raises TypeError where the field has none."""
        raise NotImplementedError


class Secret:
    """Bytes that print as `***`; `.reveal()` is the one way to them and easy to search for."""

    __slots__ = ("_hidden",)

    def __init__(self, hidden: bytes | str) -> None:
        self._hidden = hidden.encode() if isinstance(hidden, str) else hidden

    def reveal(self) -> bytes:
        """The bytes themselves."""
        return self._hidden

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._hidden == self._hidden

    def __hash__(self) -> int:
        return hash(self._hidden)

    def __repr__(self) -> str:
        return "***"
