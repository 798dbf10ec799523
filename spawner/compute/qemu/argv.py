"""QEMU's command line for a guest: pure, one function a device, the whole is a list of them.

`VmSpec` says what the guest is; `Wiring` says what this run adds: inherited file descriptors, the
accelerator, the network. Every value from outside is either checked by VmSpec, JSON (`-blockdev`), or has
its commas doubled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spawner.compute.agent_events import PORT_NAME
from spawner.compute.driver import Bus, Disk, Nic, VmSpec
from spawner.compute.processor import left_out
from spawner.compute.qemu.accelerator import TCG
from spawner.compute.qemu.option import option

LOCK_SET = 1000
"""The descriptor set of the run directory's lock: beyond those of disks."""
FLASH = ("firmware-code", "firmware-variables")


@dataclass(frozen=True)
class Wiring:
    """What one run of a guest is connected to.

    `*_fd`: listening unix sockets that QEMU inherits. `images`: the inherited descriptor of each disk
    image, so that QEMU opens no path itself. `netdevs`: one value of -netdev for each NIC of the spec,
    without ids. `mark`: what to be known by (see `guest_record`), with the descriptor that it is put on.
    """

    accelerator: str
    qmp_fd: int
    console_fd: int
    agent_fd: int | None = None
    images: Mapping[Path, int] = field(default_factory=dict)
    netdevs: tuple[str, ...] = ()
    spawns: bool = False
    incoming_fd: int | None = None
    mark: tuple[str, int] | None = None


def qemu_argv(spec: VmSpec, wiring: Wiring, binary: str) -> list[str]:
    """The whole command line, the binary first."""
    return [
        binary,
        *machine(spec, wiring),
        *sandbox(wiring),
        *identity(spec),
        *kernel(spec),
        *whereabouts(wiring),
        *images(wiring),
        *firmware(spec, wiring),
        *root_ports(spec),
        *(part for index, disk in enumerate(spec.disks) for part in disk_device(index, disk, wiring)),
        *(
            part
            for index, (nic, netdev) in enumerate(zip(spec.nics, wiring.netdevs, strict=True))
            for part in nic_device(index, nic, netdev)
        ),
        *randomness(),
        *console(wiring),
        *agent_port(wiring),
        *monitor(wiring),
        *saved_state(wiring),
    ]


def machine(spec: VmSpec, wiring: Wiring) -> list[str]:
    """Board, processor, memory; nothing that QEMU or its user's configuration would add by itself."""
    flash = {"pflash0": FLASH[0], "pflash1": FLASH[1]} if spec.firmware else {}
    return [
        *("-name", option(spec.name, process=f"guestling-{spec.name}"[:15])),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *(() if spec.reboots else ("-no-reboot",)),
        *("-machine", option(spec.machine, accel=wiring.accelerator, vmport=False, **flash)),
        *("-cpu", option(spec.cpu, **processor(spec, wiring))),
        *("-smp", str(spec.vcpus)),
        *("-m", f"{spec.memory_mib}M"),
    ]


def processor(spec: VmSpec, wiring: Wiring) -> dict[str, bool]:
    """What of its processor the guest goes without."""
    return dict.fromkeys(left_out(spec.cpu, emulated=wiring.accelerator == TCG), False)


def sandbox(wiring: Wiring) -> list[str]:
    """QEMU's system call filter (SP-20).

    Only the `guestfwd` network needs QEMU to start programs. The way there goes through setsid, which the
    filter counts among the calls that elevate privileges, for children too. The others of that group lead
    nowhere: the launcher has taken every capability and set no-new-privileges.
    """
    programs = "allow" if wiring.spawns else "deny"
    return [
        "-sandbox",
        option(
            "on",
            obsolete="deny",
            elevateprivileges=programs,
            spawn=programs,
            resourcecontrol="deny",
        ),
    ]


def identity(spec: VmSpec) -> list[str]:
    """SMBIOS type 1, by which guests find out that this is OpenStack, and which instance."""
    smbios = spec.smbios
    fields = option(
        "type=1",
        manufacturer=smbios.manufacturer or None,
        product=smbios.product or None,
        serial=smbios.serial or None,
        uuid=spec.uuid,
    )
    return ["-uuid", str(spec.uuid), "-smbios", fields]


def kernel(spec: VmSpec) -> list[str]:
    """Direct kernel boot, where there is a kernel."""
    if spec.kernel is None:
        return []
    initrd = ["-initrd", str(spec.initrd)] if spec.initrd else []
    append = ["-append", spec.cmdline] if spec.cmdline else []
    return ["-kernel", str(spec.kernel), *initrd, *append]


def whereabouts(wiring: Wiring) -> list[str]:
    """By what a later spawner knows this process for what it is (SP-05)."""
    if wiring.mark is None:
        return []
    text, lock = wiring.mark
    return ["-add-fd", option(f"fd={lock}", set=LOCK_SET, opaque=text)]


def images(wiring: Wiring) -> list[str]:
    """Each inherited image as a descriptor set, which -blockdev names /dev/fdset/N."""
    return [
        part
        for number, fd in enumerate(wiring.images.values())
        for part in ("-add-fd", option(f"fd={fd}", set=number))
    ]


def firmware(spec: VmSpec, wiring: Wiring) -> list[str]:
    """The two flash chips of UEFI, which `machine` puts in their sockets; nothing for the machine's BIOS."""
    if spec.firmware is None:
        return []
    fdsets = {path: number for number, path in enumerate(wiring.images)}
    chips = zip(FLASH, (spec.firmware.code, spec.firmware.variables), strict=True)
    nodes = ({"node-name": name, **disk_node(chip, fdsets, read_only=chip.read_only)} for name, chip in chips)
    return [part for node in nodes for part in ("-blockdev", json.dumps(node))]


def root_ports(spec: VmSpec) -> list[str]:
    """The PCI Express root ports, each named by the bus behind it."""
    return _devices(
        [
            {
                "driver": "pcie-root-port",
                "id": _pci_bus(behind),
                "bus": "pcie.0",
                "addr": f"{slot:#x}",
                "chassis": behind,
                "slot": slot,
            }
            for behind, slot in enumerate(spec.root_ports, 1)
        ]
    )


def disk_device(index: int, disk: Disk, wiring: Wiring) -> list[str]:
    """One disk: its node with every layer's driver named (SP-10), and the device it is plugged into."""
    node = disk.name or f"disk{index}"
    fdsets = {path: number for number, path in enumerate(wiring.images)}
    blockdev = {"node-name": node, **disk_node(disk, fdsets, read_only=disk.read_only)}
    return ["-blockdev", json.dumps(blockdev), *_devices(disk_plugs(index, node, disk))]


def disk_node(disk: Disk, fdsets: Mapping[Path, int], *, read_only: bool) -> dict[str, object]:
    """A disk's block node, as -blockdev and `blockdev-add` take it. `fdsets`: each file's descriptor set."""
    node: dict[str, object] = {
        "driver": disk.format.value,
        "read-only": read_only,
        "file": {"driver": "file", "filename": f"/dev/fdset/{fdsets[disk.path]}", "read-only": read_only},
    }
    if disk.format.value == "qcow2":
        node["backing"] = disk_node(disk.backing, fdsets, read_only=True) if disk.backing else None
    return node


Plug = dict[str, object]
"""A device as `device_add` takes it; None leaves a property out."""


def disk_plugs(index: int, node: str, disk: Disk) -> list[Plug]:
    """What a disk is plugged into, and the disk itself."""
    return _PLUGS[disk.bus](index, node, disk)


def _disk_id(index: int, disk: Disk) -> str:
    return f"dev-{disk.name}" if disk.name else f"disk-{index}"


def _pci_bus(number: int) -> str:
    # libvirt calls them the same, which lets it have our network cards.
    return f"pci.{number}"


def _place(device: Disk | Nic) -> Plug:
    """Where on PCI a device, or the controller that it brings, is plugged in."""
    if device.behind:
        return {"bus": _pci_bus(device.behind), "addr": "0x0"}
    return {"addr": None if device.slot is None else f"{device.slot:#x}"}


def _virtio_disk(index: int, node: str, disk: Disk) -> list[Plug]:
    # A guest that finds the host's disk full is paused and can go on later (SP-07).
    return [
        {
            "driver": "virtio-blk-pci",
            "id": _disk_id(index, disk),
            "drive": node,
            "serial": disk.serial or None,
            "werror": None if disk.read_only else "stop",
            **_place(disk),
        }
    ]


def _nvme_disk(index: int, node: str, disk: Disk) -> list[Plug]:
    # NVMe has no werror; its serial is not optional.
    serial = disk.serial or f"disk{index}"
    plug: Plug = {"driver": "nvme", "id": _disk_id(index, disk), "drive": node, "serial": serial}
    return [{**plug, **_place(disk)}]


def _scsi_cd(index: int, node: str, disk: Disk) -> list[Plug]:
    bus = f"scsi{index}"
    return [
        {"driver": "virtio-scsi-pci", "id": bus, **_place(disk)},
        {
            "driver": "scsi-cd",
            "id": _disk_id(index, disk),
            "bus": f"{bus}.0",
            "drive": node,
            "serial": disk.serial or None,
        },
    ]


def _scsi_disk(index: int, node: str, disk: Disk) -> list[Plug]:
    controller, drive = _scsi_cd(index, node, disk)
    return [controller, {**drive, "driver": "scsi-hd", "werror": None if disk.read_only else "stop"}]


def _sata(kind: str) -> Callable[[int, str, Disk], list[Plug]]:
    def plugs(index: int, node: str, disk: Disk) -> list[Plug]:
        bus = f"sata{index}"
        controller: Plug = {"driver": "ahci", "id": bus, **_place(disk)}
        return [controller, _ata_drive(kind, f"{bus}.0", index, node, disk)]

    return plugs


def _ide(kind: str) -> Callable[[int, str, Disk], list[Plug]]:
    def plugs(index: int, node: str, disk: Disk) -> list[Plug]:
        # Two channels with two drives each are part of the machine.
        return [{**_ata_drive(kind, f"ide.{index // 2}", index, node, disk), "unit": index % 2}]

    return plugs


def _ata_drive(kind: str, bus: str, index: int, node: str, disk: Disk) -> Plug:
    return {
        "driver": f"ide-{kind}",
        "id": _disk_id(index, disk),
        "bus": bus,
        "drive": node,
        # ATA has room for 20 characters.
        "serial": disk.serial[:20] or None,
        "werror": None if disk.read_only else "stop",
    }


def _usb_disk(index: int, node: str, disk: Disk) -> list[Plug]:
    bus = f"usb{index}"
    return [
        {"driver": "qemu-xhci", "id": bus, **_place(disk)},
        {
            "driver": "usb-storage",
            "id": _disk_id(index, disk),
            "bus": f"{bus}.0",
            "drive": node,
            "serial": disk.serial or None,
            "werror": None if disk.read_only else "stop",
        },
    ]


_PLUGS = {
    Bus.VIRTIO: _virtio_disk,
    Bus.NVME: _nvme_disk,
    Bus.SCSI: _scsi_disk,
    Bus.SCSI_CD: _scsi_cd,
    Bus.SATA: _sata("hd"),
    Bus.SATA_CD: _sata("cd"),
    Bus.IDE: _ide("hd"),
    Bus.IDE_CD: _ide("cd"),
    Bus.USB: _usb_disk,
}


def nic_device(index: int, nic: Nic, netdev: str) -> list[str]:
    """One network card and the backend behind it."""
    return [*nic_backend(index, nic, netdev), *_devices([nic_plug(index, nic, _backend(index, nic))])]


def late_nic_device(index: int, nic: Nic, netdev: str) -> list[str]:
    """The same for a command line of libvirt's, whose devices are JSON: QEMU makes those after all others.

    A card that was not JSON too would be made before the bus that it is on.
    """
    plug = {
        name: value for name, value in nic_plug(index, nic, _backend(index, nic)).items() if value is not None
    }
    return [*nic_backend(index, nic, netdev), "-device", json.dumps(plug)]


def nic_backend(index: int, nic: Nic, netdev: str) -> list[str]:
    """What is behind a network card."""
    kind, _, rest = netdev.partition(",")
    return ["-netdev", f"{kind},id={_backend(index, nic)}" + (f",{rest}" if rest else "")]


def _backend(index: int, nic: Nic) -> str:
    return f"net-{nic.name}" if nic.name else f"net{index}"


def nic_plug(index: int, nic: Nic, backend: str) -> Plug:
    """A network card on the backend of that name."""
    return {
        "driver": nic.model,
        "id": f"dev-{nic.name}" if nic.name else f"nic{index}",
        "netdev": backend,
        "mac": nic.mac,
        # Without romfile= QEMU loads a boot ROM that these guests never run.
        "romfile": "",
        **_place(nic),
    }


def _devices(plugs: list[Plug]) -> list[str]:
    return [
        part
        for plug in plugs
        for part in (
            "-device",
            option(str(plug["driver"]), **{key: value for key, value in plug.items() if key != "driver"}),
        )
    ]


def randomness() -> list[str]:
    """A source of entropy: guests under emulation have few of their own."""
    return [
        *("-object", "rng-random,id=rng0,filename=/dev/urandom"),
        *("-device", "virtio-rng-pci,rng=rng0"),
    ]


def console(wiring: Wiring) -> list[str]:
    """The serial console. QEMU waits for our connection, which is there before it starts: no byte is lost."""
    return ["-chardev", _socket("console", wiring.console_fd, wait=True), "-serial", "chardev:console"]


def agent_port(wiring: Wiring) -> list[str]:
    """The virtio-serial port on which the guest's agent reports, where there is one."""
    if wiring.agent_fd is None:
        return []
    return [
        *("-chardev", _socket("agent", wiring.agent_fd, wait=True)),
        *("-device", "virtio-serial-pci,id=serial0,max_ports=2"),
        *("-device", option("virtserialport", bus="serial0.0", chardev="agent", name=PORT_NAME)),
    ]


def monitor(wiring: Wiring) -> list[str]:
    """QMP on a unix socket of mode 0600; there is no other monitor."""
    return ["-chardev", _socket("qmp", wiring.qmp_fd, wait=False), "-mon", "chardev=qmp,mode=control"]


def saved_state(wiring: Wiring) -> list[str]:
    """Go on from a state that was saved, where there is one; the guest waits for `cont`."""
    return [] if wiring.incoming_fd is None else ["-S", "-incoming", f"fd:{wiring.incoming_fd}"]


def _socket(name: str, fd: int, *, wait: bool) -> str:
    return option("socket", id=name, fd=fd, server=True, wait=wait)
