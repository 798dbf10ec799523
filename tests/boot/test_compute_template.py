"""Saved once, restored many times.

Each restored guest has its own metadata, its own MAC, its own randomness.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from image_harness import boot, store
from spawner.compute.agent_events import Ready
from spawner.compute.driver import Ending, Nic, Reason, VmSpec
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.compute.qemu.template import SEED_BYTES, Template, resume, save
from spawner.compute.qemu.vm import Vm
from tests.boot.compute_guest import MARK, image, said, spec

pytestmark = pytest.mark.boot

# What the guest does: say Ready, wait to be resumed, and only then make something random.
PROGRAM = f"""
import fcntl, glob, json, os, struct, subprocess, time, urllib.request
port = next("/dev/" + p.split("/")[-2] for p in glob.glob("/sys/class/virtio-ports/*/name"))
channel = os.open(port, os.O_RDWR)
urllib.request  # loaded before the state is saved
os.write(channel, b'{{"event":"ready","uptime_s":1.0}}\\n')
line = b""
while not line.endswith(b"\\n"): line += os.read(channel, 4096)
order = json.loads(line)
seed = bytes.fromhex(order["seed"])
random = os.open("/dev/urandom", os.O_RDWR)
fcntl.ioctl(random, 0x40085203, struct.pack("ii", 8 * len(seed), len(seed)) + seed)  # RNDADDENTROPY
fcntl.ioctl(random, 0x5207)  # RNDRESEEDCRNG
drawn = os.urandom(16).hex()  # at once: in time, the kernel collects some randomness of its own
ip = lambda *words: subprocess.run(["ip", "link", "set", "dev", "eth0", *words], check=True)
ip("address", order["mac"])
me = urllib.request.urlopen("http://169.254.169.254/me", timeout=20).read().decode()
print({MARK.decode()!r} + json.dumps(dict(me=me, drawn=drawn,
    mac=open("/sys/class/net/eth0/address").read().strip())), flush=True)
"""


@pytest.fixture
def made(tiny: store.Image, host: boot.Host, tmp_path: Path) -> Iterator[Template]:
    """A template of a guest that waits to be resumed."""
    with image(tiny, PROGRAM, network=True) as initrd:
        guest = spec(tiny, initrd, nics=(Nic("52:54:00:00:00:01"),))
        yield asyncio.run(_make(guest, host, tmp_path / "state"))


async def _make(guest: VmSpec, host: boot.Host, state: Path) -> Template:
    run = RunDirectory.create()
    network = host.network.backend.attach(run.metadata_socket, run.path)
    vm = Vm(guest, run, host.accelerator, [network])
    await vm.start()
    try:
        async for event in vm.events():
            if isinstance(event, Ready):
                return await save(vm, state)
    finally:
        await vm.stop(grace_s=0)
    raise AssertionError(vm.channels.console_output().decode(errors="replace")[-2000:])


async def _restore(
    template: Template, host: boot.Host, number: int
) -> tuple[dict[str, object], Ending, float]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nnumber %d" % number)
        await writer.drain()
        writer.close()

    started_s = time.monotonic()
    run = RunDirectory.create()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(await asyncio.start_unix_server(serve, run.metadata_socket))
        network = host.network.backend.attach(run.metadata_socket, run.path)
        guest = template.for_instance(f"guest-{number}", uuid4())
        vm = await stack.enter_async_context(
            Vm(guest, run, host.accelerator, [network], incoming=template.state)
        )
        await resume(vm, os.urandom(SEED_BYTES), f"52:54:00:00:01:{number:02x}")
        ending = await vm.wait()
        console = vm.channels.console_output()
    return said(console), ending, time.monotonic() - started_s


def test_restored_guests_share_nothing_that_matters(made: Template, host: boot.Host) -> None:
    """Without the seed they often draw the same numbers, depending on when their kernel reseeds."""
    seen = [asyncio.run(_restore(made, host, number)) for number in range(3)]
    assert [ending.reason for _, ending, _ in seen] == [Reason.POWERED_OFF] * 3
    assert [what["me"] for what, _, _ in seen] == [f"number {number}" for number in range(3)]
    assert [what["mac"] for what, _, _ in seen] == [f"52:54:00:00:01:{number:02x}" for number in range(3)]
    assert len({what["drawn"] for what, _, _ in seen}) == 3
    assert made.state.stat().st_mode & 0o777 == 0o600
    print("restored to end:", [f"{took_s:.2f} s" for _, _, took_s in seen])
