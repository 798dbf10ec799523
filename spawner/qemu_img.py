"""Run qemu-img, within limits: what it reads may have been made to hurt (SP-11)."""

from __future__ import annotations

import asyncio

from spawner.errors import QemuFailed

LIMITS = ("--as=2147483648", "--cpu=600", "--core=0")
"""Two GiB of memory, ten minutes of processor time, no core dump."""


async def qemu_img(*arguments: str) -> None:
    """One command. Raises QemuFailed with its last words."""
    process = await asyncio.create_subprocess_exec(
        "prlimit",
        *LIMITS,
        "qemu-img",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        errors = (await process.communicate())[1]
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise QemuFailed("disk", f"could not make it (qemu-img exit status {process.returncode})", errors)
