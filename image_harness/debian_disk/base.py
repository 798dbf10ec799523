"""The base of a Debian disk image: a release bootstrapped from packages, as ext4, without the agent."""

from __future__ import annotations

import json
import lzma
import os
import re
import shutil
import sys
import tarfile
import uuid
from pathlib import Path

from image_harness import debian, programs, store
from image_harness.bootable import initrd
from image_harness.debian_disk import recipe
from image_harness.errors import UnsupportedHost
from image_harness.guest_python import LIBRARIES

OWN_FILES = Path(__file__).parent / "root"
PACKER = Path(__file__).parent / "pack.py"
_BOOTSTRAP_S = 1200.0
# What is kept of the root beside the file system: the kernel, and enough of Python to compile the agent.
_PYTHON = re.compile(
    rf"usr/bin/python3(\.\d+)?|usr/lib/python3\.\d+/(?!.*__pycache__).*|{LIBRARIES}/"
    r"(ld-linux-x86-64\.so\.2|lib(c|m|z|expat|dl|pthread|util)(-[\d.]+)?\.so[\d.]*)"
)
_MODULE = re.compile(r"(usr/)?lib/modules/(?P<release>[^/]+)/.*/(?P<name>[^/]+)\.ko(?P<packed>\.xz)?")


def bootstrap(release: recipe.Release, into: Path, pinning: debian.Pinning, epoch_s: int) -> None:
    """A tar of the release's root at `into`. As root, else in a user namespace of its own.

    `epoch_s`: no file bears a later time.
    """
    if shutil.which("mmdebstrap") is None:
        raise UnsupportedHost(
            release.name, "mmdebstrap is not installed", "Run ./dev test once, or install it"
        )
    options = [f"--dpkgopt=path-exclude={path}" for path in recipe.LEFT_OUT]
    options += [f"--aptopt={line}" for line in debian.inherited_settings().splitlines()]
    mode = "root" if os.geteuid() == 0 else "unshare"
    if pinning.versions:
        preferences = into.with_name("preferences")
        preferences.write_text(pinning.preferences())
        # $1 is the root; mmdebstrap runs hooks by a shell, and the path is ours.
        pinned = '"$1"/etc/apt/preferences.d/guestling'
        options += [f'--setup-hook=mkdir -p "$1"/etc/apt/preferences.d && cp "{preferences}" {pinned}']
        options += [f"--customize-hook=rm {pinned}"]
    programs.run(
        [
            "mmdebstrap", "--quiet", f"--mode={mode}", "--variant=minbase", "--format=tar",
            f"--include={','.join(release.packages)}", *options, release.suite, str(into),
            *pinning.mirrors().sources(release.suite),
        ],
        env={"SOURCE_DATE_EPOCH": str(epoch_s)},
        timeout_s=_BOOTSTRAP_S,
    )  # fmt: skip


def make_file_system(tar: Path, work: Path, out: Path, name: str, epoch_s: int) -> None:
    """The root of `tar`, settled as the recipe says, as an ext4 file system in the file `out`.

    `name` decides its UUID; `epoch_s`: no file bears a later time.
    """
    files = sorted(path for path in OWN_FILES.rglob("*") if path.is_file())
    names = [path.relative_to(OWN_FILES).as_posix() for path in files]
    settings = {
        "files": names,
        "sources": [str(path) for path in files],
        "masked": recipe.MASKED,
        "enabled": [f"{target}/{unit}" for target, units in recipe.ENABLED.items() for unit in units],
        "emptied": recipe.EMPTIED,
        "removed": recipe.REMOVED,
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"guestling:{name}:{epoch_s}")),
        "epoch_s": epoch_s,
    }
    disguise = [] if os.geteuid() == 0 else ["fakeroot", "--"]
    packer = [*disguise, sys.executable, "-I", str(PACKER)]
    programs.run([*packer, str(tar), str(work), str(out), recipe.SIZE], stdin=json.dumps(settings))


def keep_beside(tar: Path, into: Path) -> str:
    """The kernel as `vmlinuz`, drivers of disks below `kernel/`, Python with its library below `root/`.

    Gives the kernel's release.
    """
    release = ""
    with tarfile.open(tar) as archive:
        for member in archive:
            path = member.name.removeprefix("./")
            if path.startswith("boot/vmlinuz-"):
                release = path.removeprefix("boot/vmlinuz-")
                _extract(archive, member, into / "vmlinuz")
                (into / "kernel/boot").mkdir(parents=True)
                (into / "kernel/boot" / f"vmlinuz-{release}").symlink_to("../../vmlinuz")
            elif (module := _MODULE.fullmatch(path)) and module["name"].replace("-", "_") in initrd.KEPT:
                target = into / "kernel/lib/modules" / module["release"] / f"{module['name']}.ko"
                _extract(archive, member, target)
                if module["packed"]:
                    target.write_bytes(lzma.decompress(target.read_bytes()))
            elif _PYTHON.fullmatch(path) and member.isfile():
                _extract(archive, member, into / "root" / path)
            elif _PYTHON.fullmatch(path) and member.issym():
                (into / "root" / path).parent.mkdir(parents=True, exist_ok=True)
                (into / "root" / path).symlink_to(member.linkname)
    return release


def packages(tar: Path) -> tuple[store.PackageVersion, ...]:
    """What dpkg says is installed in the root."""
    with tarfile.open(tar) as archive:
        stream = archive.extractfile("./var/lib/dpkg/status")
        status = stream.read().decode() if stream else ""
    found = re.findall(r"^Package: (\S+)$.*?^Version: (\S+)$", status, re.MULTILINE | re.DOTALL)
    return tuple(store.PackageVersion(name, version, "") for name, version in found)


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    stream = archive.extractfile(member)
    assert stream is not None  # noqa: S101 - only regular files come here
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(stream.read())
    target.chmod(0o755 if member.mode & 0o100 else 0o644)
