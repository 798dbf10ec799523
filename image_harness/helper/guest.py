"""Runs the helper guest on one image file and reads its answer.

The image reaches QEMU as an open file, QEMU runs confined as nobody without a network (SP-20), and the answer
is read as what it is: bytes of a guest that an image may have taken over.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from image_harness import programs, store
from image_harness.errors import HelperFailed, NotAnImage
from image_harness.helper import pack
from image_harness.layers import Say
from image_harness.narrator import printable
from spawner.compute.driver import Disk, Format, VmSpec
from spawner.compute.qemu import accelerator
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.compute.qemu.vm import Vm
from spawner.images import ImageRefused, inspect

QEMU = "qemu-system-x86_64"
MEMORY_MIB = 768
DEADLINE_S = 900.0
ANSWER_MAGIC = b"GUESTLING ANSWER"
_LENGTH_DIGITS = 16
_ANSWER_LIMIT = 256 << 20
_SAID = b"helper: "
# A qcow2 file that is empty is smaller than any disk; one with a root in it is not.
_SMALLEST = 1 << 20


@dataclass(frozen=True)
class Job:
    """What shall be done inside. `payload`: path below /helper/payload -> file here."""

    order: Mapping[str, object]
    payload: Mapping[str, Path]


def image_format(path: Path) -> Format:
    """What a file is, after a look at its content (SP-09). Raises NotAnImage."""
    reasons = []
    if path.is_file() and path.stat().st_size < _SMALLEST:
        raise NotAnImage(path, "it is too small for a file system with a Linux", "Give the file of an image")
    for each in (Format.QCOW2, Format.RAW):
        try:
            inspect(path, each.value)
        except ImageRefused as error:
            reasons.append(str(error))
        except OSError as error:
            raise NotAnImage(path, error.strerror or "cannot be read", "Give the file of an image") from error
        else:
            return each
    raise NotAnImage(path, " ".join(reasons), "Give a raw or qcow2 image without backing or data files")


def run_on_itself(tiny: store.Image, job: Job) -> dict[str, object]:
    """The answer of the job, which was done on the root of the tiny guest: that is where it runs.

    Must be called in the main thread. Raises HelperFailed, SpawnerError.
    """
    own = Job({**job.order, "own_root": True}, job.payload)
    return _checked(tiny.directory, *asyncio.run(_run(tiny, own, None, write=False, say=lambda _: None)))


def run(
    tiny: store.Image, job: Job, image: Path, *, write: bool, say: Say, name: Path | None = None
) -> dict[str, object]:
    """The answer of the job, which was done on the image; without `write` the file stays as it is.

    `name`: what errors call the image, where it is a copy of another.

    Must be called in the main thread. Raises NotAnImage, HelperFailed, SpawnerError.
    """
    disk = Disk(image.absolute(), image_format(image), serial="image")
    return _checked(name or image, *asyncio.run(_run(tiny, job, disk, write=write, say=say)))


async def _run(
    tiny: store.Image, job: Job, disk: Disk | None, *, write: bool, say: Say
) -> tuple[bytes | None, str]:
    """What the guest answered, and the end of what it said."""
    directory = RunDirectory.create()
    try:
        initrd, answer = directory.path / "helper.cpio", directory.path / "answer.raw"
        initrd.write_bytes(pack.initrd(tiny, job.order, job.payload))
        with answer.open("wb") as file:
            file.truncate(_ANSWER_LIMIT)
        disks = [Disk(answer, serial="answer")]
        if disk is not None:
            disks.insert(0, disk if write else _layer_over(disk, directory.path / "layer.qcow2"))
        spec = VmSpec(
            name="helper",
            uuid=uuid.uuid4(),
            kernel=tiny.kernel,
            initrd=initrd,
            cmdline=f"{tiny.manifest.cmdline} rdinit=/{pack.INIT}",
            memory_mib=MEMORY_MIB,
            disks=tuple(disks),
            agent_channel=False,
            deadline_s=DEADLINE_S,
        )
        chosen = accelerator.probe(QEMU, kernel=tiny.kernel)
        async with Vm(spec, directory, chosen, binary=QEMU, on_console=_teller(say)) as vm:
            ending = await vm.wait()
            console = vm.channels.console_output()
            last = printable(console.decode(errors="replace")[-400:])
            return _read(answer), f"{ending.reason.value}: {last}"
    finally:
        directory.remove()


def _layer_over(disk: Disk, own: Path) -> Disk:
    """A layer that takes all writes: journals may be replayed, and the image stays as it is (SP-08)."""
    programs.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", disk.format.value, "-b", str(disk.path), str(own)]
    )
    base = Disk(disk.path, disk.format, read_only=True)
    return Disk(own, Format.QCOW2, serial=disk.serial, backing=base)


def _read(answer: Path) -> bytes | None:
    with answer.open("rb") as file:
        head = file.read(len(ANSWER_MAGIC) + _LENGTH_DIGITS)
        digits = head[len(ANSWER_MAGIC) :].strip()
        if not head.startswith(ANSWER_MAGIC) or not digits.isdigit() or int(digits) > _ANSWER_LIMIT:
            return None
        return file.read(int(digits))


def _checked(image: Path, content: bytes | None, last: str) -> dict[str, object]:
    if content is None:
        raise HelperFailed(image, f"the helper guest gave no answer ({last})")
    try:
        found = json.loads(content.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise HelperFailed(image, "the helper guest's answer is no JSON") from error
    if not isinstance(found, dict) or not ("done" in found or "failed" in found):
        raise HelperFailed(image, "the helper guest's answer is not as agreed")
    if "failed" in found:
        raise NotAnImage(
            image, printable(str(found["failed"])), "Look at it with `guestling boot` or qemu-nbd"
        )
    return found


def _teller(say: Say) -> Callable[[bytes], None]:
    """Passes on the lines that are meant for people."""
    pending = bytearray()

    def take(chunk: bytes) -> None:
        pending.extend(chunk)
        *lines, rest = bytes(pending).split(b"\n")
        pending[:] = rest[-4096:]
        for line in lines:
            if line.startswith(_SAID):
                say(printable(line.removeprefix(_SAID).decode(errors="replace").strip()[:400]))

    return take
