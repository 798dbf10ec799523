"""`runcmd`: commands that run once, in the final stage.

This module only writes the script; `scripts_user` runs it with the other user scripts, in the order of
their names. Source: guest-agent.md 3.3.
"""

from __future__ import annotations

from boot_stages.actions import WriteFile
from boot_stages.module import Module
from boot_stages.schema import Keys, key
from boot_stages.shell_script import SHELL_ITEMS_OR_NULL, shell_script

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts
    from boot_stages.shell_script import ShellItem


class Config(Keys):
    """Keys of `runcmd`."""

    runcmd: tuple[ShellItem, ...] = key(
        "Commands: a text is a line of shell, a list is one command word by word; null is skipped.",
        SHELL_ITEMS_OR_NULL,
        default=(),
    )


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """The script, unless it is already there as wanted."""
    path = f"{facts.instance_directory}/scripts/runcmd"
    script = shell_script(config.runcmd)
    if facts.read_bytes(path) == script and facts.mode(path) == 0o700:
        return ()
    return (WriteFile(path, script, 0o700),)


MODULE = Module("runcmd", Config, plan)
