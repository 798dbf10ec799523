"""Guests for the tests of the compute driver: the tiny image with a program of the test's own."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from image_harness import cpio, store
from spawner.compute.driver import Ending, Nic, VmSpec
from spawner.compute.qemu.accelerator import Accelerator
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.compute.qemu.vm import Vm
from spawner.network.backend import Backend

UUID_1 = UUID("6f2b9a36-4c1e-4d5a-9a77-3f0d5b1e8c42")
MAC_1 = "52:54:00:12:34:56"
MARK = b"GUEST-SAYS "

PREPARE = """#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin HOME=/root TERM=dumb
mount -n -t proc proc /proc; mount -n -t sysfs sys /sys; mount -n -t devtmpfs dev /dev
mount -n -t tmpfs -o mode=0755 run /run
read -r modules </etc/modules; modprobe -a $modules
"""

LEASE = """ip link set lo up; ip link set eth0 up
printf '%s\\n' '#!/bin/sh' 'case $1 in bound) ip addr add $ip/${mask:-24} dev $interface
[ -z "$router" ] || ip route add default via $router dev $interface;; esac' >/run/lease
chmod 755 /run/lease; udhcpc -i eth0 -s /run/lease -q -n -t 10 -T 1 >/dev/null 2>&1
"""

RUN = """python3 /program.py </dev/console >/dev/console 2>&1
sync
poweroff -f
"""

Answer = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Seen:
    """One test guest's boot: what it said, how it ended, all it printed."""

    said: dict[str, object]
    ending: Ending
    console: bytes
    requests: tuple[bytes, ...]


@contextmanager
def image(tiny: store.Image, program: str, *, network: bool = False) -> Iterator[Path]:
    """The initrd of the tiny image, with `program` (Python) as what runs."""
    init = PREPARE + (LEASE if network else "") + RUN
    assert tiny.initrd is not None
    overlay = cpio.archive(
        [cpio.file("init", init.encode(), 0o755), cpio.file("program.py", program.encode(), 0o644)]
    )
    with tempfile.TemporaryDirectory(prefix="gt") as directory:
        path = Path(directory) / "initrd"
        path.write_bytes(tiny.initrd.read_bytes() + overlay)
        path.chmod(0o644)
        yield path


def spec(tiny: store.Image, initrd: Path, **fields: object) -> VmSpec:
    """A small guest that is given a minute."""
    given: dict[str, object] = {
        "name": "test-guest",
        "uuid": UUID_1,
        "kernel": tiny.kernel,
        "initrd": initrd,
        "cmdline": tiny.manifest.cmdline,
        "memory_mib": 256,
        "deadline_s": 90.0,
        **fields,
    }
    return VmSpec(**given)  # type: ignore[arg-type]  # by name


def run_guest(
    tiny: store.Image,
    accelerator: Accelerator,
    program: str,
    backend: Backend | None = None,
    answer: Answer = lambda _: b"hello",
    **fields: object,
) -> Seen:
    """Boot `program` to its end. With a backend, `answer` serves the requests on the metadata address."""
    with image(tiny, program, network=backend is not None) as initrd:
        nics = (Nic(MAC_1),) if backend else ()
        return asyncio.run(_boot(spec(tiny, initrd, nics=nics, **fields), accelerator, backend, answer))


async def _boot(guest: VmSpec, accelerator: Accelerator, backend: Backend | None, answer: Answer) -> Seen:
    run = RunDirectory.create()
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        requests.append(head)
        body = answer(head)
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, run.metadata_socket)
    async with server:
        network = [backend.attach(run.metadata_socket, run.path)] if backend else []
        async with Vm(guest, run, accelerator, network) as vm:
            ending = await vm.wait()
            console = vm.channels.console_output()
    return Seen(said(console), ending, console, tuple(requests))


def said(console: bytes) -> dict[str, object]:
    """The one JSON document that the program printed; empty when it printed none."""
    for line in console.splitlines():
        _, mark, document = line.partition(MARK)
        if mark:
            found: dict[str, object] = json.loads(document)
            return found
    return {}
