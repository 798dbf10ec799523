"""`runcmd`: commands that run once, in the final stage.

This module only writes scripts; `scripts_user` runs them with the other user scripts, in the order of their
names. `scripts/runcmd` is the commands as they are. What is run in its place is `runcmd-checked`, which fails
if any command failed; `runcmd_status: last` in the image's cloud.cfg keeps cloud-init's way, where only the
last one counts. Source: guest-agent.md 3.3; issue "Boot stages", tell the truth.
"""

from __future__ import annotations

from boot_stages.actions import WriteFile
from boot_stages.module import Module
from boot_stages.schema import Keys, key
from boot_stages.shell_script import (
    SHELL_ITEMS_OR_NULL,
    STATUS_KEY,
    checked_path,
    checked_script,
    shell_script,
)

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
    """The scripts, unless they are already there as wanted."""
    scripts = {f"{facts.instance_directory}/scripts/runcmd": shell_script(config.runcmd)}
    if facts.system.get(STATUS_KEY) != "last":
        scripts[checked_path(facts)] = checked_script(config.runcmd)
    return tuple(
        WriteFile(path, script, 0o700)
        for path, script in scripts.items()
        if facts.read_bytes(path) != script or facts.mode(path) != 0o700
    )


MODULE = Module("runcmd", Config, plan)
