"""`bootcmd`: commands that run on every boot, before almost everything else.

They become one sh script; its exit status is that of its last command. Source: guest-agent.md 3.3.
"""

from __future__ import annotations

from boot_stages.actions import RunCommand
from boot_stages.module import Module
from boot_stages.schema import Keys, key
from boot_stages.shell_script import SHELL_ITEMS, shell_script

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts
    from boot_stages.shell_script import ShellItem


class Config(Keys):
    """Keys of `bootcmd`."""

    bootcmd: tuple[ShellItem, ...] = key(
        "Commands: a text is a line of shell, a list is one command word by word.", SHELL_ITEMS, default=()
    )


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """One command: sh reads the script from its standard input, so that no file is left behind."""
    return (
        RunCommand(
            ("/bin/sh", "-s"),
            stdin=shell_script(config.bootcmd),
            environment=(("INSTANCE_ID", facts.cloud.instance_id),),
            show=True,
            name="bootcmd",
            opaque=True,
        ),
    )


MODULE = Module("bootcmd", Config, plan)
