"""The basic template language: `$name`, `${name}`, `${a.b}`. Source: guest-agent.md 2.3.

Jinja is the agent's matter (it runs in a limited child); modules reach it through `facts.render_jinja`.
"""

from __future__ import annotations

import re

from boot_stages.errors import ModuleFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from boot_stages.facts import Facts

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


# Templates that an image carries; modules have their own text where it has none. Source: guest-agent.md 1.10.

DIRECTORY = "/etc/cloud/templates"


def image_template(names: Sequence[str], values: Mapping[str, object], facts: Facts) -> str | None:
    """The first template of these names that the image has, rendered; None when it has none of them.

    Raises ModuleFailed with the file and what is wrong in it.
    """
    for name in names:
        path = f"{DIRECTORY}/{name}.tmpl"
        text = facts.read_text(path)
        if text is not None:
            return render(text, values, facts, path)
    return None


def render(template: str, values: Mapping[str, object], facts: Facts, what: str) -> str:
    """A template in jinja (by its first line) or in the basic language. Raises ModuleFailed."""
    try:
        return facts.render_jinja(template, values) if is_jinja(template) else render_basic(template, values)
    except (UnknownName, ValueError) as error:
        raise ModuleFailed(f"{what}: {error}") from error
