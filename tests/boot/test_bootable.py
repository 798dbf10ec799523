"""Disks that boot by themselves: BIOS, UEFI, the same bytes every time, a root that grows at first boot."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from guestling.main import main
from image_harness import boot, store
from image_harness.bootable import disk
from image_harness.guest_mark import Wanted
from image_harness.one_guest import one
from image_harness.progress import Source
from spawner.compute import firmware
from spawner.compute.driver import Bus, Disk, Firmware, Format, Reason, VmSpec
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.compute.qemu.vm import Vm
from tests.boot import image_roots
from tests.boot.compute_guest import UUID_1

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(900)]

USER_DATA = b"#cloud-config\nusers: [default, {name: alice, groups: [adm]}]\n"
MIB = 1 << 20


@pytest.fixture(scope="module", autouse=True)
def _programs() -> None:
    missing = [name for name in ("mkfs.vfat", "mcopy", "sfdisk") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; ./dev test installs them")


@pytest.fixture(scope="module")
def tiny_disk(tiny: store.Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny guest on a disk."""
    out = tmp_path_factory.mktemp("tiny") / "tiny.qcow2"
    disk.compose(tiny, out, qcow2=True, size_bytes=None, say=lambda _: None)
    return out


def own_firmware(home: Path) -> Firmware:
    found = firmware.uefi(home)
    firmware.keep_variables(found)
    return found


def _console(image: Path) -> str:
    """What a guest says until it powers off, started by nothing but its firmware."""
    argv = [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-nic", "none", "-machine", "q35,accel=tcg", "-cpu", "max", "-m", "512",
        "-serial", "stdio",
        "-drive", f"if=none,id=disk,file={image},format=qcow2,snapshot=on",
        "-device", "virtio-blk-pci,drive=disk",
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, check=False, timeout=400)
    return done.stdout.decode(errors="replace")


def test_bios_starts_it(tiny_disk: Path) -> None:
    console = _console(tiny_disk)
    assert "finished at" in console, console[-2000:]
    assert "reboot: Power down" in console


@pytest.mark.parametrize(
    ("machine", "bus", "with_uefi"),
    [("pc", Bus.USB, False), ("q35", Bus.SATA, True)],
    ids=["pc-usb-bios", "q35-sata-uefi"],
)
async def test_a_guest_starts_from_the_hardware_that_its_image_asks_for(
    tiny_disk: Path, host: boot.Host, tmp_path: Path, machine: str, bus: Bus, with_uefi: bool
) -> None:
    if with_uefi and not any(code.is_file() for code, _fresh in firmware.PLACES):
        pytest.skip("no UEFI firmware; ./dev test installs ovmf")
    own = tmp_path / "own.qcow2"
    options = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(tiny_disk), str(own)]
    await asyncio.to_thread(subprocess.run, ["qemu-img", *options], check=True)
    guest = VmSpec(
        "firmware", UUID_1, memory_mib=512, machine=machine, deadline_s=600.0,
        disks=(Disk(own, Format.QCOW2, bus, backing=Disk(tiny_disk, Format.QCOW2), slot=4),),
        firmware=own_firmware(tmp_path) if with_uefi else None,
    )  # fmt: skip
    run = RunDirectory.create()
    try:
        async with Vm(guest, run, host.accelerator) as vm:
            ending = await vm.wait()
            console = vm.channels.console_output().decode(errors="replace")
    finally:
        run.remove()
    assert "finished at" in console, (ending, console[-2000:])
    assert ending.reason is Reason.POWERED_OFF
    if with_uefi:
        fresh = next(fresh for code, fresh in firmware.PLACES if code.is_file())
        assert (tmp_path / firmware.VARIABLES).read_bytes() != fresh.read_bytes()


def test_the_same_image_gives_the_same_disk(tiny: store.Image, tiny_disk: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.qcow2"
    disk.compose(tiny, again, qcow2=True, size_bytes=None, say=lambda _: None)
    assert again.read_bytes() == tiny_disk.read_bytes()


def test_debian_boots_from_its_own_disk_and_its_root_grows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "debian.qcow2"
    assert main(["image", "build", "debian-13", "-o", str(out), "--size", "4G", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert image_roots.virtual_size(out) == told["disk_bytes"] == 4096 * MIB
    manifest = json.loads(Path(told["manifest"]).read_text())
    assert {each["name"] for each in manifest["loaders"]} == {
        "systemd-boot-efi",
        "syslinux",
        "syslinux-common",
    }
    assert manifest["epoch_s"] > 0

    wanted = Wanted(str(out), USER_DATA, Source.CONFIG_DRIVE, "web-1", timeout_s=600)
    with one(wanted, tmp_path / "report") as guest:
        assert (guest.result.status, guest.result.errors) == ("done", ()), guest.result
        # Partitions and qcow2: a helper guest put into a copy what carries out commands.
        assert guest.run("hostname").stdout == guest.file("/etc/hostname").content == "web-1\n"
        assert guest.user("alice").groups >= {"adm"}
        assert guest.run("findmnt -n -o SOURCE /").stdout == "/dev/vda2\n"
        size_mib = int(guest.run("df --output=size -BM / | tail -1").stdout.strip().rstrip("M"))
    # 2 GiB as it was built; the rest of the disk is its boot partition and what ext4 keeps for itself.
    assert 3500 < size_mib < 4096
