"""The basic template language: `$name`, `${name}`, `${a.b}`. Source: guest-agent.md 2.3.

Jinja is the agent's matter (it runs in a limited child); modules reach it through `facts.render_jinja`.
"""

from __future__ import annotations

from boot_stages.errors import ModuleFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from boot_stages.facts import Facts

JINJA_HEADER = r"##\s*template:\s*jinja\s*(?:\n|$)"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_."


class UnknownName(Exception):
    """A template asks for a name that nobody gave."""


def is_jinja(template: str) -> bool:
    """Whether the first line says that the text is a jinja template."""
    if not template.startswith("##"):
        return False
    import re  # for the few that may be; every boot comes by here

    return re.match(JINJA_HEADER, template, re.IGNORECASE) is not None


def render_basic(template: str, names: Mapping[str, object]) -> str:
    """Replace the names; dotted ones walk into maps. Raises UnknownName."""
    first, *rest = template.split("$")
    return first + "".join(_replaced(piece, names) for piece in rest)


def _replaced(piece: str, names: Mapping[str, object]) -> str:
    """What stands between two dollars, the name at its beginning replaced; a dollar without a name stays."""
    if piece.startswith("{"):
        whole, brace, after = piece[1:].partition("}")
        if not brace or whole.strip(LETTERS):
            return f"${piece}"
    else:
        after = piece.lstrip(LETTERS)
        whole = piece[: len(piece) - len(after)]
    return f"{_value_of(whole, names)}{after}" if whole else f"${piece}"


def _value_of(whole: str, names: Mapping[str, object]) -> str:
    # `$name.` at the end of a sentence is the name and a full stop.
    name = whole.rstrip(".")
    value: object = names
    for step in name.split("."):
        if not isinstance(value, dict) or step not in value:
            raise UnknownName(f"the name {name!r} is not known")
        value = value[step]
    return f"{value}{whole[len(name) :]}"


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
