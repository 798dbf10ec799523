"""An image with the program that answers commands in it: a copy, the image itself stays as it is."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

from image_harness import cpio, programs, root_view, store
from image_harness.debian_disk import inject

SERVE = Path(__file__).parent / "serve"
WAIT = Path(__file__).parent / "wait"
UNIT = Path(__file__).parent / "guestling-harness.service"
# What /init of an initramfs guest starts after the agent, when told to list what changed.
AFTER_THE_AGENT = "usr/share/guestling/tree"
# What it starts and does not wait for, when told to take commands.
BESIDE_THE_CONSOLE = "usr/lib/guestling/serve"
# What the kernel starts instead of /init, when told to, in a guest that is to be saved.
BEFORE_INIT = "usr/share/guestling/wait"
_UNITS = "/usr/lib/systemd/system"


def with_shell(image: store.Image, where: Path) -> store.Image:
    """The image to boot for a test. A disk's copy is kept beside the image, an initrd's is made in `where`.

    One that cannot take commands comes back as it is: `takes_commands` tells. Raises HarnessError.
    """
    if not takes_commands(image):
        return image
    if image.disk is not None:
        return dataclasses.replace(image, disk=_disk(image.disk, where))
    if image.initrd is not None:
        programs_ = {AFTER_THE_AGENT: SERVE, BEFORE_INIT: WAIT}
        own = where / f"{image.manifest.digest}.cpio"
        return dataclasses.replace(image, initrd=_initrd(image.initrd, own, programs_))
    return image


def takes_commands(image: store.Image) -> bool:
    """Whether the program can be put into it: an initramfs, or a raw ext4 file system as a whole."""
    if image.disk is None:
        return image.initrd is not None
    return image.disk_format == "raw" and root_view.is_ext(image.disk)


def with_server(image: store.Image, where: Path) -> store.Image:
    """The image for a server of a cloud: it stays up, and answers beside its console. Raises HarnessError.

    A disk from elsewhere stays as it is.
    """
    if image.kernel is None or not takes_commands(image):
        return image
    if image.disk is None and image.initrd is not None:
        cmdline = f"{image.manifest.cmdline} guestling.keep=1 guestling.exec=1"
        return dataclasses.replace(
            image,
            initrd=_initrd(
                image.initrd,
                where / f"{image.manifest.digest}.server.cpio",
                {BESIDE_THE_CONSOLE: SERVE},
            ),
            manifest=dataclasses.replace(image.manifest, cmdline=cmdline),
        )
    return with_shell(image, where)


def _initrd(initrd: Path, own: Path, programs_: Mapping[str, Path]) -> Path:
    """One more archive behind the others: the kernel unpacks all, later files win."""
    added = cpio.archive([cpio.file(name, path.read_bytes(), 0o755) for name, path in programs_.items()])
    own.write_bytes(initrd.read_bytes() + added)
    return own


def _disk(disk: Path, where: Path) -> Path:
    """The root file system with a unit more, written by debugfs: nothing is mounted (SP-24).

    A copy takes seconds, so that it is made once for an image; two who make it at once make the same.
    """
    kept = disk.with_name(f"{disk.stem}-harness-{_digest()}.raw")
    if kept.exists() and kept.stat().st_mtime_ns > disk.stat().st_mtime_ns:
        return kept
    work = where / kept.name
    programs.run(["cp", "--sparse=always", "--reflink=auto", str(disk), str(work)])
    files = {"/usr/lib/guestling/serve": SERVE, f"{_UNITS}/{UNIT.name}": UNIT}
    links = {f"{_UNITS}/multi-user.target.wants/{UNIT.name}": f"../{UNIT.name}"}
    inject.inject(work, files, links, frozenset({"/usr/lib/guestling/serve"}))
    try:
        # Of a store on another file system, or one that is not ours to write to, the copy serves this run.
        return work.rename(kept)
    except OSError:
        return work


def _digest() -> str:
    return hashlib.sha256(SERVE.read_bytes() + UNIT.read_bytes()).hexdigest()[:8]
