"""What a guest is to whoever starts it, in words that every hypervisor shares.

`VmSpec` says what shall run, `Ending` how it went. Paths are absolute, sizes carry their unit in the name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from uuid import UUID

from spawner.errors import InvalidSpec

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
SERIAL = re.compile(r"[A-Za-z0-9_.;:=/-]{0,64}")
DEVICE_NAME = re.compile(r"([a-z][a-z0-9-]{0,27})?")
"""QEMU's names of nodes have at most 31 characters."""

GUEST_DEADLINE_S = 900.0
"""A guest that has not ended by then is ended (faults-and-threats section 3)."""


class Bus(Enum):
    """Where a disk is plugged in. NVMe is built into Debian's cloud kernel but cannot be migrated.

    Each but IDE brings its own controller; IDE's two are part of the machine `pc`.
    """

    VIRTIO = "virtio"
    NVME = "nvme"
    SCSI = "scsi"
    SCSI_CD = "scsi-cd"
    SATA = "sata"
    SATA_CD = "sata-cd"
    IDE = "ide"
    IDE_CD = "ide-cd"
    USB = "usb"


class Format(Enum):
    """Image formats that may reach QEMU (SP-09)."""

    RAW = "raw"
    QCOW2 = "qcow2"


@dataclass(frozen=True)
class Disk:
    """One disk.

    `serial` shows in the guest as /dev/disk/by-id; `backing` names a qcow2 disk's base explicitly. `name`
    is by what it can be found again and unplugged, `slot` its place on the PCI bus; without them the
    driver chooses. `behind`: the number of the PCI bus that the root port in its slot leads to, where there
    is one.
    """

    path: Path
    format: Format = Format.RAW
    bus: Bus = Bus.VIRTIO
    read_only: bool = False
    serial: str = ""
    backing: Disk | None = None
    name: str = ""
    slot: int | None = None
    behind: int = 0

    def __post_init__(self) -> None:
        _require_place("disk", self.name, self.slot)
        _require(
            self.path.is_absolute(), "disk.path", f"{self.path} is not absolute", "Give an absolute path"
        )
        _require(
            SERIAL.fullmatch(self.serial) is not None, "disk.serial", f"{self.serial!r} has other characters",
            "Use at most 64 of A-Z a-z 0-9 _ . ; : = / -",
        )  # fmt: skip
        _require(
            self.backing is None or self.format is Format.QCOW2, "disk.backing", "a raw disk has no base",
            "Set format to qcow2",
        )  # fmt: skip


@dataclass(frozen=True)
class Nic:
    """One network card; the first is the one that reaches the metadata address. Its place: see Disk."""

    mac: str
    model: str = "virtio-net-pci"
    name: str = ""
    slot: int | None = None
    behind: int = 0

    def __post_init__(self) -> None:
        _require_place("nic", self.name, self.slot)
        _require(
            MAC.fullmatch(self.mac) is not None, "nic.mac", f"{self.mac!r} is not a MAC address",
            "Write six lower-case pairs, as 52:54:00:12:34:56",
        )  # fmt: skip
        _require(
            self.model in NIC_MODELS,
            "nic.model",
            f"{self.model!r} is not known",
            f"Use one of {', '.join(NIC_MODELS)}",
        )


@dataclass(frozen=True)
class Firmware:
    """UEFI in two flash chips: its code, and the guest's own variables, which begin as a copy of `fresh`.

    Without one a guest has a BIOS.
    """

    code: Disk
    variables: Disk
    # A guest on record may have been started by a release that did not say.
    fresh: Path = Path()


MACHINES = ("pc", "q35")
NIC_MODELS = ("virtio-net-pci", "e1000", "e1000e", "rtl8139")


@dataclass(frozen=True)
class Smbios:
    """What the guest reads in /sys/class/dmi/id. The product is how ds-identify finds OpenStack."""

    manufacturer: str = "guestling"
    product: str = "OpenStack Nova"
    serial: str = ""


@dataclass(frozen=True)
class VmSpec:
    """A guest to run. Raises InvalidSpec for what no driver could honour.

    `reboots`: a reboot starts it again, as a server; without, it ends the guest, as a test wants it.
    `root_ports`: the slots that are PCI Express root ports; behind the first is bus 1, behind the next bus 2.
    """

    name: str
    uuid: UUID
    kernel: Path | None = None
    initrd: Path | None = None
    cmdline: str = ""
    memory_mib: int = 384
    vcpus: int = 1
    machine: str = "pc"
    cpu: str = "max"
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    smbios: Smbios = field(default_factory=Smbios)
    agent_channel: bool = True
    deadline_s: float = GUEST_DEADLINE_S
    reboots: bool = False
    firmware: Firmware | None = None
    root_ports: tuple[int, ...] = ()

    @property
    def images(self) -> tuple[Disk, ...]:
        """Every file that is read or written as an image: the disks, then the flash chips."""
        return (*self.disks, self.firmware.code, self.firmware.variables) if self.firmware else self.disks

    def __post_init__(self) -> None:
        _require(
            NAME.fullmatch(self.name) is not None, "name", f"{self.name!r} cannot name a guest",
            "Use 1 to 63 of a-z, 0-9 and '-', not starting with '-'",
        )  # fmt: skip
        _require(
            self.machine in MACHINES,
            "machine",
            f"{self.machine!r} is not known",
            f"Use {' or '.join(MACHINES)}",
        )
        _require(
            self.machine == "pc" or not any(disk.bus in {Bus.IDE, Bus.IDE_CD} for disk in self.disks),
            "disk.bus", f"{self.machine} has no IDE", "Use sata, or the machine pc",
        )  # fmt: skip
        _require(
            self.machine != "pc" or not self.root_ports, "root_ports", "pc has no PCI Express", "Use q35"
        )
        _require(
            bool(self.kernel or self.disks), "kernel", "there is neither kernel nor disk", "Give one of them"
        )
        _require(
            self.kernel is not None or not (self.initrd or self.cmdline), "kernel",
            "initrd and cmdline need a kernel", "Give the kernel too",
        )  # fmt: skip
        for name, path in (("kernel", self.kernel), ("initrd", self.initrd)):
            _require(
                path is None or path.is_absolute(), name, f"{path} is not absolute", "Give an absolute path"
            )
        _require(self.memory_mib >= 32, "memory_mib", f"{self.memory_mib} is too little", "Give 32 or more")
        _require(1 <= self.vcpus <= 255, "vcpus", f"{self.vcpus} is out of range", "Give 1 to 255")
        _require(
            all(part.isprintable() for part in (self.cmdline, *vars(self.smbios).values())), "cmdline",
            "it or an SMBIOS field holds a control character", "Leave such characters out",
        )  # fmt: skip


class Reason(Enum):
    """How a guest came to its end."""

    POWERED_OFF = "powered off"
    REBOOTED = "rebooted"
    PANICKED = "panicked"
    STOPPED = "stopped"
    TIMEOUT = "timeout"
    CRASHED = "crashed"


@dataclass(frozen=True)
class Ending:
    """How a guest ended.

    The reason, QEMU's exit status (negative: signal), its last words, the seconds it ran.
    """

    reason: Reason
    status: int
    stderr: bytes
    took_s: float


def _require(holds: bool, name: str, wrong: str, remedy: str) -> None:
    if not holds:
        raise InvalidSpec(name, wrong, remedy)


def _require_place(kind: str, name: str, slot: int | None) -> None:
    _require(
        DEVICE_NAME.fullmatch(name) is not None, f"{kind}.name", f"{name!r} cannot name a device",
        "Use at most 28 of a-z, 0-9 and '-', starting with a letter",
    )  # fmt: skip
    _require(
        slot is None or 1 <= slot <= 31, f"{kind}.slot", f"{slot} is no slot of a PCI bus", "Give 1 to 31"
    )
