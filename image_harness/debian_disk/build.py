"""Debian disk images as plans: how a release's base is made, and how the agent is added."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from image_harness import agent, cache, debian, guest_python, layers, programs
from image_harness.bootable import initrd
from image_harness.debian_disk import base, inject, recipe
from image_harness.layers import Say

FAMILY = "debian"


def plan(release: recipe.Release, pinning: debian.Pinning = debian.NEWEST) -> layers.Plan:
    """The plan of the image of one release."""
    code = [Path(str(module.__file__)) for module in (recipe, base, initrd)]
    own = sorted(path for path in base.OWN_FILES.rglob("*") if path.is_file())
    digest = layers.digest_of(*code, base.PACKER, *own, more=repr(pinning) if pinning else "")
    return layers.Plan(
        name=release.name,
        suite=release.suite,
        cmdline=recipe.CMDLINE,
        memory_mib=recipe.MEMORY_MIB,
        recipe=digest,
        make_base=partial(_make_base, release, pinning),
        add_agent=_copy_base if release.stock else _add_agent,
        kept=2,
    )


def _make_base(release: recipe.Release, pinning: debian.Pinning, work: Path, say: Say) -> layers.BaseFacts:
    with cache.scratch() as temporary:
        tar, root = temporary / "root.tar", temporary / "root"
        root.mkdir()
        say(f"bootstrapping Debian {release.suite} (about a minute)")
        epoch_s = pinning.now_s()
        base.bootstrap(release, tar, pinning, epoch_s)
        packages = base.packages(tar)
        pinning.check({package.name: package.version for package in packages})
        say("making its file system")
        base.make_file_system(tar, root, work / "base.raw", release.name, epoch_s)
        kernel = base.keep_beside(tar, work)
        return layers.BaseFacts(kernel, packages, epoch_s)


def _copy_base(base_directory: Path, image: Path) -> None:
    disk = str(image / "disk.raw")
    programs.run(["cp", "--sparse=always", "--reflink=auto", str(base_directory / "base.raw"), disk])


def _add_agent(base_directory: Path, image: Path) -> None:
    _copy_base(base_directory, image)
    disk = image / "disk.raw"
    python = guest_python.GuestPython(base_directory / "root", "python3")
    with cache.scratch() as work:
        agent.lay_out(work, python)
        files = {
            path.relative_to(work).as_posix(): path for path in sorted(work.rglob("*")) if path.is_file()
        }
        files |= agent.systemd_files(FAMILY)
        inject.inject(
            disk,
            {f"/{name}": path for name, path in files.items()},
            {f"/{name}": target for name, target in {**agent.LINKS, **agent.systemd_links()}.items()},
            frozenset(f"/{name}" for name in agent.EXECUTABLE),
            epoch_s=layers.facts_of(base_directory).epoch_s,
        )
