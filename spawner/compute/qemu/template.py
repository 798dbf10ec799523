"""Templates: boot once up to the agent's start, save the guest, go on from there as often as needed.

    template = await save(vm, path)                    # the guest said Ready; this ends it
    vm = Vm(template.for_instance(name, uuid), run, accelerator, [attachment], incoming=template.state)
    await vm.start()
    await resume(vm, os.urandom(SEED_BYTES), mac)      # it has randomness of its own before it goes on

Every guest that is restored starts from the same memory, random state included: two would make the same
keys. So a guest waits, without having made any, until it has been told a seed and has mixed it in. What
firmware once told the template stays in the guest's memory: its SMBIOS uuid is the template's, not the
instance's.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from spawner.compute.driver import MAC, Bus, VmSpec
from spawner.compute.qemu.accelerator import Accelerator
from spawner.compute.qemu.vm import Vm
from spawner.errors import QemuFailed, TemplateRefused

SEED_BYTES = 64
SAVE_S = 60.0
RESTORE_S = 30.0
POLL_S = 0.01
FULL_SPEED = 10 << 30
"""Bytes a second: QEMU saves at 128 MiB/s unless told otherwise."""


@dataclass(frozen=True)
class Template:
    """A saved guest: the file, what it was made with, and on what."""

    state: Path
    spec: VmSpec
    accelerator: str

    def for_instance(self, name: str, uuid: UUID) -> VmSpec:
        """The spec of a guest that goes on from here: the same machine under another name."""
        return dataclasses.replace(self.spec, name=name, uuid=uuid)

    def require(self, accelerator: Accelerator) -> None:
        """Raises TemplateRefused when the state was saved on another accelerator: its processor differs."""
        if accelerator.name != self.accelerator:
            raise TemplateRefused(
                self.spec.name,
                f"it was saved on {self.accelerator}, this is {accelerator.name}",
                "Make it again on this machine",
            )


async def save(vm: Vm, path: Path) -> Template:
    """Save the guest to `path` (0600: its memory may hold secrets) and end it.

    Raises TemplateRefused, QemuFailed.
    """
    if any(disk.bus is Bus.NVME for disk in vm.spec.disks):
        raise TemplateRefused(vm.spec.name, "NVMe disks cannot be saved", "Use virtio disks and an initrd")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        vm.send_fd(fd)
        await vm.execute("getfd", {"fdname": "state"})
    finally:
        os.close(fd)
    await vm.execute("stop")
    await vm.execute("migrate-set-parameters", {"max-bandwidth": FULL_SPEED})
    await vm.execute("migrate", {"uri": "fd:state"})
    await _wait_for(vm, "query-migrate", "completed", SAVE_S)
    await vm.stop(grace_s=0)
    return Template(path, vm.spec, vm.accelerator.name)


async def resume(vm: Vm, seed: bytes, mac: str) -> None:
    """Let a restored guest go on as an instance: with a seed of its own and its own MAC.

    Raises QemuFailed.
    """
    if len(seed) != SEED_BYTES or MAC.fullmatch(mac) is None:
        raise ValueError(f"a seed of {SEED_BYTES} bytes and a MAC address are expected")
    await _wait_for(vm, "query-status", "paused", RESTORE_S)
    await vm.execute("cont")
    await vm.channels.tell_agent(json.dumps({"command": "resume", "seed": seed.hex(), "mac": mac}).encode())


async def _wait_for(vm: Vm, query: str, wanted: str, limit_s: float) -> None:
    """Ask until QEMU's answer has the status `wanted`. Raises QemuFailed when it failed, or took too long."""
    for _ in range(int(limit_s / POLL_S)):
        answer = await vm.execute(query)
        status = answer.get("status") if isinstance(answer, dict) else None
        if status == wanted:
            return
        if status == "failed":
            why = answer.get("error-desc", "no reason given") if isinstance(answer, dict) else ""
            raise QemuFailed(vm.spec.name, f"could not be saved ({why})")
        await asyncio.sleep(POLL_S)
    raise QemuFailed(vm.spec.name, f"was not {wanted} within {limit_s:g} s ({query})")
