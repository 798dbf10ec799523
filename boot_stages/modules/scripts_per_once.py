"""`scripts_per_once`: run what the image has in scripts/per-once, once in the life of the disk.

Source: guest-agent.md 3.3.
"""

from __future__ import annotations

from boot_stages.module import Module
from boot_stages.run_parts import run_parts
from boot_stages.schema import Keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts


class Config(Keys):
    """`scripts_per_once` reads no keys."""


def plan(_config: Config, facts: Facts) -> tuple[Action, ...]:
    """The scripts that are there when the module has its turn."""
    return run_parts("/var/lib/cloud/scripts/per-once", facts)


MODULE = Module("scripts_per_once", Config, plan)
