"""Processes known by a mark on their command line, also to a later life of the spawner.

For what runs on without us and is nobody's child: the cables of libvirt's guests, the networks of bridges. A
mark is how a word begins; the name of a run directory is in it, which is drawn at random and used once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

GONE_S = 5.0
POLL_S = 0.01


def marked(*marks: str) -> Iterator[tuple[int, int]]:
    """Number and pidfd of each process with one of the marks; the pidfd is closed after its turn.

    The process is looked at after the pidfd was taken: the number cannot be another's.
    """
    beginnings = tuple(mark.encode() for mark in marks)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(int(entry.name))
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if any(word.startswith(beginnings) for word in words):
                    yield int(entry.name), pidfd
            finally:
                os.close(pidfd)


def kill(*marks: str) -> None:
    """End all of them; nothing there is fine."""
    for _, pidfd in marked(*marks):
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def end(*marks: str) -> bool:
    """End all of them and wait until they are gone; False when that takes more than GONE_S."""
    kill(*marks)
    until_s = time.monotonic() + GONE_S
    while any(True for _ in marked(*marks)):
        if time.monotonic() > until_s:
            return False
        time.sleep(POLL_S)
    return True
