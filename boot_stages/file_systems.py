"""File systems of `fs_setup`: on which device, whether it is there already, and mkfs.

Source: guest-agent.md 3.3 (fs_setup).
"""

from __future__ import annotations

from boot_stages.actions import WARN, RunCommand, note, warn
from boot_stages.disk_tables import SETTLE
from boot_stages.disks import Probe, partition_path, partitions, probe
from boot_stages.schema import BOOL, TEXT, Keys, Kind, key, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts
    from boot_stages.schema import Fault

# How mkfs is told a label, and to go on although something is there.
LABEL_OPTIONS = {"vfat": "-n", "fat": "-n", "f2fs": "-l", "exfat": "-L"}
FORCE_OPTIONS = {
    "btrfs": "-f",
    "xfs": "-f",
    "f2fs": "-f",
    "swap": "-f",
    "ext2": "-F",
    "ext3": "-F",
    "ext4": "-F",
}


def _read_words(value: object, path: str, _faults: list[Fault]) -> tuple[str, ...] | str:
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return tuple(str(word) for word in value)
    raise wrong(path, "a text or a list", value)


_WORDS: Kind[tuple[str, ...] | str] = Kind(
    {"type": ["array", "string"], "items": {"type": "string"}}, _read_words
)
_PARTITION: Kind[str] = Kind(
    {"type": ["string", "integer"], "oneOf": [{"type": "string", "enum": ["auto", "any", "none"]}]}, TEXT.read
)


class FileSystemKeys(Keys):
    """One file system of `fs_setup`."""

    label: str = key("Its label.", TEXT, default="")
    filesystem: str = key("Its type, as in mkfs.TYPE.", TEXT, default="")
    device: str = key("The disk: a path, an alias, or ephemeral0.1.", TEXT, default="")
    partition: str = key("auto, any, none, or a number.", _PARTITION, default="none")
    overwrite: bool = key("Make it although there is another file system.", BOOL, default=False)
    replace_fs: str = key("Make it in place of a file system of this type.", TEXT, default="")
    extra_opts: tuple[str, ...] | str = key("Further options of mkfs.", _WORDS, default=())
    cmd: tuple[str, ...] | str = key(
        "The command instead of mkfs, with %(label)s, %(filesystem)s and %(device)s.", _WORDS, default=""
    )


def file_system_actions(
    device: str, keys: FileSystemKeys, facts: Facts, fresh: int = 0
) -> tuple[Action, ...]:
    """mkfs for one item; none where it is there, a refusal where something else is.

    `fresh` is how many partitions the device will have got by then: they are empty, and not there to ask yet.
    """
    if not keys.filesystem:
        return (warn(f"fs_setup: {device}: no 'filesystem' is given: it is left out"),)
    found = _probed(device, facts, fresh)
    target = _target(device, keys, found)
    if target is None:
        return (warn(f"fs_setup: {device}: no partition is free for {keys.filesystem}: it is left out"),)
    there = found[target] if target in found else probe(target, facts)
    if there.kind == keys.filesystem and there.label == keys.label and not keys.overwrite:
        return (note(f"fs_setup: {target} has this file system already"),)
    may_replace = keys.overwrite or (there.kind and there.kind == keys.replace_fs)
    if not there.is_empty and not may_replace:
        what = there.kind or f"a {there.table} partition table"
        text = f"fs_setup: {target} holds {what} and is left alone. Write 'overwrite: true' to lose it"
        return (warn(text),)
    return (_make(target, keys, force=bool(may_replace) or keys.partition == "none"), SETTLE)


def _probed(device: str, facts: Facts, fresh: int) -> dict[str, Probe]:
    """What is on each partition of a device, or on the device itself where it has none."""
    if fresh:
        return {partition_path(device, number): Probe() for number in range(1, fresh + 1)}
    return {each: probe(each, facts) for each in partitions(device, facts) or (device,)}


def _target(device: str, keys: FileSystemKeys, found: dict[str, Probe]) -> str | None:
    """The device that gets it: by number, the whole one, or one that has it, can be replaced, or is empty."""
    if keys.partition == "none":
        return device
    if keys.partition.isdigit():
        return partition_path(device, keys.partition) if keys.partition != "0" else device
    for each, what in found.items():
        if what.kind == keys.filesystem and (keys.partition == "any" or what.label == keys.label):
            return each
    for each, what in found.items():
        if what.is_empty or (what.kind and what.kind == keys.replace_fs):
            return each
    return next(iter(found)) if keys.overwrite else None


def _make(target: str, keys: FileSystemKeys, *, force: bool) -> Action:
    if keys.cmd:
        values = {"label": keys.label, "filesystem": keys.filesystem, "device": target}
        if isinstance(keys.cmd, str):
            # As the image's author wrote it: a line for the shell.
            return RunCommand(("/bin/sh", "-c", _filled(keys.cmd, values)), on_failure=WARN, opaque=True)
        return RunCommand(tuple(_filled(word, values) for word in keys.cmd), on_failure=WARN, opaque=True)
    kind = keys.filesystem
    label = (LABEL_OPTIONS.get(kind, "-L"), keys.label) if keys.label else ()
    forced = (FORCE_OPTIONS[kind],) if force and kind in FORCE_OPTIONS else ()
    extra = tuple(keys.extra_opts.split()) if isinstance(keys.extra_opts, str) else keys.extra_opts
    tool = "mkswap" if kind == "swap" else f"mkfs.{kind}"
    return RunCommand((tool, *label, *forced, *extra, target), on_failure=WARN)


def _filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"%({name})s", value)
    return text
