"""Reading a network document, key by key, leniently in form and strictly in meaning.

A `Reader` stands at one place of the document and knows its path. What is wrong is collected, not raised,
so that one look names every fault. The values it hands out are plain: str, int, bool, tuples, further
Readers.
"""

from __future__ import annotations

from guest_agent.network.errors import Fault, InvalidNetwork
from guest_agent.network.model import Note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TRUE_WORDS = {"true", "1", "on", "yes"}


class Findings:
    """Collects what is wrong (faults) and what is worth a line in the log (notes) while a document is read.

    Version 2 is netplan's own format: what only netplan can take is kept apart, and counts with other
    renderers.
    """

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.notes: list[Note] = []
        self.refused_outside_netplan: list[Fault] = []
        self.lost_outside_netplan: list[Note] = []

    def fault(self, path: str, what: str, remedy: str) -> None:
        self.faults.append(Fault(path, what, remedy))

    def warn(self, text: str) -> None:
        self._note(Note("WARNING", text))

    def refuse_outside_netplan(self, path: str, what: str, remedy: str) -> None:
        self.refused_outside_netplan.append(Fault(path, what, remedy))

    def lose_outside_netplan(self, text: str) -> None:
        self.lost_outside_netplan.append(Note("WARNING", text))

    def deprecate(self, text: str) -> None:
        self._note(Note("DEPRECATED", text))

    def _note(self, note: Note) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def raise_faults(self) -> None:
        """Raises InvalidNetwork if there is any fault."""
        if self.faults:
            raise InvalidNetwork(tuple(self.faults))


class Reader:
    """A mapping of the document at `path`; what is absent, null or empty reads as absent."""

    def __init__(self, value: object, path: str, findings: Findings) -> None:
        self.path = path
        self.findings = findings
        self.value: Mapping[str, object] = {}
        if isinstance(value, dict):
            self.value = value
        elif value is not None:
            findings.fault(path, "a map is expected", "Write 'key: value' pairs")

    def place(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def has(self, key: str) -> bool:
        """Is the key there with something in it? False and 0 count as something, null and empty do not."""
        return self.value.get(key) not in (None, "", [], {})

    def get(self, key: str) -> object:
        return self.value.get(key)

    def names(self) -> tuple[str, ...]:
        return tuple(str(key) for key in self.value)

    def text(self, key: str, default: str = "") -> str:
        value = self.value.get(key)
        if value is None:
            return default
        if isinstance(value, (dict, list)):
            self.findings.fault(self.place(key), "one value is expected", "Write a single word")
            return default
        return str(value)

    def whole(self, key: str, low: int = 0, high: int = 2**32 - 1) -> int | None:
        """The number at `key`, between `low` and `high`, or None."""
        value = self.value.get(key)
        if value in (None, ""):
            return None
        try:
            number = int(str(value), 10)
        except ValueError:
            self.findings.fault(self.place(key), f"{value!r} is not a whole number", "Write digits only")
            return None
        if isinstance(value, bool) or not low <= number <= high:
            self.findings.fault(
                self.place(key), f"{value} is not between {low} and {high}", "Correct it or leave it out"
            )
            return None
        return number

    def mtu(self) -> int | None:
        """`mtu` in bytes; 0 is allowed because clouds send it for "not set", 1 to 67 carry no IP."""
        number = self.whole("mtu", 0, 65536)
        if number is not None and 0 < number < 68:
            self.findings.fault(
                self.place("mtu"), f"{number} is too small for IP", "Use 68 or more, 1280 for IPv6"
            )
            return None
        return number

    def truth(self, key: str) -> bool | None:
        """A boolean in any of the words YAML 1.1 users write, or None where the key is absent."""
        value = self.value.get(key)
        if value is None:
            return None
        return value if isinstance(value, bool) else str(value).strip().lower() in TRUE_WORDS

    def strings(self, key: str, *, words: bool = False) -> tuple[str, ...]:
        """A list of strings; a single string counts as a list of one, or of its words."""
        value = self.value.get(key)
        if value in (None, "", []):
            return ()
        if isinstance(value, (list, tuple)):
            return tuple(str(one) for one in value if one not in (None, ""))
        return tuple(str(value).split()) if words else (str(value),)

    def address(self, key: str) -> str:
        """A bare IP address, "" where absent."""
        value = self.text(key)
        if not value:
            return ""
        from guest_agent.network import addresses

        if "/" in value or not addresses.family(value):
            self.findings.fault(
                self.place(key), f"{value!r} is not an IP address", "Write it without a prefix"
            )
            return ""
        return value

    def child(self, key: str) -> Reader:
        return Reader(self.value.get(key), self.place(key), self.findings)

    def named(self, key: str = "") -> Iterator[tuple[str, Reader]]:
        """The members of a map of maps, each with its name."""
        inside = self.child(key) if key else self
        for name, value in inside.value.items():
            yield str(name), Reader(value, inside.place(str(name)), self.findings)

    def items(self, key: str) -> Iterator[Reader]:
        """The members of a list of maps."""
        value = self.value.get(key)
        if value is None:
            return
        if not isinstance(value, list):
            self.findings.fault(self.place(key), "a list is expected", "Begin each entry with '- '")
            return
        for index, one in enumerate(value):
            yield Reader(one, f"{self.place(key)}[{index}]", self.findings)
