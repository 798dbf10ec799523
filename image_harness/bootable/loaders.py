"""The boot loaders, from Debian's packages, kept in the cache: systemd's EFI stub, and syslinux."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from image_harness import cache, debian, store
from image_harness.layers import Say

SUITE = "bookworm"
# Package -> path in it -> name under which it is kept.
PARTS = {
    "systemd-boot-efi": {"usr/lib/systemd/boot/efi/linuxx64.efi.stub": "linuxx64.efi.stub"},
    "syslinux": {"usr/bin/syslinux": "syslinux"},
    "syslinux-common": {"usr/lib/syslinux/mbr/gptmbr.bin": "gptmbr.bin"},
}
_PACKAGES = "packages.json"


@dataclass(frozen=True)
class Loaders:
    """Where they are, and of which packages. `syslinux` is the installer, which runs here."""

    stub: Path
    gptmbr: Path
    syslinux: Path
    packages: tuple[store.PackageVersion, ...]


def get(say: Say) -> Loaders:
    """Find them in the cache, or fetch them. Raises HarnessError."""
    home = cache.home() / "loaders" / SUITE
    if not (home / _PACKAGES).exists():
        say(f"fetching boot loaders of Debian {SUITE}")
        _fetch(home)
    packages = tuple(store.PackageVersion(**each) for each in json.loads((home / _PACKAGES).read_text()))
    return Loaders(home / "linuxx64.efi.stub", home / "gptmbr.bin", home / "syslinux", packages)


def _fetch(home: Path) -> None:
    with cache.scratch() as work, cache.new_directory(home) as new:
        apt = debian.Apt(work / "apt", SUITE, debian.mirrors())
        apt.update()
        packages = apt.download(PARTS, work / "debs")
        for package in packages:
            debian.unpack(package, work / package.name)
            for path, name in PARTS[package.name].items():
                shutil.copy2(work / package.name / path, new / name)
        versions = [store.PackageVersion(each.name, each.version, each.sha256) for each in packages]
        (new / _PACKAGES).write_text(json.dumps([asdict(each) for each in versions], indent=1) + "\n")
