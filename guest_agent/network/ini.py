"""Sections of `Key=value` lines, as systemd's and NetworkManager's files have them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def worded(value: object) -> str:
    """Booleans as systemd words them."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


class Sections:
    """systemd's form: plain sections hold each line once, grouped ones are repeated, once for each group."""

    def __init__(self) -> None:
        self._plain: dict[str, list[str]] = {}
        self._groups: dict[str, list[tuple[str, ...]]] = {}

    def add(self, section: str, key: str, value: object) -> None:
        """A line; None says nothing."""
        if value is None:
            return
        lines = self._plain.setdefault(section, [])
        line = f"{key}={worded(value)}"
        if line not in lines:
            lines.append(line)

    def add_group(self, section: str, pairs: Iterable[tuple[str, object]]) -> None:
        """A section of its own; one that is there already is not repeated."""
        lines = tuple(sorted(f"{key}={worded(value)}" for key, value in pairs if value is not None))
        groups = self._groups.setdefault(section, [])
        if lines and lines not in groups:
            groups.append(lines)

    def text(self) -> str:
        """The sections by name, lines sorted, an empty line between."""
        blocks: list[str] = []
        for section in sorted((*self._plain, *self._groups)):
            groups = self._groups.get(section) or [tuple(sorted(self._plain.get(section, ())))]
            blocks.extend("\n".join((f"[{section}]", *lines)) + "\n" for lines in groups if lines)
        return "\n".join(blocks)
