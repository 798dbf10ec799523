"""Tiny guests with an /init of the test's own, for what nobody wants to happen on the machine of the test.

Their source is a NoCloud seed in the initramfs; they have no network card. With a disk, what the agent
changes lies there: /etc, /home, /root, /srv and /var.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from image_harness import cpio, store
from spawner.compute.agent_events import Result, Started
from spawner.compute.driver import Disk, Ending, Reason
from spawner.compute.qemu.accelerator import Accelerator
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.compute.qemu.vm import Vm
from tests.boot.compute_guest import PREPARE, spec

QEMU = "qemu-system-x86_64"
INSTANCE = "i-1"
CUT_NOW = b"CUT-NOW"
SEED = "var/lib/cloud/seed/nocloud"
# The first boot fills the disk with what the image has; later ones find it there.
ON_DISK = """\
mount -t ext4 /dev/vda /mnt || echo "the disk cannot be mounted"
for each in etc home root srv var; do
    [ -e /mnt/.filled ] || cp -a /$each /mnt/
    mount -o bind /mnt/$each /$each
done
[ -e /mnt/.filled ] || { : >/mnt/.filled; sync; }
"""
AGENT = "cloud-init --all-stages </dev/console >/dev/console 2>&1\n"
# Without a disk the remount fails, and nobody minds.
END = """\
sync
mount -o remount,ro /mnt 2>/dev/null
stty -echo </dev/console
poweroff -f
"""


@dataclass(frozen=True)
class Seen:
    """One boot: the agent's result (None when it was cut short), how the guest ended, all it printed."""

    result: Result | None
    ending: Ending
    console: str


@contextmanager
def initrd(
    tiny: store.Image,
    user_data: str,
    *,
    limits: str = "{}",
    before: str = "",
    agent: str = AGENT,
    programs: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Path]:
    """The tiny image with this user data and limits.

    `before` and `agent` are lines of its /init; `programs` lie in /usr/local/sbin, where they come first.
    """
    init = f"{PREPARE}\nip link set lo up\n{before}\n{agent}\n{END}"
    files = [
        cpio.file("init", init.encode(), 0o755),
        cpio.file("etc/cloud/cloud.cfg.d/50-limits.cfg", f"limits: {limits}\n".encode()),
        cpio.file(f"{SEED}/user-data", user_data.encode()),
        cpio.file(f"{SEED}/meta-data", f"instance-id: {INSTANCE}\nlocal-hostname: web1\n".encode()),
        *(cpio.file(f"usr/local/sbin/{name}", text.encode(), 0o755) for name, text in programs.items()),
    ]
    assert tiny.initrd is not None
    with tempfile.TemporaryDirectory(prefix="gt") as directory:
        path = Path(directory) / "initrd"
        path.write_bytes(tiny.initrd.read_bytes() + cpio.archive(files))
        path.chmod(0o644)
        yield path


def empty_disk(path: Path, size: str = "64M") -> Path:
    """An ext4 file system that holds nothing yet."""
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", str(path), size], check=True)
    return path


def boot(
    tiny: store.Image,
    accelerator: Accelerator,
    image: Path,
    *,
    disk: Path | None = None,
    words: str = "",
    cut_at: str = "",
    binary: str = QEMU,
    memory_mib: int = 256,
) -> Seen:
    """Boot to the guest's end, or to a power cut: when the stage `cut_at` begins, or the guest says CUT-NOW.

    `words`: more of the kernel's command line.
    """
    disks = (Disk(disk),) if disk else ()
    cmdline = f"{tiny.manifest.cmdline} {words}"
    guest = spec(tiny, image, disks=disks, cmdline=cmdline, memory_mib=memory_mib, deadline_s=120.0)

    async def run() -> Seen:
        result = None
        is_time = asyncio.Event()
        heard = bytearray()

        def on_console(chunk: bytes) -> None:
            heard.extend(chunk)
            if CUT_NOW in heard[-len(chunk) - len(CUT_NOW) :]:
                is_time.set()

        async def cut(vm: Vm) -> None:
            await is_time.wait()
            os.kill(vm.pid, signal.SIGKILL)

        async with Vm(guest, RunDirectory.create(), accelerator, binary=binary, on_console=on_console) as vm:
            cutting = asyncio.create_task(cut(vm))
            async for event in vm.events():
                if isinstance(event, Result):
                    result = event
                elif cut_at and isinstance(event, Started) and event.name == cut_at:
                    is_time.set()
            ending = await vm.wait()
            cutting.cancel()
            console = vm.channels.console_output()
        return Seen(result, ending, console.decode(errors="replace"))

    return asyncio.run(run())


def must_have_ended(seen: Seen, reason: Reason = Reason.POWERED_OFF) -> Result | None:
    """The result of a guest that ended as it should; what it printed otherwise."""
    assert seen.ending.reason is reason, (seen.ending, seen.console[-3000:])
    return seen.result
