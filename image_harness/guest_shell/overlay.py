"""An image with the program that answers commands in it: a copy, the image itself stays as it is."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from image_harness import cpio, images, programs, root_view, store
from image_harness.debian_disk import inject
from image_harness.errors import HelperFailed, NotAnImage
from image_harness.helper import guest as helper
from image_harness.layers import Say

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
_PROGRAM = "/usr/lib/guestling/serve"
_FILES = {_PROGRAM: SERVE, f"{_UNITS}/{UNIT.name}": UNIT}
_LINKS = {f"{_UNITS}/multi-user.target.wants/{UNIT.name}": f"../{UNIT.name}"}


@dataclass(frozen=True)
class Prepared:
    """An image to boot for a test, and why it takes no commands; None: it does."""

    image: store.Image
    why_not: str | None = None


def with_shell(image: store.Image, where: Path, say: Say) -> Prepared:
    """The image to boot for a test. A disk's copy is kept beside the image, an initrd's is made in `where`.

    One that the program cannot be put into comes back as it is. Must be called in the main thread, because a
    helper guest may be needed. Raises HarnessError, SpawnerError.
    """
    if image.disk is None:
        if image.initrd is None:
            return Prepared(image, "there is neither an initramfs nor a disk to put the program into")
        programs_ = {AFTER_THE_AGENT: SERVE, BEFORE_INIT: WAIT}
        own = where / f"{image.manifest.digest}.cpio"
        return Prepared(dataclasses.replace(image, initrd=_initrd(image.initrd, own, programs_)))
    write = _by_debugfs if is_root_alone(image) else partial(_by_helper, image.disk, say)
    try:
        return Prepared(dataclasses.replace(image, disk=_kept(image.disk, where, write)))
    except (HelperFailed, NotAnImage) as error:
        return Prepared(image, str(error))


def is_root_alone(image: store.Image) -> bool:
    """Whether its disk is a raw ext4 file system as a whole, into which debugfs writes."""
    return image.disk is not None and image.disk_format == "raw" and root_view.is_ext(image.disk)


def with_server(image: store.Image, where: Path) -> store.Image:
    """The image for a server of a cloud: it stays up, and answers beside its console. Raises HarnessError.

    A disk from elsewhere stays as it is.
    """
    if image.kernel is None:
        return image
    if image.disk is not None:
        disk = _kept(image.disk, where, _by_debugfs) if is_root_alone(image) else image.disk
        return dataclasses.replace(image, disk=disk)
    if image.initrd is None:
        return image
    own = where / f"{image.manifest.digest}.server.cpio"
    cmdline = f"{image.manifest.cmdline} guestling.keep=1 guestling.exec=1"
    return dataclasses.replace(
        image,
        initrd=_initrd(image.initrd, own, {BESIDE_THE_CONSOLE: SERVE}),
        manifest=dataclasses.replace(image.manifest, cmdline=cmdline),
    )


def _initrd(initrd: Path, own: Path, programs_: Mapping[str, Path]) -> Path:
    """One more archive behind the others: the kernel unpacks all, later files win."""
    added = cpio.archive([cpio.file(name, path.read_bytes(), 0o755) for name, path in programs_.items()])
    own.write_bytes(initrd.read_bytes() + added)
    return own


def _kept(disk: Path, where: Path, write: Callable[[Path], None]) -> Path:
    """A copy of the disk with what `write` puts into it.

    It takes seconds, so that it is made once for an image; two who make it at once make the same.
    """
    kept = store.harness_copy(disk, _digest())
    if kept.exists() and kept.stat().st_mtime_ns > disk.stat().st_mtime_ns:
        kept.touch()
        return kept
    work = where / kept.name
    programs.run(["cp", "--sparse=always", "--reflink=auto", str(disk), str(work)])
    try:
        write(work)
    except BaseException:
        work.unlink()
        raise
    try:
        # Of a store on another file system, or one that is not ours to write to, the copy serves this run.
        kept = work.rename(kept)
    except OSError:
        return work
    store.prune_harness_copies(kept)
    return kept


def _by_debugfs(copy: Path) -> None:
    """The root file system with a unit more: nothing is mounted (SP-24)."""
    inject.inject(copy, _FILES, _LINKS, frozenset({_PROGRAM}))


def _by_helper(image: Path, say: Say, copy: Path) -> None:
    """The same where debugfs does not reach: partitions, qcow2, xfs, btrfs."""
    say("putting the program that takes commands into a copy of the image, once")
    files = {path: (source.name, 0o755 if path == _PROGRAM else 0o644) for path, source in _FILES.items()}
    job = helper.Job(
        {"do": "shell", "files": files, "links": _LINKS}, {source.name: source for source in _FILES.values()}
    )
    helper.run(images.get("tiny", say).image, job, copy, write=True, say=lambda _: None, name=image)


def _digest() -> str:
    return hashlib.sha256(SERVE.read_bytes() + UNIT.read_bytes()).hexdigest()[:8]
