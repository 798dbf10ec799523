"""What is on record about a guest with a keeper, so that the spawner's next life can take it over.

In the server's own directory, which nobody but the spawner can enter: `guest.json`, written before the guest
is started; `qemu.pid`, written by the keeper before QEMU runs; the keeper's other files. A process is taken
for a guest's QEMU only if pid, start time and the run directory on its command line all agree (SP-05), and it
is signalled through a pidfd that was opened before it was looked at, so that no other can take its place.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from configdrive.errors import UnwritableOutput
from configdrive.whole import write_file
from spawner.compute.driver import VmSpec
from spawner.compute.qemu import keeper
from spawner.errors import QemuFailed, SpawnerError

RECORD = "guest.json"
GONE_S = 5.0
POLL_S = 0.01


@dataclass(frozen=True)
class GuestRecord:
    """A guest as it was started.

    `first_event`: the number of the last event in the store before the guest could report one.
    """

    run: Path
    accelerator: str
    spec: VmSpec
    first_event: int = 0


def write(home: Path, record: GuestRecord) -> None:
    """Put the guest on record; what an earlier guest's keeper left there is forgotten. Raises QemuFailed."""
    try:
        forget(home)
        # Of use while QEMU lives: never longer than the kernel that has the file in its memory.
        write_file(home / RECORD, msgspec.json.encode(record, enc_hook=str), lasting=False)
    except (OSError, UnwritableOutput) as error:
        raise QemuFailed(record.spec.name, f"cannot be put on record ({error})") from error


def read(home: Path) -> GuestRecord | None:
    """The guest on record, None where there is none. Raises QemuFailed for a record that cannot be read."""
    try:
        return msgspec.json.decode((home / RECORD).read_bytes(), type=GuestRecord, dec_hook=_decoded)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, SpawnerError, ValueError) as error:
        raise QemuFailed(home.name, f"has a record that cannot be read ({home / RECORD}: {error})") from error


def forget(home: Path) -> None:
    """Take the guest off the record; the console's stays."""
    for name in (RECORD, *keeper.FILES):
        (home / name).unlink(missing_ok=True)


def _decoded(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(kind)


@dataclass(frozen=True)
class Identity:
    """Which process: its pid, and when it started in clock ticks since the host did."""

    pid: int
    start: int


def identity(home: Path) -> Identity | None:
    """The QEMU that the keeper wrote down; None before it did."""
    with contextlib.suppress(OSError, ValueError):
        pid, start = (home / keeper.PID_FILE).read_text().split()
        return Identity(int(pid), int(start))
    return None


def mark(run: Path, home: Path) -> str:
    """How a guest's run directory and its server's directory stand on QEMU's command line."""
    return f"{run}|{home}"


def open_process(who: Identity, run: Path, home: Path) -> int | None:
    """A pidfd of that QEMU, None when it is gone or another process has its number."""
    try:
        pidfd = os.pidfd_open(who.pid)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        if keeper.start_time(who.pid) == who.start and mark(run, home) in _marks(who.pid):
            return pidfd
    os.close(pidfd)
    return None


def _marks(pid: int) -> list[str]:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    found = (word.partition(b",opaque=")[2] for word in words)
    return [os.fsdecode(each.replace(b",,", b",")) for each in found if each]


def all_in(directory: Path) -> Iterator[tuple[Identity, Path, Path]]:
    """Every QEMU here of a server whose own directory is in `directory`: who, its run directory, its own."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            pid = int(entry.name)
            for run, _, home in (text.partition("|") for text in _marks(pid)):
                if Path(home).parent == directory:
                    yield Identity(pid, keeper.start_time(pid)), Path(run), Path(home)


def end(who: Identity, run: Path, home: Path) -> bool:
    """Kill that QEMU, if it is still there, and wait until it is gone. False when it cannot be killed."""
    pidfd = open_process(who, run, home)
    if pidfd is None:
        return True
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return wait_gone(who, run, home, GONE_S)
    finally:
        os.close(pidfd)


def wait_gone(who: Identity, run: Path, home: Path, limit_s: float) -> bool:
    """Whether that QEMU is gone within so many seconds; a zombie is."""
    until_s = time.monotonic() + limit_s
    while (pidfd := open_process(who, run, home)) is not None:
        os.close(pidfd)
        if time.monotonic() > until_s:
            return False
        time.sleep(POLL_S)
    return True
