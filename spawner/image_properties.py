"""What an image's properties ask of its guest's machine: one table, from Glance's names to our devices.

A value that cannot be had is refused with those that can: a guest that boots on other hardware than it asked
for fails later and less clearly. Properties that are not here ask nothing of the machine. Source: Glance's
useful image properties.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spawner.compute.driver import Bus
from spawner.errors import InvalidSpec

DISK_BUSES = {
    "virtio": Bus.VIRTIO,
    "scsi": Bus.SCSI,
    "nvme": Bus.NVME,
    "sata": Bus.SATA,
    "ide": Bus.IDE,
    "usb": Bus.USB,
}
CDROM_BUSES = {
    "virtio": Bus.VIRTIO,
    "scsi": Bus.SCSI_CD,
    "sata": Bus.SATA_CD,
    "ide": Bus.IDE_CD,
    "usb": Bus.USB,
}
NIC_MODELS = {"virtio": "virtio-net-pci", "e1000": "e1000", "e1000e": "e1000e", "rtl8139": "rtl8139"}

# Property -> the values that can be had; the first stands for a property that is not there.
VALUES: dict[str, tuple[str, ...]] = {
    "hw_disk_bus": tuple(DISK_BUSES),
    "hw_cdrom_bus": tuple(CDROM_BUSES),
    "hw_vif_model": tuple(NIC_MODELS),
    "hw_firmware_type": ("bios", "uefi"),
    "hw_machine_type": ("pc", "q35"),
    "hw_architecture": ("x86_64",),
    "img_config_drive": ("optional", "mandatory"),
}


@dataclass(frozen=True)
class Hardware:
    """The machine that an image asks for. `cdrom_bus`: the config drive's."""

    disk_bus: Bus
    cdrom_bus: Bus
    nic_model: str
    config_drive: bool
    machine: str = "pc"
    uefi: bool = False


def read(properties: Mapping[str, str]) -> Hardware:
    """The machine of an image. Raises InvalidSpec for a value that cannot be had here."""
    asked = {name: properties.get(name, values[0]) for name, values in VALUES.items()}
    for name, value in asked.items():
        if value not in VALUES[name]:
            raise InvalidSpec(
                f"image property {name}",
                f"{value[:40]!r} cannot be had here",
                f"Use {' or '.join(VALUES[name])}",
            )
    disk_bus = DISK_BUSES[asked["hw_disk_bus"]]
    # A guest that has the drivers of its disk's bus can read its drive there too.
    drive_bus = (
        CDROM_BUSES[asked["hw_cdrom_bus"]] if "hw_cdrom_bus" in properties else _DRIVE_BESIDE[disk_bus]
    )
    machine = asked["hw_machine_type"]
    if machine != "pc" and {disk_bus, drive_bus} & {Bus.IDE, Bus.IDE_CD}:
        raise InvalidSpec(
            "image property hw_machine_type",
            f"{machine} has no IDE, which hw_disk_bus or hw_cdrom_bus asks for",
            "Use sata there, or the machine pc",
        )
    return Hardware(
        disk_bus=disk_bus,
        cdrom_bus=drive_bus,
        nic_model=NIC_MODELS[asked["hw_vif_model"]],
        config_drive=asked["img_config_drive"] == "mandatory",
        machine=machine,
        uefi=asked["hw_firmware_type"] == "uefi",
    )


_DRIVE_BESIDE = {
    Bus.VIRTIO: Bus.VIRTIO,
    Bus.NVME: Bus.NVME,
    Bus.SCSI: Bus.SCSI_CD,
    Bus.SATA: Bus.SATA_CD,
    Bus.IDE: Bus.IDE_CD,
    Bus.USB: Bus.USB,
}
