"""The machine that an image asks for, and what it cannot ask for."""

from __future__ import annotations

import pytest

from spawner import image_properties
from spawner.compute.driver import Bus
from spawner.errors import InvalidSpec
from spawner.image_properties import Hardware


@pytest.mark.parametrize(
    ("properties", "hardware"),
    [
        ({}, Hardware(Bus.VIRTIO, Bus.VIRTIO, "virtio-net-pci", config_drive=False)),
        ({"os_distro": "debian"}, Hardware(Bus.VIRTIO, Bus.VIRTIO, "virtio-net-pci", config_drive=False)),
        ({"hw_disk_bus": "scsi"}, Hardware(Bus.SCSI, Bus.SCSI_CD, "virtio-net-pci", config_drive=False)),
        (
            {"hw_disk_bus": "nvme", "hw_vif_model": "e1000", "img_config_drive": "mandatory"},
            Hardware(Bus.NVME, Bus.NVME, "e1000", config_drive=True),
        ),
        ({"hw_cdrom_bus": "scsi"}, Hardware(Bus.VIRTIO, Bus.SCSI_CD, "virtio-net-pci", config_drive=False)),
        ({"hw_firmware_type": "bios", "hw_machine_type": "pc"}, image_properties.read({})),
    ],
)
def test_properties_become_hardware(properties: dict[str, str], hardware: Hardware) -> None:
    assert image_properties.read(properties) == hardware


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("hw_disk_bus", "fdc", "Use virtio or scsi or nvme."),
        ("hw_vif_model", "ne2k_pci", "Use virtio or e1000 or e1000e or rtl8139."),
        ("hw_firmware_type", "uefi", "Use bios."),
        ("hw_machine_type", "pc,accel=kvm", "Use pc."),
        ("hw_architecture", "aarch64", "Use x86_64."),
        ("img_config_drive", "yes", "Use optional or mandatory."),
    ],
)
def test_what_cannot_be_had_is_refused_with_what_can(name: str, value: str, remedy: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        image_properties.read({name: value})
    assert str(caught.value) == f"image property {name}: {value!r} cannot be had here. {remedy}"
