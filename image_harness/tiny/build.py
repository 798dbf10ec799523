"""The tiny guest as a plan: how its base is made, and how the agent is added."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from image_harness import agent, cache, cpio, debian, guest_python, layers, store
from image_harness.layers import Say
from image_harness.tiny import base, kernel, recipe

MEMORY_MIB = 256
# Drivers for file systems of other images, an archive to put behind the initrd's; not part of it.
FILE_SYSTEMS = "file-systems.cpio"
# A guest whose /init ends must not spin for ever (`panic`); the others save time under emulation. Without
# `rcu_expedited` whoever closes a socket of a DHCP client waits 20 to 60 ms for the kernel's bookkeeping.
CMDLINE = "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on rcupdate.rcu_expedited=1"


def plan(pinning: debian.Pinning = debian.NEWEST) -> layers.Plan:
    """The plan of the image `tiny`."""
    code = [Path(str(module.__file__)) for module in (recipe, base, kernel, cpio)]
    own = sorted(path for path in base.OWN_FILES.rglob("*") if path.is_file())
    more = repr(pinning) if pinning else ""
    digest = layers.digest_of(*code, guest_python.COMPILER, *own, more=more)
    make = partial(_make_base, pinning)
    return layers.Plan("tiny", recipe.SUITE, CMDLINE, MEMORY_MIB, digest, make, _add_agent, kept=3)


def _make_base(pinning: debian.Pinning, work: Path, say: Say) -> layers.BaseFacts:
    with cache.scratch() as temporary:
        say(f"fetching {len(recipe.KEPT) + 1} packages of Debian {recipe.SUITE}")
        packages = base.fetch(temporary, pinning)
        say("unpacking them and compiling Python's library")
        base.lay_out(temporary, work / "root", packages)
        image = next(package for package in packages if package.name.startswith("linux-image"))
        unpacked_kernel = temporary / "unpacked" / image.name
        release = kernel.release(unpacked_kernel)
        (work / "base.cpio").write_bytes(cpio.archive(base.entries(work / "root", unpacked_kernel)))
        modules = (*recipe.MODULES, *recipe.MODULES_OF_FILE_SYSTEMS)
        (work / FILE_SYSTEMS).write_bytes(cpio.archive(kernel.entries(unpacked_kernel, modules)))
        shutil.copyfile(unpacked_kernel / "boot" / f"vmlinuz-{release}", work / "vmlinuz")
    versions = (store.PackageVersion(package.name, package.version, package.sha256) for package in packages)
    return layers.BaseFacts(release, tuple(versions))


def _add_agent(base_directory: Path, image: Path) -> None:
    packed = agent_archive(base_directory)
    (image / "initrd").write_bytes((base_directory / "base.cpio").read_bytes() + packed)
    shutil.copyfile(base_directory / FILE_SYSTEMS, image / FILE_SYSTEMS)


def agent_archive(base_directory: Path) -> bytes:
    """The agent as the second archive of the initramfs, compiled by the Python of the base."""
    python = guest_python.GuestPython(base_directory / "root", recipe.PYTHON)
    with cache.scratch() as work:
        agent.lay_out(work, python)
        names = sorted(path.relative_to(work).as_posix() for path in work.rglob("*") if path.is_file())
        return cpio.archive(
            [
                *(cpio.file(name, (work / name).read_bytes(), _mode(name)) for name in names),
                *(cpio.symlink(name, target) for name, target in agent.LINKS.items()),
            ]
        )


def _mode(name: str) -> int:
    return 0o755 if name in agent.EXECUTABLE else 0o644
