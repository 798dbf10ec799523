"""`final_message`: say that the boot is over, and write `boot-finished`, the file that scripts wait for.

Source: guest-agent.md 1.9, 3.3.
"""

from __future__ import annotations

from boot_stages.actions import Console, WriteFile, note, warn
from boot_stages.module import Module
from boot_stages.schema import TEXT, Keys, key
from boot_stages.templates import UnknownName, is_jinja, render_basic
from boot_stages.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts

DEFAULT = "Cloud-init v. $version finished at $timestamp. Datasource $datasource.  Up $uptime seconds"


class Config(Keys):
    """Keys of `final_message`."""

    final_message: str = key(
        "The text, with $version, $timestamp, $datasource and $uptime (also in capitals), or jinja.",
        TEXT,
        default="",
    )


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """The message, `boot-finished` in any case, and a warning when no source was found."""
    clock = facts.clock()
    stamp = clock.rfc_2822()
    names: dict[str, object] = {
        "version": VERSION,
        "timestamp": stamp,
        "datasource": facts.cloud.text,
        "uptime": f"{clock.uptime_s:.2f}",
    }
    names.update({name.upper(): value for name, value in names.items()})
    finished = f"{clock.uptime_s:.2f} - {stamp} - v. {VERSION}\n".encode()
    actions: list[Action] = [
        *_message(config.final_message.strip() or DEFAULT, names, facts),
        WriteFile(f"{facts.instance_directory}/boot-finished", finished),
    ]
    if facts.cloud.is_fallback:
        actions.append(warn("Used fallback datasource"))
    return tuple(actions)


def _message(template: str, names: dict[str, object], facts: Facts) -> tuple[Action, ...]:
    try:
        text = facts.render_jinja(template, names) if is_jinja(template) else render_basic(template, names)
    except (UnknownName, ValueError) as error:
        return (warn(f"final_message: {error}. Use $version, $timestamp, $datasource or $uptime"),)
    return (note(text), Console(f"{text}\n"))


MODULE = Module("final_message", Config, plan)
