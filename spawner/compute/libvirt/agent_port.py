"""The host's end of the agent's port of a guest under libvirt: two named pipes in its run directory.

A unix socket would do while a spawner is there. But QEMU throws away what a guest says on a port whose
socket nobody is connected to, and a spawner that was killed would never learn how its guests' boots ended.
QEMU holds the pipes open itself: what nobody has read yet waits in the kernel for the next life.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import stat
from pathlib import Path

from spawner.compute.qemu.user import User

NAME = "agent"
"""QEMU adds `.in` for what the guest reads, and `.out` for what it says."""
WAITING_BYTES = 1 << 20
"""What the kernel keeps for a reader that is away; a boot says some 20 KB."""


def make(run: Path, user: User | None) -> None:
    """The pipes, which only we and `user` may open. Raises OSError."""
    for way in ("in", "out"):
        path = run / f"{NAME}.{way}"
        os.mkfifo(path, 0o600)
        if user is not None:
            os.chown(path, user.uid, user.gid, follow_symlinks=False)


async def connect(run: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, asyncio.ReadTransport]:
    """Streams from and to the agent of a guest that runs; the transport is what the first one reads from.

    Raises OSError: ENXIO where QEMU is gone.
    """
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as opened:
        said = opened.enter_context(os.fdopen(_open(run / f"{NAME}.out", os.O_RDONLY), "rb", 0))
        told = opened.enter_context(os.fdopen(_open(run / f"{NAME}.in", os.O_WRONLY), "wb", 0))
        opened.pop_all()
    with contextlib.suppress(OSError):  # more than this host lets a user have: less is kept
        fcntl.fcntl(said, fcntl.F_SETPIPE_SZ, WAITING_BYTES)
    reader = asyncio.StreamReader()
    reading, _protocol = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), said)
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), told
    )
    return reader, asyncio.StreamWriter(transport, protocol, None, loop), reading


def _open(path: Path, way: int) -> int:
    """A pipe and nothing else: QEMU's user may put what it likes in that place."""
    descriptor = os.open(path, way | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no pipe")
    return descriptor
