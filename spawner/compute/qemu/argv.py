"""QEMU's command line for a guest: pure, one function a device, the whole is a list of them.

`VmSpec` says what the guest is; `Wiring` says what this run adds: inherited file descriptors, the
accelerator, the network. Every value from outside is either checked by VmSpec, JSON (`-blockdev`), or has
its commas doubled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spawner.compute.agent_events import PORT_NAME
from spawner.compute.driver import Bus, Disk, Nic, VmSpec
from spawner.compute.qemu.option import option


@dataclass(frozen=True)
class Wiring:
    """What one run of a guest is connected to.

    `*_fd`: listening unix sockets that QEMU inherits. `images`: the inherited descriptor of each disk
    image, so that QEMU opens no path itself. `netdevs`: one value of -netdev for each NIC of the spec,
    without ids.
    """

    accelerator: str
    qmp_fd: int
    console_fd: int
    agent_fd: int | None = None
    images: Mapping[Path, int] = field(default_factory=dict)
    netdevs: tuple[str, ...] = ()
    spawns: bool = False
    incoming_fd: int | None = None


def qemu_argv(spec: VmSpec, wiring: Wiring, binary: str) -> list[str]:
    """The whole command line, the binary first."""
    return [
        binary,
        *machine(spec, wiring),
        *sandbox(wiring),
        *identity(spec),
        *kernel(spec),
        *images(wiring),
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
    return [
        *("-name", option(spec.name, process=f"guestling-{spec.name}"[:15])),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-machine", option(spec.machine, accel=wiring.accelerator, vmport=False)),
        *("-cpu", spec.cpu),
        *("-smp", str(spec.vcpus)),
        *("-m", f"{spec.memory_mib}M"),
    ]


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


def images(wiring: Wiring) -> list[str]:
    """Each inherited image as a descriptor set, which -blockdev names /dev/fdset/N."""
    return [
        part
        for number, fd in enumerate(wiring.images.values())
        for part in ("-add-fd", option(f"fd={fd}", set=number))
    ]


def disk_device(index: int, disk: Disk, wiring: Wiring) -> list[str]:
    """One disk: its node with every layer's driver named (SP-10), and the device it is plugged into."""
    node = f"disk{index}"
    blockdev = {"node-name": node, **_node(disk, disk.read_only, wiring)}
    return ["-blockdev", json.dumps(blockdev), *_PLUGS[disk.bus](index, node, disk)]


def _node(disk: Disk, read_only: bool, wiring: Wiring) -> dict[str, object]:
    number = list(wiring.images).index(disk.path)
    node: dict[str, object] = {
        "driver": disk.format.value,
        "read-only": read_only,
        "file": {"driver": "file", "filename": f"/dev/fdset/{number}", "read-only": read_only},
    }
    if disk.format.value == "qcow2":
        node["backing"] = _node(disk.backing, True, wiring) if disk.backing else None
    return node


def _virtio_disk(index: int, node: str, disk: Disk) -> list[str]:
    # A guest that finds the host's disk full is paused and can go on later (SP-07).
    werror = None if disk.read_only else "stop"
    serial = disk.serial or None
    return ["-device", option("virtio-blk-pci", id=f"disk-{index}", drive=node, serial=serial, werror=werror)]


def _nvme_disk(index: int, node: str, disk: Disk) -> list[str]:
    # NVMe has no werror; its serial is not optional.
    return ["-device", option("nvme", id=f"disk-{index}", drive=node, serial=disk.serial or f"disk{index}")]


def _scsi_cd(index: int, node: str, disk: Disk) -> list[str]:
    bus = f"scsi{index}"
    drive = option("scsi-cd", id=f"disk-{index}", bus=f"{bus}.0", drive=node, serial=disk.serial or None)
    return ["-device", option("virtio-scsi-pci", id=bus), "-device", drive]


_PLUGS = {Bus.VIRTIO: _virtio_disk, Bus.NVME: _nvme_disk, Bus.SCSI_CD: _scsi_cd}


def nic_device(index: int, nic: Nic, netdev: str) -> list[str]:
    """One network card and the backend behind it."""
    kind, _, rest = netdev.partition(",")
    return [
        *("-netdev", f"{kind},id=net{index}" + (f",{rest}" if rest else "")),
        # Without romfile= QEMU loads a boot ROM that these guests never run.
        *("-device", option(nic.model, id=f"nic{index}", netdev=f"net{index}", mac=nic.mac, romfile="")),
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
