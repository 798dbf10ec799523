"""The tiny image itself: what is in it, that it is the same every time, that asking again costs nothing."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from image_harness import agent, images, layers, store
from image_harness.tiny import build

pytestmark = pytest.mark.boot


def _listing(initrd: Path) -> dict[str, str]:
    """path -> mode and owner, of the first archive of the initramfs."""
    done = subprocess.run(
        ["cpio", "--list", "--verbose", "--numeric-uid-gid", "--quiet"],
        input=initrd.read_bytes(), capture_output=True, check=True,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    rows = [line.split(maxsplit=8) for line in done.stdout.decode().splitlines()]
    return {row[8].split(" -> ")[0]: f"{row[0]} {row[2]}:{row[3]}" for row in rows}


def test_the_manifest_names_every_package_with_its_checksum(tiny: store.Image) -> None:
    packages = {package.name: package for package in tiny.manifest.packages}
    assert {"busybox-static", "libc6", "python3-yaml", "passwd"} <= set(packages)
    assert any(name.startswith("linux-image-") and name.endswith("-cloud-amd64") for name in packages)
    assert all(package.version and len(package.sha256) == 64 for package in packages.values())
    assert tiny.manifest.agent == agent.digest()


def test_secrets_and_programs_have_the_right_modes(tiny: store.Image) -> None:
    assert tiny.initrd is not None
    listing = _listing(tiny.initrd)
    assert listing["etc/shadow"] == "-rw-r----- 0:42"
    assert listing["etc/sudoers.d"] == "drwxr-x--- 0:0"
    assert listing["tmp"] == "drwxrwxrwt 0:0"
    assert listing["root"] == "drwx------ 0:0"
    assert listing["init"] == listing["usr/bin/cloud-init"] == "-rwxr-xr-x 0:0"
    assert {row.split()[1] for row in listing.values()} == {"0:0", "0:42"}


def test_nothing_is_compiled_in_the_guest(tiny: store.Image) -> None:
    assert tiny.initrd is not None
    paths = set(_listing(tiny.initrd))
    library = [path for path in paths if path.startswith("usr/lib/python3")]
    assert any(path.endswith("/yaml/__init__.pyc") for path in library)
    assert not [path for path in library if path.endswith(".py")]


def test_asking_again_costs_less_than_50_ms(tiny: store.Image) -> None:
    started_s = time.perf_counter()
    again = images.build("tiny", lambda _: None)
    took_s = time.perf_counter() - started_s
    assert again.cached
    assert again.image == tiny
    assert took_s < 0.05


def test_packing_twice_gives_the_same_bytes(tiny: store.Image) -> None:
    (newest, *_) = layers.bases(build.plan())
    assert tiny.initrd is not None
    packed = build.agent_archive(newest)
    assert packed == build.agent_archive(newest)
    assert tiny.initrd.read_bytes() == (newest / "base.cpio").read_bytes() + packed
