"""The swap file of `mounts`: how large, and the commands that make it.

Source: guest-agent.md 3.3 (mounts).
"""

from __future__ import annotations

import math
import re

from boot_stages.actions import WARN, MakeDirectory, RunCommand, SetMode, note, warn
from boot_stages.disks import mounts
from boot_stages.errors import ModuleFailed
from boot_stages.schema import ANY, TEXT, Keys, Kind, key, with_schema

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts

GIBIBYTE = 2**30
UNITS = {"B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_BYTES = {"type": "string", "pattern": r"^([0-9]+)?\.?[0-9]+[BKMGT]$"}
_SIZE: Kind[object] = with_schema(ANY, {"oneOf": [{"enum": ["auto"]}, {"type": "integer"}, _BYTES]})
_MAX: Kind[object] = with_schema(ANY, {"oneOf": [{"type": "integer"}, _BYTES]})


class SwapKeys(Keys):
    """The map below `swap`."""

    filename: str = key("The swap file.", TEXT, default="/swap.img")
    size: object = key("Bytes, a text like 2G, or auto: by the guest's memory.", _SIZE, default=0)
    maxsize: object = key("The most that auto may take.", _MAX, default=None)


def bytes_of(value: object) -> int:
    """2G and the like, powers of 1024. Raises ModuleFailed."""
    found = re.fullmatch(r"([0-9]*\.?[0-9]+)([BKMGT]?)", str(value).strip().upper())
    if found is None or isinstance(value, bool):
        raise ModuleFailed(f"swap: {value!r} is not a size. Write 512M, 2G, or auto")
    return int(float(found.group(1)) * UNITS[found.group(2) or "B"])


def suggested_bytes(memory: int, free: int, maximum: int | None) -> int:
    """By memory: as much up to 4 GiB, 4 GiB up to 16, then the root of it; never most of the disk."""
    wanted = memory
    if memory >= 4 * GIBIBYTE:
        wanted = 4 * GIBIBYTE
    if memory >= 16 * GIBIBYTE:
        wanted = round(math.sqrt(memory / GIBIBYTE)) * GIBIBYTE
    limit = min(free // 4, 2 * memory) if maximum is None else min(maximum, free * 9 // 10)
    return min(wanted, limit)


def is_in_use(path: str, facts: Facts) -> bool:
    """Whether the kernel swaps to this file now."""
    lines = (facts.read_text("/proc/swaps") or "").splitlines()
    return any(line.split()[:1] == [path] for line in lines)


def swap_actions(keys: SwapKeys, facts: Facts) -> tuple[tuple[Action, ...], bool]:
    """What makes the file, and whether there is to be a line for it in fstab."""
    path = keys.filename
    if not path or not keys.size:
        return (), False
    if facts.exists(path) and (is_in_use(path, facts) or not facts.exists("/proc/swaps")):
        return (), True
    try:
        size = _size(keys, facts)
    except ModuleFailed as error:
        return (warn(str(error)),), False
    if size < UNITS["M"]:
        return (note("swap: there is room for none"),), False
    return _make(path, size // UNITS["M"], facts), True


def _size(keys: SwapKeys, facts: Facts) -> int:
    if str(keys.size).lower() != "auto":
        return bytes_of(keys.size)
    memory = re.search(r"^MemTotal:\s+([0-9]+) kB", facts.read_text("/proc/meminfo") or "", re.MULTILINE)
    if memory is None:
        return 0
    maximum = None if keys.maxsize is None else bytes_of(keys.maxsize)
    return suggested_bytes(int(memory.group(1)) * 1024, facts.free_bytes(_directory(keys.filename)), maximum)


def _directory(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _make(path: str, mebibytes: int, facts: Facts) -> tuple[Action, ...]:
    directory = _directory(path)
    make: tuple[Action, ...] = (
        () if facts.is_directory(directory) else (MakeDirectory(directory, on_failure=WARN),)
    )
    holders = [each for each in mounts(facts) if f"{directory}/".startswith(f"{each.directory.rstrip('/')}/")]
    if max(holders, key=lambda each: len(each.directory)).kind == "btrfs" if holders else False:
        # Copy on write and swapping do not go together.
        make = (
            *make,
            RunCommand(("truncate", "-s", "0", path), on_failure=WARN),
            RunCommand(("chattr", "+C", path), on_failure=WARN),
        )
    dd = RunCommand(("dd", "if=/dev/zero", f"of={path}", "bs=1M", f"count={mebibytes}"))
    fallocate = RunCommand(("fallocate", "-l", f"{mebibytes}M", path), otherwise=dd, on_failure=WARN)
    return (
        *make,
        fallocate,
        SetMode(path, 0o600, on_failure=WARN),
        RunCommand(("mkswap", path), on_failure=WARN),
    )
