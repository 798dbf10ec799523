"""The machine that an image asks for, and what it cannot ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from spawner import image_properties
from spawner.compute import firmware
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
        (
            {"hw_disk_bus": "sata", "hw_machine_type": "q35", "hw_firmware_type": "uefi"},
            Hardware(Bus.SATA, Bus.SATA_CD, "virtio-net-pci", config_drive=False, machine="q35", uefi=True),
        ),
        ({"hw_disk_bus": "ide"}, Hardware(Bus.IDE, Bus.IDE_CD, "virtio-net-pci", config_drive=False)),
        (
            {"hw_disk_bus": "usb", "hw_cdrom_bus": "sata"},
            Hardware(Bus.USB, Bus.SATA_CD, "virtio-net-pci", config_drive=False),
        ),
        ({"hw_firmware_type": "bios", "hw_machine_type": "pc"}, image_properties.read({})),
    ],
)
def test_properties_become_hardware(properties: dict[str, str], hardware: Hardware) -> None:
    assert image_properties.read(properties) == hardware


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("hw_disk_bus", "fdc", "Use virtio or scsi or nvme or sata or ide or usb."),
        ("hw_vif_model", "ne2k_pci", "Use virtio or e1000 or e1000e or rtl8139."),
        ("hw_firmware_type", "ppc", "Use bios or uefi."),
        ("hw_machine_type", "pc,accel=kvm", "Use pc or q35."),
        ("hw_architecture", "aarch64", "Use x86_64."),
        ("img_config_drive", "yes", "Use optional or mandatory."),
    ],
)
def test_what_cannot_be_had_is_refused_with_what_can(name: str, value: str, remedy: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        image_properties.read({name: value})
    assert str(caught.value) == f"image property {name}: {value!r} cannot be had here. {remedy}"


@pytest.mark.parametrize("name", ["hw_disk_bus", "hw_cdrom_bus"])
def test_q35_is_refused_together_with_ide(name: str) -> None:
    with pytest.raises(InvalidSpec, match=r"q35 has no IDE.*Use sata there, or the machine pc"):
        image_properties.read({"hw_machine_type": "q35", name: "ide"})


def test_sp_01_a_host_without_uefi_firmware_says_which_package_has_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"no UEFI firmware\. Install the package ovmf"):
        firmware.uefi(tmp_path, [(tmp_path / "code", tmp_path / "variables")])


def test_each_guest_keeps_its_own_variables(tmp_path: Path) -> None:
    code, fresh = tmp_path / "code", tmp_path / "fresh"
    code.write_bytes(b"code")
    fresh.write_bytes(b"fresh")
    home = tmp_path / "home"
    home.mkdir()
    found = firmware.uefi(home, [(tmp_path / "none", fresh), (code, fresh)])
    firmware.keep_variables(found)
    assert (found.code.path, found.code.read_only, found.variables.read_only) == (code, True, False)
    assert found.variables.path.read_bytes() == b"fresh"
    assert found.variables.path.stat().st_mode & 0o777 == 0o600
    found.variables.path.write_bytes(b"what the guest's loader remembers")
    firmware.keep_variables(firmware.uefi(home, [(code, fresh)]))
    assert found.variables.path.read_bytes() != b"fresh"
    assert fresh.read_bytes() == b"fresh"
