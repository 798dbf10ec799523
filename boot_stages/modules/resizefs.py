"""`resizefs`: grow the root file system to the end of its partition, on every boot.

Source: guest-agent.md 3.3.
"""

from __future__ import annotations

from boot_stages.actions import RunCommand, note, warn
from boot_stages.disks import mount_at, size_bytes
from boot_stages.module import Module
from boot_stages.schema import Keys, key, one_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.disks import Mount
    from boot_stages.facts import Facts

# DEVICE, DIRECTORY and POOL stand for what is grown.
COMMANDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("ext2", "ext3", "ext4"), ("resize2fs", "DEVICE")),
    "xfs": ("xfs_growfs", "DIRECTORY"),
    "btrfs": ("btrfs", "filesystem", "resize", "max", "DIRECTORY"),
    "f2fs": ("resize.f2fs", "DEVICE"),
    "bcachefs": ("bcachefs", "device", "resize", "DEVICE"),
    "zfs": ("zpool", "online", "-e", "POOL", "DEVICE"),
}
_EXT_SIZE = (("dumpe2fs", "-h", "DEVICE"), ("Block count:", " "), ("Block size:", " "))
# What a file system says of its size: the question, and where the number of units and the unit stand: how
# their line begins (several spaces count as one), and what is before the number in the rest of it.
SIZES: dict[str, tuple[tuple[str, ...], tuple[str, str], tuple[str, str] | None]] = {
    **dict.fromkeys(("ext2", "ext3", "ext4"), _EXT_SIZE),
    "xfs": (("xfs_info", "DIRECTORY"), ("data ", " blocks="), ("data ", " bsize=")),
    "btrfs": (("btrfs", "filesystem", "show", "--raw", "DIRECTORY"), ("devid 1 size", " "), None),
}
ENQUEUE_SINCE = (5, 10)
# Less than that is what the file system's own rounding leaves.
SLACK_BYTES = 1024 * 1024


class Config(Keys):
    """Keys of `resizefs`."""

    resize_rootfs: str = key(
        "Grow the root file system; `noblock` lets the boot go on meanwhile.",
        one_of(True, False, "noblock"),
        default="true",
    )


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """One command of the file system's own, where there is room to grow."""
    if config.resize_rootfs == "false":
        return ()
    mount = mount_at("/", facts)
    if mount is None:
        return (note("resize_rootfs: what is mounted at / is not known"),)
    if mount.kind == "zfs":
        return _pool(mount, config.resize_rootfs, facts)
    if mount.kind == "overlay" or mount.source == "overlayroot" or not mount.source.startswith("/dev/"):
        return (note(f"resize_rootfs: {mount.source} at / is no disk of this guest: nothing to grow"),)
    if mount.kind not in COMMANDS:
        return (warn(f"resize_rootfs: a file system of type {mount.kind} cannot be grown"),)
    return () if _is_full_size(mount, facts) else (_command(mount, config.resize_rootfs, facts),)


def _is_full_size(mount: Mount, facts: Facts) -> bool:
    """Whether the file system ends where its device ends; its own tool judges where nobody can be asked."""
    question = SIZES.get(mount.kind)
    if question is None:
        return False
    argv, count, unit = question
    words = facts.ask(*_with_places(argv, mount)).out.decode("utf-8", "replace")
    size = _number(words, count) * (1 if unit is None else _number(words, unit))
    return size > 0 and size_bytes(mount.source, facts) - size < SLACK_BYTES


def _number(words: str, place: tuple[str, str]) -> int:
    """The whole number at a place of an answer; 0 where there is none."""
    start, mark = place
    for line in words.splitlines():
        spaced = " ".join(line.split())
        if spaced.startswith(start):
            number = spaced[len(start) :].partition(mark)[2].replace(",", " ").partition(" ")[0]
            return int(number) if number.isdecimal() else 0
    return 0


def _pool(mount: Mount, mode: str, facts: Facts) -> tuple[Action, ...]:
    """A pool grows by its devices; the root's pool of a cloud image has one."""
    pool = mount.source.partition("/")[0]
    words = facts.ask("zpool", "status", "-P", pool).out.decode("utf-8", "replace")
    rows = [line.split() for line in words.splitlines()]
    devices = [row[0] for row in rows if len(row) > 1 and row[0].startswith("/dev/") and row[1] == "ONLINE"]
    if not devices:
        return (warn(f"resize_rootfs: zpool status names no device of the pool {pool}: it stays as it is"),)
    return tuple(_command(mount.replace(source=each), mode, facts, pool) for each in devices)


def _with_places(argv: tuple[str, ...], mount: Mount, pool: str = "") -> tuple[str, ...]:
    places = {"DEVICE": mount.source, "DIRECTORY": mount.directory, "POOL": pool}
    return tuple(places.get(word, word) for word in argv)


def _command(mount: Mount, mode: str, facts: Facts, pool: str = "") -> RunCommand:
    argv = _with_places(COMMANDS[mount.kind], mount, pool)
    if mount.kind == "btrfs" and _btrfs_version(facts) >= ENQUEUE_SINCE:
        # Another exclusive operation, such as a balance, is waited for.
        argv = (*argv[:3], "--enqueue", *argv[3:])
    if mode == "noblock" and facts.which("setsid") is not None:
        argv = ("setsid", "--fork", *argv)
    return RunCommand(argv)


def _btrfs_version(facts: Facts) -> tuple[int, ...]:
    import re  # for btrfs alone; this module is part of every boot

    found = re.search(rb"v([0-9]+)\.([0-9]+)", facts.ask("btrfs", "--version").out)
    return tuple(int(each) for each in found.groups()) if found else ()


MODULE = Module("resizefs", Config, plan)
