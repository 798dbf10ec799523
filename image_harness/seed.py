"""The three ways in which one instance's metadata reaches a guest: what each needs of the virtual machine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from configdrive import builder
from image_harness.progress import Source
from instance_metadata import documents, nocloud
from instance_metadata.instance import Instance
from spawner.compute.driver import Bus, Disk, Smbios


@dataclass(frozen=True)
class Seed:
    """What a source adds to the machine: a drive or none, and what SMBIOS says of the platform."""

    drive: Disk | None
    smbios: Smbios
    description: str


@dataclass(frozen=True)
class Drawn:
    """What a drive holds besides the instance: 512 random bytes, and the versions known on a day."""

    random_seed: bytes
    today: date


def prepare(source: Source, instance: Instance, drawn: Drawn, where: Path, bus: Bus) -> Seed:
    """What `source` needs; a drive is written into the directory `where` and plugged into `bus`."""
    if source is Source.METADATA:
        return Seed(None, Smbios(), "http://169.254.169.254/openstack/")
    if source is Source.CONFIG_DRIVE:
        files = documents.tree(instance, random_seed=drawn.random_seed, today=drawn.today)
        image = builder.build(files, label="config-2")
        drive = _drive(where / "config-drive.iso", image, bus)
        return Seed(drive, Smbios(), f"a drive labelled config-2, {_size(image)}")
    image = builder.build(nocloud.tree(instance), label="cidata")
    # The serial number names the source, and the product must not say OpenStack: no cloud is what this is.
    platform = Smbios(product="guestling", serial="ds=nocloud")
    drive = _drive(where / "nocloud.iso", image, bus)
    return Seed(drive, platform, f"a drive labelled cidata, {_size(image)}")


def _drive(path: Path, image: bytes, bus: Bus) -> Disk:
    # The drive may hold passwords: nobody else may read it, at no instant.
    path.touch(0o600, exist_ok=False)
    path.write_bytes(image)
    return Disk(path, bus=bus, read_only=True)


def _size(image: bytes) -> str:
    return f"{len(image) // 1024} KiB"
