"""`mounts`: lines of /etc/fstab for data disks, and a swap file. Source: guest-agent.md 3.3, D22."""

from __future__ import annotations

import re

from boot_stages.actions import WARN, MakeDirectory, RunCommand, WriteFile
from boot_stages.disks import cloud_device, mounts, partition_path
from boot_stages.module import Module
from boot_stages.schema import TEXT, Fault, Keys, Kind, key, list_of, nullable, record
from boot_stages.swap import SwapKeys, is_in_use, swap_actions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Optional

    from boot_stages.actions import Action
    from boot_stages.facts import Facts

    Fields = tuple[Optional[str], ...]

FSTAB = "/etc/fstab"
COMMENT = "comment=cloudconfig"
OPTIONS = "defaults,nofail,x-systemd.after=cloud-init-network.service,_netdev"
OPTIONS_WITHOUT_SYSTEMD = "defaults,nobootwait"
_SHORT = re.compile(r"(?:x?[shv]d[a-z][0-9]*|sr[0-9]+)\Z")


def _read_entry(value: object, path: str, faults: list[Fault]) -> Fields:
    """Up to six fields; numbers are texts, null asks for the default."""
    return list_of(nullable(TEXT)).read(value, path, faults)[:6]


_ENTRY: Kind[Fields] = Kind(
    {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 6}, _read_entry
)
_DEFAULTS: Kind[Fields] = Kind(
    {
        "type": "array",
        "items": {"oneOf": [{"type": "string"}, {"type": "null"}]},
        "minItems": 6,
        "maxItems": 6,
    },
    _read_entry,
)


class Config(Keys):
    """Keys of `mounts`."""

    mounts: tuple[Fields, ...] = key(
        "Lines [device, directory, type, options, dump, pass]; a null directory removes the device's.",
        list_of(_ENTRY, keep_good=True, minItems=1),
        default=(),
    )
    mount_default_fields: Fields = key("What missing fields are.", _DEFAULTS, default=())
    swap: SwapKeys | None = key("A swap file.", record(SwapKeys), default=None)


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """The swap file, directories, fstab, then what makes the new lines take effect."""
    swap = config.swap
    make_swap, has_swap = swap_actions(swap, facts) if swap is not None else ((), False)
    swap_path = swap.filename if swap is not None and has_swap else ""
    old = facts.read_text(FSTAB) or ""
    kept = [line for line in old.splitlines() if COMMENT not in line and not _is_swap_line(line, swap_path)]
    wanted = _wanted(config, kept, facts)
    lines = [_line(entry) for entry in wanted]
    if swap_path:
        lines.append("\t".join((_escaped(swap_path), "none", "swap", "sw", "0", "0")))
    content = "".join(f"{line}\n" for line in (*kept, *lines))
    changed = content != old and bool(lines or len(kept) != len(old.splitlines()))
    directories = [entry[1] for entry in wanted if entry[1].startswith("/")]
    write: tuple[Action, ...] = ()
    if changed:
        write = (WriteFile(FSTAB, content.encode("utf-8", "surrogateescape")),)
    return (
        *make_swap,
        *(MakeDirectory(each, on_failure=WARN) for each in directories if not facts.is_directory(each)),
        *write,
        *_swap_on(wanted, swap_path, changed, facts),
        *_mount(directories, changed, facts),
    )


def _is_swap_line(line: str, path: str) -> bool:
    """The agent's own line for the swap file, of an earlier instance."""
    return bool(path) and line.split()[:3] == [_escaped(path), "none", "swap"]


def _wanted(config: Config, kept: list[str], facts: Facts) -> list[tuple[str, ...]]:
    """The entries in order, whole, the default ones behind the user's."""
    defaults = _defaults(config, facts)
    present = {line.split()[0] for line in kept if line.split()}
    entries: list[tuple[str | None, ...]] = []
    for each in filter(None, config.mounts):
        start = each[0] or ""
        device = _device(start, facts)
        first = device if device is not None and device not in present else start
        fields = (first, *each[1:])
        whole = [field if field is not None else defaults[index] for index, field in enumerate(fields)]
        entries.append((*whole, *defaults[len(whole) :]))
    named = {entry[0] for entry in entries}
    options = OPTIONS if facts.distro.systemd else OPTIONS_WITHOUT_SYSTEMD
    built_in = (("ephemeral0", "/mnt", "auto", options, "0", "2"), ("swap", "none", "swap", "sw", "0", "0"))
    for name, *rest in built_in:
        device = _device(name, facts)
        if device is not None and device not in present and device not in named:
            entries.append((device, *rest))
    return _without_removed(entries)


def _defaults(config: Config, facts: Facts) -> tuple[str | None, ...]:
    options = OPTIONS if facts.distro.systemd else OPTIONS_WITHOUT_SYSTEMD
    built_in = (None, None, "auto", options, "0", "2")
    return (*config.mount_default_fields, *built_in[len(config.mount_default_fields) :])


def _without_removed(entries: list[tuple[str | None, ...]]) -> list[tuple[str, ...]]:
    """Leave out an entry without a directory, and those of its device that stand before it."""
    removed: set[str | None] = set()
    kept: list[tuple[str, ...]] = []
    for entry in reversed(entries):
        if entry[1] is None or entry[0] in removed:
            removed.add(entry[0])
        else:
            kept.append(tuple(field or "" for field in entry))
    return kept[::-1]


def _device(name: str, facts: Facts) -> str | None:
    """The path of the device that a name means, its first partition where it has one; None if not there.

    Names of network shares and LABEL= forms are theirs already.
    """
    if ":" in name:
        return name
    wanted = "ephemeral0" if name == "ephemeral" else name
    aliases = facts.system.get("device_aliases")
    known: Mapping[str, str] = aliases if isinstance(aliases, dict) else {}
    is_device = (
        wanted.startswith(("/dev/", "ephemeral")) or wanted == "swap" or wanted.partition(".")[0] in known
    )
    if not is_device and not _SHORT.match(wanted):
        return None
    device = cloud_device(wanted, known, facts)
    if device is None or "." in wanted:
        return device
    first = partition_path(device, 1)
    return first if facts.exists(first) else device


def _escaped(field: str) -> str:
    return field.replace(" ", "\\040").replace("\t", "\\011")


def _line(entry: tuple[str, ...]) -> str:
    fields = [*entry[:3], f"{entry[3]},{COMMENT}", *entry[4:]]
    return "\t".join(_escaped(field) for field in fields)


def _swap_on(
    wanted: list[tuple[str, ...]], swap_path: str, changed: bool, facts: Facts
) -> tuple[Action, ...]:
    spaces = [entry[0] for entry in wanted if entry[2] == "swap"] + ([swap_path] if swap_path else [])
    if not spaces or not (changed or any(not is_in_use(each, facts) for each in spaces)):
        return ()
    return (RunCommand(("swapon", "-a")),)


def _mount(directories: list[str], changed: bool, facts: Facts) -> tuple[Action, ...]:
    mounted = {each.directory for each in mounts(facts)}
    if not changed and all(each in mounted for each in directories):
        return ()
    reload_ = (RunCommand(("systemctl", "daemon-reload")),) if facts.distro.systemd else ()
    return (RunCommand(("mount", "-a")), *reload_)


MODULE = Module("mounts", Config, plan)
