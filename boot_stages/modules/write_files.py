"""`write_files`: write files with given content, owner and mode, before users and packages are there.

Items with `defer: true` wait for `write_files_deferred` in the final stage. Source: guest-agent.md 3.3.
"""

from __future__ import annotations

from boot_stages.file_items import FILE_ITEMS, plan_files
from boot_stages.module import Module
from boot_stages.schema import Keys, key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts
    from boot_stages.file_items import FileItem


class Config(Keys):
    """Keys of `write_files`; `write_files_deferred` reads the same."""

    write_files: tuple[FileItem, ...] = key("The files, written in this order.", FILE_ITEMS, default=())


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """Write the items that do not wait."""
    return plan_files(tuple(item for item in config.write_files if not item.defer), facts)


MODULE = Module("write_files", Config, plan)
