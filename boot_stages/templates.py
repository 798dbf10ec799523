"""The basic template language: `$name`, `${name}`, `${a.b}`. Source: guest-agent.md 2.3.

Jinja is the agent's matter (it runs in a limited child); modules reach it through `facts.render_jinja`.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

JINJA_HEADER = re.compile(r"##\s*template:\s*jinja\s*(?:\n|$)", re.IGNORECASE)
_NAME = re.compile(r"\$\{([A-Za-z0-9_.]+)\}|\$([A-Za-z0-9_.]+)")


class UnknownName(Exception):
    """A template asks for a name that nobody gave."""


def is_jinja(template: str) -> bool:
    """Whether the first line says that the text is a jinja template."""
    return JINJA_HEADER.match(template) is not None


def render_basic(template: str, names: Mapping[str, object]) -> str:
    """Replace the names; dotted ones walk into maps. Raises UnknownName."""

    def replace(found: re.Match[str]) -> str:
        whole = found.group(1) or found.group(2)
        # `$name.` at the end of a sentence is the name and a full stop.
        name = whole.rstrip(".")
        value: object = names
        for step in name.split("."):
            if not isinstance(value, dict) or step not in value:
                raise UnknownName(f"the name {name!r} is not known")
            value = value[step]
        return f"{value}{whole[len(name) :]}"

    return _NAME.sub(replace, template)
