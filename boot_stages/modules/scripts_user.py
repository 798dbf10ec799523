"""`scripts_user`: run the scripts of the user data, and the one that `runcmd` wrote, in the final stage.

All of them run, in the order of their names; the module fails at the end if any failed.
Source: guest-agent.md 3.3.
"""

from __future__ import annotations

from boot_stages.module import Module
from boot_stages.run_parts import run_parts
from boot_stages.schema import Keys
from boot_stages.shell_script import STATUS_KEY, checked_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts


class Config(Keys):
    """`scripts_user` reads no keys."""


def plan(_config: Config, facts: Facts) -> tuple[Action, ...]:
    """The scripts that are there when the module has its turn."""
    checked = checked_path(facts)
    use_checked = facts.system.get(STATUS_KEY) != "last" and facts.is_executable(checked)
    instead = {"runcmd": checked} if use_checked else {}
    return run_parts(f"{facts.instance_directory}/scripts", facts, instead=instead)


MODULE = Module("scripts_user", Config, plan)
