"""The tiny image itself: what is in it, that it is the same every time, that asking again costs nothing."""

from __future__ import annotations

import subprocess
import time

import pytest

from image_harness import agent, images, layers, store
from image_harness.tiny import build

pytestmark = [pytest.mark.boot, pytest.mark.timeout(300)]


def _listing(archive: bytes) -> dict[str, str]:
    """path -> mode and owner; of an initramfs, cpio sees the first archive alone, which is the base."""
    done = subprocess.run(
        ["cpio", "--list", "--verbose", "--numeric-uid-gid", "--quiet"],
        input=archive, capture_output=True, check=True,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    rows = [line.split(maxsplit=8) for line in done.stdout.decode().splitlines()]
    return {row[8].split(" -> ")[0]: f"{row[0]} {row[2]}:{row[3]}" for row in rows}


def test_the_manifest_names_every_package_with_its_checksum(tiny: store.Image) -> None:
    packages = {package.name: package for package in tiny.manifest.packages}
    assert {"busybox-static", "libc6", "python3-yaml", "passwd"} <= set(packages)
    assert any(name.startswith("linux-image-") and name.endswith("-cloud-amd64") for name in packages)
    assert all(package.version and len(package.sha256) == 64 for package in packages.values())


def test_secrets_and_programs_have_the_right_modes(tiny: store.Image) -> None:
    assert tiny.initrd is not None
    listing = _listing(tiny.initrd.read_bytes())
    assert listing["etc/shadow"] == "-rw-r----- 0:42"
    assert listing["etc/sudoers.d"] == "drwxr-x--- 0:0"
    assert listing["tmp"] == "drwxrwxrwt 0:0"
    assert listing["root"] == "drwx------ 0:0"
    assert listing["init"] == "-rwxr-xr-x 0:0"
    assert {row.split()[1] for row in listing.values()} == {"0:0", "0:42"}


def test_nothing_is_compiled_in_the_guest(tiny: store.Image) -> None:
    assert tiny.initrd is not None
    paths = set(_listing(tiny.initrd.read_bytes()))
    library = [path for path in paths if path.startswith("usr/lib/python3")]
    assert any(path.endswith("/yaml/__init__.pyc") for path in library)
    assert not [path for path in library if path.endswith(".py")]


def test_asking_again_costs_less_than_50_ms() -> None:
    first = images.build("tiny", lambda _: None)
    started_s = time.perf_counter()
    again = images.build("tiny", lambda _: None)
    took_s = time.perf_counter() - started_s
    assert again.cached
    assert again.image == first.image
    assert again.image.manifest.agent == agent.digest()
    assert took_s < 0.05


def test_the_agents_commands_can_be_run() -> None:
    images.build("tiny", lambda _: None)
    (newest, *_) = layers.bases(build.plan())
    listing = _listing(build.agent_archive(newest))
    assert listing["usr/bin/cloud-init"] == listing["usr/lib/cloud-init/ds-identify"] == "-rwxr-xr-x 0:0"
    assert listing["usr/bin/cloud-id"].startswith("l")
    assert listing["usr/lib/python3/dist-packages/guest_agent/cli.py"] == "-rw-r--r-- 0:0"


def test_packing_twice_gives_the_same_bytes() -> None:
    image = images.build("tiny", lambda _: None).image
    (newest, *_) = layers.bases(build.plan())
    packed = build.agent_archive(newest)
    assert packed == build.agent_archive(newest)
    assert image.initrd is not None
    assert image.initrd.read_bytes() == (newest / "base.cpio").read_bytes() + packed
