"""Templates that an image carries in /etc/cloud/templates; modules have their own text where it has none.

Source: guest-agent.md 1.10 (templates), 3.3.
"""

from __future__ import annotations

from boot_stages.errors import ModuleFailed
from boot_stages.templates import UnknownName, is_jinja, render_basic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from boot_stages.facts import Facts

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
