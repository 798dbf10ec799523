"""`disk_setup`: partition tables and file systems on data disks.

A disk that holds anything is left alone unless `overwrite` says otherwise. Source: guest-agent.md 3.3.
"""

from __future__ import annotations

from boot_stages.actions import RunCommand, warn
from boot_stages.disk_tables import DiskKeys, table_actions
from boot_stages.disks import cloud_device
from boot_stages.file_systems import FileSystemKeys, file_system_actions
from boot_stages.module import Module
from boot_stages.schema import TEXT, Keys, Kind, key, list_of, map_of, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from boot_stages.actions import Action
    from boot_stages.facts import Facts


def _by_name(keys: object, pattern: dict[str, object]) -> dict[str, object]:
    return {"type": "object", "patternProperties": {"^.+$": keys}, **pattern}


_DISKS: Kind[Mapping[str, DiskKeys]] = Kind(
    lambda: _by_name(DiskKeys.schema(), {"additionalProperties": False}), map_of(record(DiskKeys)).read
)
_ALIASES: Kind[Mapping[str, str]] = Kind(
    _by_name({"type": "string"}, {"additionalProperties": False}), map_of(TEXT).read
)


class Config(Keys):
    """Keys of `disk_setup`."""

    device_aliases: Mapping[str, str] = key("Names of one's own for devices.", _ALIASES, default={})
    disk_setup: Mapping[str, DiskKeys] = key("Partition tables, by device.", _DISKS, default={})
    fs_setup: tuple[FileSystemKeys, ...] = key(
        "File systems.", list_of(record(FileSystemKeys), keep_good=True), default=()
    )


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """Tables first, then file systems; each trouble is a warning of its own."""
    actions: list[Action] = []
    fresh: dict[str, int] = {}
    for name, disk in config.disk_setup.items():
        device = cloud_device(name, config.device_aliases, facts)
        if device is None:
            actions.append(warn(f"disk_setup.{name}: there is no such device"))
        else:
            table = table_actions(device, disk, facts)
            if any(isinstance(action, RunCommand) for action in table):
                fresh[device] = len(disk.layout.shares)
            actions.extend(table)
    for number, system in enumerate(config.fs_setup):
        device = cloud_device(system.device, config.device_aliases, facts)
        if device is None:
            actions.append(warn(f"fs_setup[{number}]: there is no device {system.device!r}"))
        else:
            actions.extend(file_system_actions(device, system, facts, fresh.get(device, 0)))
    return tuple(actions)


MODULE = Module("disk_setup", Config, plan)
