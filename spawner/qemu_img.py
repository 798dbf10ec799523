"""Run qemu-img, within limits: what it reads may have been made to hurt (SP-11)."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from spawner.errors import QemuFailed

LIMITS = ("--as=2147483648", "--cpu=600", "--core=0")
"""Two GiB of memory, ten minutes of processor time, no core dump."""
LARGEST_FILE = 64 << 30
"""Bytes that one command may write into one file: a few KiB of an image can stand for a whole disk."""
CHECK_LIMITS = ("--as=2147483648", "--cpu=30", "--core=0", "--fsize=0")
CHECK_S = 60
"""A check reads tables alone. What takes longer was made to."""
CHECK_FOUND = {
    2: "its tables or refcounts are wrong",
    -24: "it takes more processor time to check than it may",
}
"""Exit status of `qemu-img check` -> what it means; 0 is sound, 3 are leaks, which hurt nobody."""


def check_fault(path: Path, limit_s: float = CHECK_S) -> str:
    """What is wrong with the tables of a qcow2 image, or an empty text. Blocks for as long as it takes."""
    try:
        done = subprocess.run(
            ["prlimit", *CHECK_LIMITS, "qemu-img", "check", "-q", "-U", "-f", "qcow2", str(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it could not be checked within {limit_s:g} s"
    if done.returncode in {0, 3}:
        return ""
    words = done.stderr.decode(errors="backslashreplace").replace(str(path), "it").strip().splitlines()
    what = CHECK_FOUND.get(done.returncode, f"qemu-img check ended with status {done.returncode}")
    return f"{what} ({words[0][:200]})" if words else what


async def qemu_img(*arguments: str, largest_file: int = LARGEST_FILE) -> None:
    """One command. Raises QemuFailed with its last words."""
    process = await asyncio.create_subprocess_exec(
        "prlimit",
        *LIMITS,
        f"--fsize={largest_file}",
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
