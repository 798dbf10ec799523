"""One boot, from an image and an instance to the agent's result: what `guestling boot` and the tests do.

instance -> metadata service on the guest's own socket (and a drive, where the source is one) -> QEMU
         -> the agent's events as they come -> its result -> the guest's end, and nothing left behind
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from uuid import UUID

from image_harness import changes, programs, seed, store
from image_harness.host_watch import LOST_LIMIT_S, HostWatch
from image_harness.progress import (
    Choice,
    Chosen,
    Ended,
    Printed,
    Requested,
    Said,
    Source,
    Starting,
    Staying,
    Tell,
    nobody,
)
from image_harness.timeline.console import Console
from instance_metadata.instance import Instance
from metadata_server import faults
from metadata_server.access import AccessRecord
from metadata_server.app import MetadataServer
from metadata_server.listener import Listener, Mode
from spawner.compute.agent_events import Result
from spawner.compute.driver import Bus, Disk, Ending, Format, Nic, VmSpec
from spawner.compute.qemu import accelerator
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.compute.qemu.template import Template
from spawner.compute.qemu.vm import Vm
from spawner.network import choose

QEMU = "qemu-system-x86_64"
RANDOM_SEED_BYTES = 512
# A guest without a disk powers off by itself once its agent is done; it is given so long.
POWER_OFF_S = 10.0
ROOT_LAYER = "root.qcow2"
"""What a guest wrote to its disk, in the run directory."""


@dataclass(frozen=True)
class Order:
    """What shall be booted and how. `stay`: leave the guest up until it is stopped from outside.

    `faults`: a script by which the metadata service misbehaves, see metadata_server/faults.py.
    """

    image: store.Image
    instance: Instance
    source: Source = Source.METADATA
    deadline_s: float = 300.0
    list_changes: bool = False
    stay: bool = False
    faults: bytes | None = None


@dataclass(frozen=True)
class Host:
    """How guests run on this machine, found out once."""

    accelerator: accelerator.Accelerator
    network: choose.Choice


class Verdict(Enum):
    """What a boot says of the image that was booted."""

    DONE = "done"
    FAILED = "failed"
    INFRASTRUCTURE = "infrastructure"


@dataclass(frozen=True)
class Outcome:
    """How a boot went.

    `result` is None when the agent never got so far as to say; `lost_s`: how long the host stood still.
    """

    result: Result | None
    ending: Ending
    requests: tuple[AccessRecord, ...]
    console: bytes
    took_s: float
    lost_s: float = 0.0

    @property
    def verdict(self) -> Verdict:
        """What the boot says of the image: nothing, when it failed on a host that stood still (SP-25)."""
        if self.succeeded:
            return Verdict.DONE
        return Verdict.INFRASTRUCTURE if self.lost_s > LOST_LIMIT_S else Verdict.FAILED

    @property
    def succeeded(self) -> bool:
        """Whether the guest itself said that all is well."""
        return self.result is not None and self.result.status == "done"

    @property
    def changed(self) -> dict[str, changes.Changed] | None:
        """The files that the boot changed, where `list_changes` asked for them and the guest could tell."""
        return changes.parse(self.console)


def probe_host(image: store.Image) -> Host:
    """The accelerator and the network for guests here, seconds the first time. Raises SpawnerError."""
    return Host(accelerator.probe(QEMU, kernel=image.kernel), choose.probe(QEMU))


ATTEMPTS = 4
_ROOT_NOT_FOUND = b"VFS: Unable to mount root fs"


async def boot(order: Order, host: Host, tell: Tell = nobody) -> Outcome:
    """Boot, follow, end. Raises SpawnerError where no guest can be started; one that fails is an Outcome."""
    for _ in range(ATTEMPTS - 1):
        outcome = await _boot_once(order, host, tell)
        if not mistook_its_disks(order, outcome.console):
            return outcome
    return await _boot_once(order, host, tell)


def mistook_its_disks(order: Order, console: bytes) -> bool:
    """Whether the kernel took the drive for its root: nothing of the guest ran, another start is the remedy.

    Linux looks for NVMe controllers side by side, and which of two is nvme0 is a matter of luck. Without an
    initrd the root cannot be named otherwise (decision 0111).
    """
    return order.image.disk is not None and order.image.kernel is not None and _ROOT_NOT_FOUND in console


async def _boot_once(order: Order, host: Host, tell: Tell) -> Outcome:
    requests: list[AccessRecord] = []

    def on_request(record: AccessRecord) -> None:
        requests.append(record)
        tell(Requested(record))

    run = RunDirectory.create()
    try:
        async with metadata(order, run.metadata_socket, on_request), HostWatch() as watch:
            vm = machine(order, host, run, tell)
            tell(Starting())
            started_s = time.monotonic()
            async with vm:
                result = await _follow(vm, tell)
                ending = await _end(vm, order, tell, answered=result is not None)
                console = vm.channels.console_output()
        tell(Ended(ending))
        took_s = time.monotonic() - started_s
        return Outcome(result, ending, tuple(requests), console, took_s, watch.lost_s)
    finally:
        run.remove()


@asynccontextmanager
async def metadata(
    order: Order, socket: Path, on_request: Callable[[AccessRecord], None]
) -> AsyncIterator[None]:
    """The metadata service of this one instance: the socket is its identity, nobody can ask for another's.

    Raises InvalidInstance for a fault script that is none.
    """
    server = MetadataServer(on_request=on_request)
    if order.faults is not None:
        server.services.faults = faults.parse(order.faults, "faults")
    server.instances.put(order.instance)
    await server.listen(Listener(f"unix:{socket}", Mode.SOCKET, instance_id=order.instance.uuid))
    try:
        yield
    finally:
        await server.close()


def machine(
    order: Order,
    host: Host,
    run: RunDirectory,
    tell: Tell,
    *,
    words: str = "",
    template: Template | None = None,
) -> Vm:
    """The guest of an order, ready to be started: its seed prepared, its network attached.

    `words`: more of the kernel's command line. `template`: the saved guest from which it goes on.
    """
    # A disk image has no initrd, hence no virtio when detection looks for a drive; NVMe is built in.
    bus = Bus.NVME if order.image.kernel and order.image.disk else Bus.VIRTIO
    drawn = seed.Drawn(os.urandom(RANDOM_SEED_BYTES), datetime.now(UTC).date())
    prepared = seed.prepare(order.source, order.instance, drawn, run.path, bus)
    attachment = host.network.backend.attach(run.metadata_socket, run.path)
    tell(Chosen(Choice.ACCELERATOR, host.accelerator.name, host.accelerator.reason))
    network = host.network.backend.name
    tell(Chosen(Choice.NETWORK, network, host.network.reason.removeprefix(f"{network}: ")))
    tell(Chosen(Choice.INSTANCE, order.instance.name, order.instance.uuid))
    tell(Chosen(Choice.SOURCE, order.source.value, prepared.description))
    console = Console()

    def on_console(chunk: bytes) -> None:
        for word in console.feed(chunk):
            tell(Printed(word))

    if template is None:
        spec, state = _spec(order, prepared, run.path, words), None
    else:
        template.require(host.accelerator)
        spec, state = template.for_instance(order.instance.name, UUID(order.instance.uuid)), template.state
    accelerator_ = host.accelerator
    return Vm(spec, run, accelerator_, [attachment], binary=QEMU, on_console=on_console, incoming=state)


def _spec(order: Order, prepared: seed.Seed, run: Path, more: str) -> VmSpec:
    image = order.image
    words = [image.manifest.cmdline] if image.kernel else []
    words += ["guestling.tree=1"] if image.kernel and order.list_changes else []
    words += ["guestling.keep=1"] if image.kernel and order.stay else []
    words += [more] if more else []
    disks = (_root_disk(image, run), prepared.drive)
    return VmSpec(
        name=order.instance.name,
        uuid=UUID(order.instance.uuid),
        kernel=image.kernel,
        initrd=image.initrd,
        cmdline=" ".join(words),
        memory_mib=image.manifest.memory_mib,
        disks=tuple(disk for disk in disks if disk is not None),
        nics=tuple(Nic(mac) for mac in order.instance.macs),
        smbios=prepared.smbios,
        deadline_s=order.deadline_s,
    )


def _root_disk(image: store.Image, run: Path) -> Disk | None:
    """A layer of this guest's own over the image's disk, which stays as it is."""
    if image.disk is None:
        return None
    own = run / ROOT_LAYER
    base = image.disk_format
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", base, "-b", str(image.disk), str(own)]
    programs.run(argv)
    # One that brings its own loader is started by a firmware that reads virtio disks and, mostly, no NVMe.
    bus = Bus.NVME if image.kernel else Bus.VIRTIO
    return Disk(own, Format.QCOW2, bus, backing=Disk(image.disk, Format(base), read_only=True))


async def _follow(vm: Vm, tell: Tell) -> Result | None:
    """The agent's events up to its result, or to the guest's end."""
    async for event in vm.events():
        tell(Said(event))
        if isinstance(event, Result):
            return event
    return None


async def _end(vm: Vm, order: Order, tell: Tell, *, answered: bool) -> Ending:
    """The guest's end, which is brought about once it has answered."""
    if not answered:
        return await vm.wait()
    if order.stay:
        tell(Staying(vm.pid))
        return await _until_interrupted(vm)
    if order.image.disk is not None:
        # Its layer of the disk goes with it: nothing is lost by pulling the plug.
        return await vm.stop(grace_s=0)
    try:
        return await asyncio.wait_for(vm.wait(), POWER_OFF_S)
    except TimeoutError:
        return await vm.stop()


async def _until_interrupted(vm: Vm) -> Ending:
    """The guest's end, by itself or by Ctrl-C, which is no failure here: the report is still written."""
    try:
        return await vm.wait()
    except asyncio.CancelledError:
        if task := asyncio.current_task():
            task.uncancel()
        return await vm.stop(grace_s=0)
