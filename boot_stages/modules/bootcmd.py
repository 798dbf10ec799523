"""`bootcmd`: commands that run on every boot, before almost everything else.

They become one sh script; its exit status is that of its last command. Source: guest-agent.md 3.3.
"""

from __future__ import annotations

from boot_stages.actions import GO_ON, Remove, RunCommand, WriteFile
from boot_stages.module import Module
from boot_stages.schema import Keys, key
from boot_stages.shell_script import SHELL_ITEMS, shell_script

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts
    from boot_stages.shell_script import ShellItem


SCRIPT = "/run/cloud-init/tmp/bootcmd"


class Config(Keys):
    """Keys of `bootcmd`."""

    bootcmd: tuple[ShellItem, ...] = key(
        "Commands: a text is a line of shell, a list is one command word by word.", SHELL_ITEMS, default=()
    )


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """The script in a file of its own for as long as it runs: the commands' standard input is theirs."""
    return (
        WriteFile(SCRIPT, shell_script(config.bootcmd), 0o700),
        RunCommand(
            ("/bin/sh", SCRIPT),
            environment=(("INSTANCE_ID", facts.cloud.instance_id),),
            show=True,
            name="bootcmd",
            on_failure=GO_ON,
            opaque=True,
        ),
        Remove(SCRIPT),
    )


MODULE = Module("bootcmd", Config, plan)
