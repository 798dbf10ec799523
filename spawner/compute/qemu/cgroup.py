"""A control group for each guest, where the host has cgroup v2: bounds what QEMU takes of the host (SP-20).

Root's groups are in a slice of their own; others' beside the group that they run in, which is theirs only
where it was delegated (systemd does so for a user's session). Which limits there are depends on the
controllers that the host gives to version 2; a group without any is still a name, and a way to end all that
is in it. Source: Linux, Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from spawner.compute.driver import VmSpec

SLICE = "guestling.slice"
PREFIX = "guest-"
CONTROLLERS = ("cpu", "memory", "pids")
OVERHEAD_MIB = 2048
"""What QEMU takes beside the guest's memory: mostly what the emulator translates code into."""
TASKS = 512
"""Threads of QEMU: one for each processor, and what its block layer wants at most, several times."""
WEIGHT, WEIGHT_LIMIT = 100, 10_000
"""Of one processor, as the kernel's default; and the most that the kernel takes."""
LEFT_OVER_S = 600.0
REMOVE_S = 2.0
POLL_S = 0.002


@dataclass(frozen=True)
class Groups:
    """Where the groups of guests are made: `base`, with what of CONTROLLERS it gives to them.

    Without a `base` there are none; `why_not` says why, or what is missing.
    """

    base: Path | None
    controllers: frozenset[str] = frozenset()
    why_not: str = ""

    def make(self, name: str, spec: VmSpec) -> Path | None:
        """A guest's group, with its limits; None where there are no groups. Raises OSError."""
        if self.base is None:
            return None
        group = self.base / f"{PREFIX}{name}"
        group.mkdir(exist_ok=True)
        for file, value in limits(spec).items():
            if file.partition(".")[0] in self.controllers:
                (group / file).write_text(value)
        return group

    async def remove(self, name: str) -> None:
        """End what is left in a guest's group, and take it away; nothing there is fine."""
        if self.base is None:
            return
        group = self.base / f"{PREFIX}{name}"
        until_s = time.monotonic() + REMOVE_S
        while not _removed(group) and time.monotonic() < until_s:
            with contextlib.suppress(OSError):
                (group / "cgroup.kill").write_text("1")
            await asyncio.sleep(POLL_S)

    def forsake(self, name: str) -> None:
        """Take away the group of a guest that is gone; what still ends in there leaves it to `sweep`."""
        if self.base is not None:
            _removed(self.base / f"{PREFIX}{name}")

    def sweep(self, now_s: float) -> None:
        """Take away empty groups that a killed spawner left. `now_s`: seconds since 1970.

        One that is new may be about to be filled.
        """
        if self.base is None:
            return
        for group in self.base.glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):
                if now_s - group.stat().st_mtime > LEFT_OVER_S:
                    group.rmdir()


def limits(spec: VmSpec) -> Mapping[str, str]:
    """File of a group -> what is written to it."""
    return {
        "memory.max": str((spec.memory_mib + OVERHEAD_MIB) << 20),
        "pids.max": str(TASKS + spec.vcpus),
        "cpu.weight": str(min(WEIGHT * spec.vcpus, WEIGHT_LIMIT)),
    }


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


@cache
def here() -> Groups:
    """The groups of this host and user, found out once."""
    mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    return found(mounts, Path("/proc/self/cgroup").read_text(), is_root=os.geteuid() == 0)


def found(mounts: str, own: str, *, is_root: bool) -> Groups:
    """Where groups can be made, by the texts of /proc/self/mountinfo and /proc/self/cgroup."""
    mount = mount_of(mounts)
    if mount is None:
        return Groups(None, why_not="cgroup v2 is not mounted")
    path = next((line.removeprefix("0::") for line in own.splitlines() if line.startswith("0::/")), "/")
    parent = mount if is_root else (mount / path.lstrip("/")).parent
    if not os.access(parent / "cgroup.procs", os.W_OK):
        # A process is moved by who may write to the group above both its old one and its new one.
        return Groups(None, why_not=f"{parent} was not delegated to this user")
    try:
        given = _enable(parent)
        base = parent / SLICE
        base.mkdir(exist_ok=True)
        given &= _enable(base)
    except OSError as error:
        return Groups(None, why_not=f"no group can be made in {parent} ({error.strerror})")
    missing = [name for name in CONTROLLERS if name not in given]
    return Groups(base, given, f"cgroup v2 lacks {', '.join(missing)} here" if missing else "")


def mount_of(mounts: str) -> Path | None:
    """Where cgroup v2 is mounted, by the text of /proc/self/mountinfo; of several the first."""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return Path(before.split()[4])
    return None


def _enable(group: Path) -> frozenset[str]:
    """Have the controllers of a group for what is below it; those that are. Raises OSError."""
    there = (group / "cgroup.controllers").read_text().split()
    enabled = set()
    for name in CONTROLLERS:
        if name in there:
            # One by one: a controller that cannot be had takes none of the others along.
            with contextlib.suppress(OSError):
                (group / "cgroup.subtree_control").write_text(f"+{name}")
                enabled.add(name)
    return frozenset(enabled)
