"""Guests that go on from a saved one: when that is safe, and how the saved one is made.

The saved guest has come as far as its kernel; no program of the image has run, nothing was read from the
network or drawn at random. What its firmware was told stays in its memory, so all guests that go on from it
are one instance by uuid and MAC, each with a metadata service and a network of its own, a name and user data
of its own.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from uuid import UUID

from image_harness import boot, store
from image_harness.errors import BootFailed
from image_harness.guest_mark import Wanted
from image_harness.progress import Source, nobody
from spawner.compute.agent_events import Ready
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.compute.qemu.template import SEED_BYTES, Template, resume, save
from spawner.compute.qemu.vm import Vm

INSTANCE = UUID("5b8a3c52-0f3e-4a61-9d0e-6f1c2a7e4d10")
"""The instance that all of them are."""
WAIT_WORD = "rdinit=/usr/share/guestling/wait"
MAKE_S = 120.0


def why_not(wanted: Wanted, image: store.Image) -> str | None:
    """Why a guest cannot go on from a saved one; None: it can."""
    if image.disk is not None or image.initrd is None:
        return "its disk would have to be saved with it"
    if wanted.source is not Source.METADATA:
        return "a saved guest has looked for drives already"
    return None


async def make(order: boot.Order, host: boot.Host, path: Path) -> Template:
    """Boot a guest of the order's kind up to its first program, and save it to `path`.

    Raises BootFailed, SpawnerError.
    """
    run = RunDirectory.create()
    try:
        vm = boot.machine(order, host, run, nobody, words=WAIT_WORD)
        async with vm:
            await asyncio.wait_for(_ready(vm), MAKE_S)
            return await save(vm, path)
    except TimeoutError:
        raise BootFailed(
            f"{order.image.name}: a guest to be saved was not ready after {MAKE_S:g} s"
        ) from None
    finally:
        run.remove()


async def go_on(vm: Vm, mac: str) -> None:
    """Let a guest that was restored begin, with randomness of its own. Raises QemuFailed."""
    await resume(vm, os.urandom(SEED_BYTES), mac)


async def _ready(vm: Vm) -> None:
    async for event in vm.events():
        if isinstance(event, Ready):
            return
    console = vm.channels.console_output().decode(errors="replace").strip().splitlines()
    raise BootFailed(f"a guest to be saved ended: {console[-1][:200] if console else 'it said nothing'}")
