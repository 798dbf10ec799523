"""`write_files_deferred`: write the items of `write_files` that say `defer: true`, in the final stage.

Source: guest-agent.md 3.3.
"""

from __future__ import annotations

from boot_stages.file_items import plan_files
from boot_stages.module import Module
from boot_stages.modules.write_files import Config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """Write the items that have waited."""
    return plan_files(tuple(item for item in config.write_files if item.defer), facts)


MODULE = Module("write_files_deferred", Config, plan)
