"""QEMU's command line: what is asked for is what QEMU reads, whatever the names are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.compute.driver import Bus, Disk, Firmware, Format, Nic, Smbios, VmSpec
from spawner.compute.qemu.argv import Wiring, qemu_argv
from spawner.compute.qemu.option import escaped, option
from spawner.errors import InvalidSpec

UUID_1 = UUID("11111111-2222-4333-8444-555555555555")
WIRING = Wiring("tcg", qmp_fd=10, console_fd=11, agent_fd=12)
PRINTABLE = st.text(min_size=1, max_size=40).filter(str.isprintable) | st.text(",=:x ", min_size=1)


def read_option(text: str) -> dict[str, str]:
    """An option as QEMU reads it: pairs at single commas, doubled ones are commas (get_opt_value in QEMU)."""
    pairs: list[str] = [""]
    position = 0
    while position < len(text):
        if text.startswith(",,", position):
            pairs[-1] += ","
            position += 2
        elif text[position] == ",":
            pairs.append("")
            position += 1
        else:
            pairs[-1] += text[position]
            position += 1
    return {
        key if split else "": value if split else key
        for key, split, value in (p.partition("=") for p in pairs)
    }


def spec(**fields: object) -> VmSpec:
    given_fields: dict[str, object] = {"name": "web-1", "uuid": UUID_1, "kernel": Path("/k"), **fields}
    return VmSpec(**given_fields)  # type: ignore[arg-type]  # tests build wrong ones on purpose


def values_of(flag: str, argv: list[str]) -> Iterator[str]:
    return (value for name, value in pairwise(argv) if name == flag)


@given(PRINTABLE)
def test_sp_12_a_value_comes_back_as_it_was(value: str) -> None:
    assert read_option(f"first,key={escaped(value)},next=1") == {"": "first", "key": value, "next": "1"}


@given(PRINTABLE, PRINTABLE, PRINTABLE)
def test_sp_12_smbios_fields_cannot_add_options(manufacturer: str, product: str, serial: str) -> None:
    argv = qemu_argv(spec(smbios=Smbios(manufacturer, product, serial)), WIRING, "qemu")
    (smbios,) = values_of("-smbios", argv)
    assert read_option(smbios) == {
        "type": "1",
        "manufacturer": manufacturer,
        "product": product,
        "serial": serial,
        "uuid": str(UUID_1),
    }


@given(PRINTABLE)
def test_sp_12_a_disk_path_is_never_on_the_command_line(name: str) -> None:
    path = Path("/images") / name.replace("/", "_")
    argv = qemu_argv(
        spec(disks=(Disk(path),)), Wiring("tcg", qmp_fd=1, console_fd=2, images={path: 20}), "qemu"
    )
    (node,) = map(json.loads, values_of("-blockdev", argv))
    assert node["file"] == {"driver": "file", "filename": "/dev/fdset/0", "read-only": False}
    assert list(values_of("-add-fd", argv)) == ["fd=20,set=0"]


@given(PRINTABLE)
def test_sp_12_the_command_line_of_the_kernel_is_one_argument(cmdline: str) -> None:
    argv = qemu_argv(spec(cmdline=cmdline), WIRING, "qemu")
    assert list(values_of("-append", argv)) == [cmdline]


@pytest.mark.parametrize(
    ("accelerator", "cpu", "given"),
    [
        ("tcg", "max", "max,la57=off,erms=off,fsrm=off"),
        ("kvm", "max", "max"),
        ("tcg", "Haswell", "Haswell"),
    ],
)
def test_an_emulated_processor_lacks_what_is_slow_there(accelerator: str, cpu: str, given: str) -> None:
    argv = qemu_argv(spec(cpu=cpu), replace(WIRING, accelerator=accelerator), "qemu")
    assert list(values_of("-cpu", argv)) == [given]


def test_sp_20_nothing_but_what_was_asked_for() -> None:
    argv = qemu_argv(spec(), WIRING, "/usr/bin/qemu")
    assert argv[0] == "/usr/bin/qemu"
    assert {"-nodefaults", "-no-user-config", "-no-reboot"} <= set(argv)
    assert list(values_of("-display", argv)) == ["none"]
    assert list(values_of("-sandbox", argv)) == [
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
    ]
    assert not {"-vnc", "-spice", "-monitor", "-qmp", "-gdb", "-s"} & set(argv)
    assert list(values_of("-mon", argv)) == ["chardev=qmp,mode=control"]


def test_sp_10_every_layer_of_a_disk_names_its_driver() -> None:
    base = Disk(Path("/base"), Format.QCOW2, backing=Disk(Path("/base-of-base")))
    disk = Disk(Path("/overlay"), Format.QCOW2, backing=base)
    images = {Path("/overlay"): 20, Path("/base"): 21, Path("/base-of-base"): 22}
    argv = qemu_argv(spec(disks=(disk,)), Wiring("tcg", qmp_fd=1, console_fd=2, images=images), "qemu")
    (node,) = map(json.loads, values_of("-blockdev", argv))
    assert (node["driver"], node["read-only"]) == ("qcow2", False)
    assert (node["backing"]["driver"], node["backing"]["read-only"]) == ("qcow2", True)
    assert node["backing"]["backing"] == {
        "driver": "raw",
        "read-only": True,
        "file": {"driver": "file", "filename": "/dev/fdset/2", "read-only": True},
    }


def test_sp_10_a_qcow2_without_a_named_base_gets_none() -> None:
    disk = Disk(Path("/d"), Format.QCOW2)
    wiring = Wiring("tcg", qmp_fd=1, console_fd=2, images={disk.path: 20})
    (node,) = map(json.loads, values_of("-blockdev", qemu_argv(spec(disks=(disk,)), wiring, "qemu")))
    assert node["backing"] is None  # whatever the file's header says


@pytest.mark.parametrize(
    ("bus", "devices"),
    [
        (Bus.VIRTIO, ["virtio-blk-pci,id=disk-0,drive=disk0,serial=seed"]),
        (Bus.NVME, ["nvme,id=disk-0,drive=disk0,serial=seed"]),
        (Bus.SCSI, ["virtio-scsi-pci,id=scsi0", "scsi-hd,id=disk-0,bus=scsi0.0,drive=disk0,serial=seed"]),
        (Bus.SCSI_CD, ["virtio-scsi-pci,id=scsi0", "scsi-cd,id=disk-0,bus=scsi0.0,drive=disk0,serial=seed"]),
        (Bus.SATA, ["ahci,id=sata0", "ide-hd,id=disk-0,bus=sata0.0,drive=disk0,serial=seed"]),
        (Bus.SATA_CD, ["ahci,id=sata0", "ide-cd,id=disk-0,bus=sata0.0,drive=disk0,serial=seed"]),
        (Bus.IDE, ["ide-hd,id=disk-0,bus=ide.0,drive=disk0,serial=seed,unit=0"]),
        (Bus.IDE_CD, ["ide-cd,id=disk-0,bus=ide.0,drive=disk0,serial=seed,unit=0"]),
        (Bus.USB, ["qemu-xhci,id=usb0", "usb-storage,id=disk-0,bus=usb0.0,drive=disk0,serial=seed"]),
    ],
)
def test_a_disk_is_plugged_into_its_bus(bus: Bus, devices: list[str]) -> None:
    disk = Disk(Path("/seed"), bus=bus, read_only=True, serial="seed")
    wiring = Wiring("tcg", qmp_fd=1, console_fd=2, images={disk.path: 20})
    argv = qemu_argv(spec(disks=(disk,)), wiring, "qemu")
    assert [
        device
        for device in values_of("-device", argv)
        if not device.startswith("virtio-") or "scsi" in device or "disk" in device
    ] == devices


def test_a_nic_gets_its_backend() -> None:
    wiring = Wiring("tcg", qmp_fd=1, console_fd=2, netdevs=("user,restrict=on",))
    argv = qemu_argv(spec(nics=(Nic("52:54:00:00:00:01"),)), wiring, "qemu")
    assert list(values_of("-netdev", argv)) == ["user,id=net0,restrict=on"]
    assert "virtio-net-pci,id=nic0,netdev=net0,mac=52:54:00:00:00:01,romfile=" in argv


def test_a_device_with_a_name_has_it_wherever_qemu_names_it() -> None:
    disk = Disk(Path("/v"), Format.QCOW2, name="vol-1", slot=9, serial="1234")
    wiring = Wiring("tcg", qmp_fd=1, console_fd=2, images={disk.path: 20}, netdevs=("user",))
    nic = Nic("52:54:00:00:00:01", name="nic-1", slot=3)
    argv = qemu_argv(spec(disks=(disk,), nics=(nic,)), wiring, "qemu")
    (node,) = map(json.loads, values_of("-blockdev", argv))
    assert node["node-name"] == "vol-1"
    assert list(values_of("-netdev", argv)) == ["user,id=net-nic-1"]
    assert {
        "virtio-blk-pci,id=dev-vol-1,drive=vol-1,serial=1234,werror=stop,addr=0x9",
        "virtio-net-pci,id=dev-nic-1,netdev=net-nic-1,mac=52:54:00:00:00:01,romfile=,addr=0x3",
    } <= set(values_of("-device", argv))


def test_without_an_agent_there_is_no_port() -> None:
    argv = qemu_argv(spec(agent_channel=False), Wiring("tcg", qmp_fd=1, console_fd=2), "qemu")
    assert not [part for part in argv if "virtserialport" in part]


def test_option_writes_flags_and_leaves_out_what_is_none() -> None:
    assert option("socket", id="x", server=True, wait=False, path=None) == "socket,id=x,server=on,wait=off"


PAIRS = "Write six lower-case pairs, as 52:54:00:12:34:56."
DEVICE_NAMES = "Use at most 28 of a-z, 0-9 and '-', starting with a letter."
NAMES = "Use 1 to 63 of a-z, 0-9 and '-', not starting with '-'."


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "Web"}, f"name: 'Web' cannot name a guest. {NAMES}"),
        ({"name": "-x"}, f"name: '-x' cannot name a guest. {NAMES}"),
        ({"name": "a,b=c"}, f"name: 'a,b=c' cannot name a guest. {NAMES}"),
        ({"kernel": None}, "kernel: there is neither kernel nor disk. Give one of them."),
        ({"kernel": Path("k")}, "kernel: k is not absolute. Give an absolute path."),
        ({"initrd": Path("json:{}")}, "initrd: json:{} is not absolute. Give an absolute path."),
        ({"machine": "pc,accel=kvm"}, "machine: 'pc,accel=kvm' is not known. Use pc or q35."),
        ({"memory_mib": 31}, "memory_mib: 31 is too little. Give 32 or more."),
        ({"vcpus": 256}, "vcpus: 256 is out of range. Give 1 to 255."),
        (
            {"cmdline": "a\nb"},
            "cmdline: it or an SMBIOS field holds a control character. Leave such characters out.",
        ),
    ],
)
def test_sp_12_what_cannot_be_run_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        spec(**fields)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Disk(Path("nbd:h:1")), "disk.path: nbd:h:1 is not absolute. Give an absolute path."),
        (
            lambda: Disk(Path("/d"), serial="a,b"),
            "disk.serial: 'a,b' has other characters. Use at most 64 of A-Z a-z 0-9 _ . ; : = / -.",
        ),
        (
            lambda: Disk(Path("/d"), backing=Disk(Path("/b"))),
            "disk.backing: a raw disk has no base. Set format to qcow2.",
        ),
        (
            lambda: Disk(Path("/d"), name="a,b"),
            f"disk.name: 'a,b' cannot name a device. {DEVICE_NAMES}",
        ),
        (
            lambda: Nic("52:54:00:00:00:01", slot=32),
            "nic.slot: 32 is no slot of a PCI bus. Give 1 to 31.",
        ),
        (
            lambda: Nic("52:54:00:00:00:0G"),
            f"nic.mac: '52:54:00:00:00:0G' is not a MAC address. {PAIRS}",
        ),
        (
            lambda: Nic("52:54:00:00:00:01", "ne2k,x=y"),
            "nic.model: 'ne2k,x=y' is not known. Use one of virtio-net-pci, e1000, e1000e, rtl8139.",
        ),
    ],
)
def test_sp_12_a_device_that_cannot_be_made_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        make()
    assert str(caught.value) == message


def test_four_disks_share_the_two_channels_of_ide() -> None:
    disks = tuple(Disk(Path(f"/d{number}"), bus=Bus.IDE) for number in range(4))
    images = {disk.path: 20 + number for number, disk in enumerate(disks)}
    argv = qemu_argv(spec(disks=disks), Wiring("tcg", qmp_fd=1, console_fd=2, images=images), "qemu")
    drives = [read_option(value) for value in values_of("-device", argv) if value.startswith("ide-hd")]
    assert [(drive["bus"], drive["unit"]) for drive in drives] == [
        ("ide.0", "0"), ("ide.0", "1"), ("ide.1", "0"), ("ide.1", "1"),
    ]  # fmt: skip
    assert {drive["werror"] for drive in drives} == {"stop"}


def test_a_root_port_has_its_slot_and_its_device_the_bus_behind_it() -> None:
    disk = Disk(Path("/v"), name="vol-1", slot=9, behind=2)
    nic = Nic("52:54:00:00:00:01", name="nic-1", slot=3, behind=1)
    guest = spec(machine="q35", root_ports=(3, 9), disks=(disk,), nics=(nic,))
    wiring = Wiring("tcg", qmp_fd=10, console_fd=11, images={disk.path: 20}, netdevs=("user",))
    found = [read_option(value) for value in values_of("-device", qemu_argv(guest, wiring, "qemu"))]
    ports = [each for each in found if each[""] == "pcie-root-port"]
    assert [(each["id"], each["bus"], each["addr"], each["slot"]) for each in ports] == [
        ("pci.1", "pcie.0", "0x3", "3"),
        ("pci.2", "pcie.0", "0x9", "9"),
    ]
    named = [each for each in found if each.get("id", "").startswith("dev-")]
    places = {each["id"]: (each["bus"], each["addr"]) for each in named}
    assert places == {"dev-vol-1": ("pci.2", "0x0"), "dev-nic-1": ("pci.1", "0x0")}
    with pytest.raises(InvalidSpec, match=r"root_ports: pc has no PCI Express\. Use q35"):
        spec(root_ports=(3,))


def test_q35_has_no_ide() -> None:
    with pytest.raises(InvalidSpec, match="q35 has no IDE"):
        spec(machine="q35", disks=(Disk(Path("/d"), bus=Bus.IDE),))


def test_uefi_is_two_chips_of_which_only_the_variables_are_written() -> None:
    firmware = Firmware(Disk(Path("/code"), read_only=True), Disk(Path("/variables")), Path("/fresh"))
    guest = spec(firmware=firmware, machine="q35")
    images = {disk.path: 20 + number for number, disk in enumerate(guest.images)}
    argv = qemu_argv(guest, Wiring("tcg", qmp_fd=1, console_fd=2, images=images), "qemu")
    (machine,) = map(read_option, values_of("-machine", argv))
    assert (machine["pflash0"], machine["pflash1"]) == ("firmware-code", "firmware-variables")
    nodes = {node["node-name"]: node for node in map(json.loads, values_of("-blockdev", argv))}
    assert [nodes[name]["read-only"] for name in ("firmware-code", "firmware-variables")] == [True, False]
    assert [nodes[name]["file"]["filename"] for name in ("firmware-code", "firmware-variables")] == [
        "/dev/fdset/0", "/dev/fdset/1",
    ]  # fmt: skip
