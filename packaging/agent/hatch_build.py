# ruff: noqa: INP001 -- loaded by hatchling by its path
"""Says which files the distribution guestling-agent is made of, in the source tree and in its own sdist."""

from __future__ import annotations

from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = ("boot_stages", "guest_agent")
# What configdrive.reader needs; a test holds the list complete.
CONFIGDRIVE = (
    "__init__", "directory_reader", "envelope", "errors", "harvest", "iso9660_reader", "iso9660_records",
    "reader", "rock_ridge", "source", "vfat_names", "vfat_reader",
)  # fmt: skip


class AgentSources(BuildHookInterface):
    """Adds the packages to a wheel, and to an sdist so that a wheel can be built from it."""

    def initialize(self, _version: str, build_data: dict) -> None:
        """Called by hatchling before it packs."""
        here = Path(self.root)
        tree = here if (here / "guest_agent").is_dir() else here.parents[1]
        names = [*PACKAGES, *(f"configdrive/{name}.py" for name in CONFIGDRIVE)]
        if self.target_name == "sdist":
            names.append("LICENSE")
        build_data["force_include"].update({str(tree / name): name for name in names})
