"""A guest as libvirt's domain XML: pure, one function a device, the list of them is the machine.

`VmSpec` says what the guest is, `DomainWiring` what this run adds: whose sockets, files and networks. Built
as elements, so that no value from outside can be more than a value. Nothing secret is in here: everyone who
may connect to libvirt, read-only too, can read it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from spawner.compute.agent_events import PORT_NAME
from spawner.compute.driver import Bus, Disk, VmSpec
from spawner.compute.libvirt.agent_port import NAME as AGENT_PIPES
from spawner.compute.processor import EVERYTHING, left_out
from spawner.compute.qemu.argv import late_nic_device

QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
OUR_NAMESPACE = "urn:guestling:server:1"
OUR_PREFIX = "guestling"
AGENT_SLOT, RNG_SLOT = 2, 6
"""PCI slots of what every guest has. Each device has its place named, so that libvirt never chooses one
that a network card takes behind its back: cards are QEMU arguments, which libvirt does not count."""
ICH9_SATA = (0x1F, 0, 2)
"""Slot, bus and function of the controller that every q35 has."""
DISK_LETTERS = "abcdefghijklmnopqrstuvwxyz"

ElementTree.register_namespace("qemu", QEMU_NAMESPACE)
ElementTree.register_namespace(OUR_PREFIX, OUR_NAMESPACE)

Element = ElementTree.Element


@dataclass(frozen=True)
class DomainWiring:
    """What one run of a guest is connected to.

    `virt_type`: qemu (emulation) or kvm. `owner`: the spawner that the guest belongs to. `run`: the directory
    of its sockets, None on another host. `console_log`: where libvirt records the serial console.
    `netdevs`: one value of -netdev for each NIC of the spec, without ids. `fd_groups`: the name under which
    each image is handed to libvirt as a descriptor; images that are not in it are opened by their path.
    `process_label`: the `uid:gid` that QEMU runs as, where libvirt can change user.
    """

    virt_type: str
    owner: str
    emulator: str
    console_log: Path
    run: Path | None = None
    netdevs: tuple[str, ...] = ()
    fd_groups: Mapping[Path, str] = field(default_factory=dict)
    process_label: str | None = None


def domain_xml(spec: VmSpec, wiring: DomainWiring) -> str:
    """The whole domain."""
    root = _element("domain", {"type": wiring.virt_type})
    root.extend(
        (
            _element("name", text=spec.name),
            _element("uuid", text=str(spec.uuid)),
            ownership(wiring),
            _element("memory", {"unit": "MiB"}, text=str(spec.memory_mib)),
            _element("vcpu", text=str(spec.vcpus)),
            *identity(spec),
            operating_system(spec),
            *board(spec, wiring),
            *endings(),
            devices(spec, wiring),
            *user_of_qemu(wiring),
            *network_cards(spec, wiring),
        )
    )
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def ownership(wiring: DomainWiring) -> Element:
    """By what the spawner knows its domains again, and where this run's sockets are."""
    server = _element(f"{{{OUR_NAMESPACE}}}server", {"owner": wiring.owner})
    if wiring.run is not None:
        server.append(_element(f"{{{OUR_NAMESPACE}}}run", text=str(wiring.run)))
    return _element("metadata", children=[server])


def identity(spec: VmSpec) -> list[Element]:
    """SMBIOS type 1, by which guests find out that this is OpenStack, and which instance."""
    smbios = spec.smbios
    fields = {
        "manufacturer": smbios.manufacturer,
        "product": smbios.product,
        "serial": smbios.serial,
        "uuid": str(spec.uuid),
    }
    system = [_element("entry", {"name": name}, text=text) for name, text in fields.items() if text]
    return [_element("sysinfo", {"type": "smbios"}, children=[_element("system", children=system)])]


def operating_system(spec: VmSpec) -> Element:
    """Board and boot: the disk in its turn, or a kernel directly."""
    parts = [_element("type", {"arch": "x86_64", "machine": spec.machine}, text="hvm"), *firmware(spec)]
    if spec.kernel is not None:
        parts.append(_element("kernel", text=str(spec.kernel)))
    if spec.initrd is not None:
        parts.append(_element("initrd", text=str(spec.initrd)))
    if spec.kernel is not None and spec.cmdline:
        parts.append(_element("cmdline", text=spec.cmdline))
    return _element("os", children=[*parts, _element("smbios", {"mode": "sysinfo"})])


def firmware(spec: VmSpec) -> list[Element]:
    """UEFI's code, and of what libvirt makes the guest's variables; nothing for the machine's BIOS.

    The variables are libvirt's to keep, in its own directory: it hands over descriptors of disks alone, and
    QEMU's user may not pass to ours. They go when the domain is forgotten.
    """
    if spec.firmware is None:
        return []
    code = _element("loader", {"readonly": "yes", "type": "pflash"}, text=str(spec.firmware.code.path))
    return [code, _element("nvram", {"template": str(spec.firmware.fresh)})]


def board(spec: VmSpec, wiring: DomainWiring) -> list[Element]:
    """Processor and interrupt controllers."""
    if spec.cpu == EVERYTHING:
        without = left_out(spec.cpu, emulated=wiring.virt_type == "qemu")
        policies = [_element("feature", {"policy": "disable", "name": name}) for name in without]
        cpu = _element("cpu", {"mode": "maximum"}, children=policies)
    else:
        named = {"mode": "custom", "match": "exact", "check": "none"}
        cpu = _element("cpu", named, children=[_element("model", text=spec.cpu)])
    features = _element("features", children=[_element("acpi"), _element("apic")])
    return [features, cpu]


def endings() -> list[Element]:
    """A guest that powers off or crashes is gone, one that reboots goes on in the same process."""
    choices = {"on_poweroff": "destroy", "on_reboot": "restart", "on_crash": "destroy"}
    return [_element(name, text=text) for name, text in choices.items()]


def devices(spec: VmSpec, wiring: DomainWiring) -> Element:
    """What is plugged in, but for network cards."""
    return _element(
        "devices",
        children=[
            _element("emulator", text=wiring.emulator),
            *disks(spec, wiring),
            *root_ports(spec),
            *controllers(spec),
            *agent_bus(spec),
            console(wiring),
            *agent_port(spec, wiring),
            randomness(),
            _element("memballoon", {"model": "none"}),
        ],
    )


def disks(spec: VmSpec, wiring: DomainWiring) -> list[Element]:
    """The disks; those on a bus with units get theirs in the order in which they come."""
    taken: Counter[str] = Counter()
    found = []
    for index, disk in enumerate(spec.disks):
        bus = _PLUGS[disk.bus].bus
        found.append(disk_device(index, disk, wiring.fd_groups, unit=taken[bus]))
        taken[bus] += 1
    return found


def disk_device(index: int, disk: Disk, fd_groups: Mapping[Path, str], unit: int = 0) -> Element:
    """One disk: each layer with its format named (SP-10), and the device it is plugged into.

    Also what a running guest is given when a volume is attached.
    """
    # A guest that finds the host's disk full is paused and can go on later (SP-07).
    policy = {} if disk.read_only else {"error_policy": "stop"}
    plug = _PLUGS[disk.bus]
    element = _element("disk", {"type": "file", "device": plug.device})
    element.append(_element("driver", {"name": "qemu", "type": disk.format.value, **policy}))
    element.append(_source(disk, fd_groups))
    if disk.format.value == "qcow2":
        element.append(_backing(disk.backing, fd_groups))
    element.append(_element("target", {"dev": target_name(index, disk), "bus": plug.bus}))
    if disk.read_only:
        element.append(_element("readonly"))
    if disk.serial:
        element.append(_element("serial", text=disk.serial))
    element.append(_element("alias", {"name": alias(index, disk)}))
    if plug.units:
        element.append(_unit_address(unit, plug.units))
    elif disk.slot is not None and plug.on_pci:
        element.append(pci_address(disk.slot, disk.behind))
    return element


def _unit_address(unit: int, units: int) -> Element:
    """A place on the first controller of a bus with this many units on each of its cables."""
    place = {"controller": "0", "bus": str(unit // units), "target": "0", "unit": str(unit % units)}
    return _element("address", {"type": "drive", **place})


@dataclass(frozen=True)
class _Plug:
    """How libvirt calls a bus: kind of device, bus, letters of the target; whether it sits on PCI itself.

    `units`: on each cable of its controller, where libvirt would count them by the letters of the target.
    """

    device: str
    bus: str
    letters: str
    on_pci: bool = True
    units: int = 0


# libvirt 9 has no NVMe disks: it is told of a virtio one, and `overrides` puts the controller in its place.
_PLUGS = {
    Bus.VIRTIO: _Plug("disk", "virtio", "vd"),
    Bus.NVME: _Plug("disk", "virtio", "vd"),
    Bus.SCSI: _Plug("disk", "scsi", "sd", on_pci=False),
    Bus.SCSI_CD: _Plug("cdrom", "scsi", "sd", on_pci=False),
    Bus.SATA: _Plug("disk", "sata", "sd", on_pci=False, units=6),
    Bus.SATA_CD: _Plug("cdrom", "sata", "sd", on_pci=False, units=6),
    Bus.IDE: _Plug("disk", "ide", "hd", on_pci=False, units=2),
    Bus.IDE_CD: _Plug("cdrom", "ide", "hd", on_pci=False, units=2),
    Bus.USB: _Plug("disk", "usb", "sd", on_pci=False),
}


def target_name(index: int, disk: Disk) -> str:
    """The name that libvirt tells disks apart by, in the order of their slots."""
    number = index if disk.slot is None else disk.slot
    last = DISK_LETTERS[number % len(DISK_LETTERS)]
    return _PLUGS[disk.bus].letters + ("a" if number >= len(DISK_LETTERS) else "") + last


def alias(index: int, disk: Disk) -> str:
    """The device's id in QEMU; libvirt leaves those of users alone when they begin so."""
    return f"ua-{disk.name}" if disk.name else f"ua-disk{index}"


def pci_address(slot: int, behind: int = 0, function: int = 0) -> Element:
    """A place on the first PCI bus, or the one on the bus `behind` a root port."""
    place = {
        "domain": "0x0000",
        "bus": f"{behind:#04x}",
        "slot": f"{0 if behind else slot:#04x}",
        "function": f"{function:#x}",
    }
    return _element("address", {"type": "pci", **place})


def _source(disk: Disk, fd_groups: Mapping[Path, str]) -> Element:
    group = {"fdgroup": fd_groups[disk.path]} if disk.path in fd_groups else {}
    return _element("source", {"file": str(disk.path), **group})


def _backing(disk: Disk | None, fd_groups: Mapping[Path, str]) -> Element:
    """The layers below, to the end: an empty element says that libvirt must not look for more itself."""
    if disk is None:
        return _element("backingStore")
    return _element(
        "backingStore",
        {"type": "file"},
        children=[
            _element("format", {"type": disk.format.value}),
            _source(disk, fd_groups),
            _backing(disk.backing, fd_groups),
        ],
    )


def root_ports(spec: VmSpec) -> list[Element]:
    """The PCI Express root ports; the number of each is that of the bus behind it, QEMU's `pci.NUMBER`."""
    return [
        _element(
            "controller",
            {"type": "pci", "index": str(behind), "model": "pcie-root-port"},
            children=[pci_address(slot)],
        )
        for behind, slot in enumerate(spec.root_ports, 1)
    ]


def controllers(spec: VmSpec) -> list[Element]:
    """Of disks: each where the first disk on it has its place. No USB else, which libvirt would add."""
    found = []
    for kind, model in (("usb", "qemu-xhci"), ("scsi", "virtio-scsi"), ("sata", "")):
        first = next((disk for disk in spec.disks if _PLUGS[disk.bus].bus == kind), None)
        if first is not None:
            found.append(_disk_controller(kind, model, first, spec.machine))
        elif kind == "usb":
            found.append(_element("controller", {"type": "usb", "model": "none"}))
    return found


def _disk_controller(kind: str, model: str, first: Disk, machine: str) -> Element:
    controller = _element("controller", {"type": kind, "index": "0", **({"model": model} if model else {})})
    if (machine, kind) == ("q35", "sata"):
        controller.append(pci_address(*ICH9_SATA))
    elif first.slot is not None:
        controller.append(pci_address(first.slot))
    return controller


def agent_bus(spec: VmSpec) -> list[Element]:
    """What the agent's port is plugged into, where there is one."""
    if not spec.agent_channel:
        return []
    serial = {"type": "virtio-serial", "index": "0", "ports": "2"}
    return [_element("controller", serial, children=[pci_address(AGENT_SLOT)])]


def console(wiring: DomainWiring) -> Element:
    """The serial console: recorded by libvirt, which bounds the record; to be typed on through a socket."""
    socket = wiring.run and wiring.run / "console.sock"
    return _element(
        "serial",
        {"type": "pty"} if socket is None else {"type": "unix"},
        children=[
            *([] if socket is None else [_element("source", {"mode": "bind", "path": str(socket)})]),
            _element("log", {"file": str(wiring.console_log), "append": "on"}),
            _element("target", {"type": "isa-serial", "port": "0"}),
        ],
    )


def agent_port(spec: VmSpec, wiring: DomainWiring) -> list[Element]:
    """The virtio-serial port on which the guest's agent reports, where there is one."""
    if not spec.agent_channel:
        return []
    target = _element("target", {"type": "virtio", "name": PORT_NAME})
    if wiring.run is None:  # on another host libvirt finds a place for a socket itself
        return [_element("channel", {"type": "unix"}, children=[target])]
    pipes = _element("source", {"path": str(wiring.run / AGENT_PIPES)})
    return [_element("channel", {"type": "pipe"}, children=[pipes, target])]


def randomness() -> Element:
    """A source of entropy: guests under emulation have few of their own."""
    backend = _element("backend", {"model": "random"}, text="/dev/urandom")
    return _element("rng", {"model": "virtio"}, children=[backend, pci_address(RNG_SLOT)])


def user_of_qemu(wiring: DomainWiring) -> list[Element]:
    """QEMU's user, and that libvirt changes the owner of no file: it is handed what it may open."""
    if wiring.process_label is None:
        return []
    label = {"type": "static", "model": "dac", "relabel": "no"}
    return [_element("seclabel", label, children=[_element("label", text=wiring.process_label)])]


def network_cards(spec: VmSpec, wiring: DomainWiring) -> list[Element]:
    """Network cards and what is behind them, as QEMU's own arguments.

    libvirt has no words for a network that ends in a unix socket, nor for QEMU's user network closed to the
    host (SP-22). Last: the properties of devices that libvirt would set otherwise.
    """
    arguments = [
        part
        for index, (nic, netdev) in enumerate(zip(spec.nics, wiring.netdevs, strict=True))
        for part in late_nic_device(index, nic, netdev)
    ]
    found = []
    if arguments:
        values = [_element(f"{{{QEMU_NAMESPACE}}}arg", {"value": part}) for part in arguments]
        found.append(_element(f"{{{QEMU_NAMESPACE}}}commandline", children=values))
    return [*found, *overrides(spec)]


def overrides(spec: VmSpec) -> list[Element]:
    """NVMe where libvirt thinks of virtio; NVMe has no werror, and its serial is not optional."""
    changed = [
        _element(
            f"{{{QEMU_NAMESPACE}}}device",
            {"alias": alias(index, disk)},
            children=[
                _element(
                    f"{{{QEMU_NAMESPACE}}}frontend",
                    children=[
                        _property("driver", "nvme"),
                        _property("serial", disk.serial or f"disk{index}"),
                        *(() if disk.read_only else (_property("werror"), _property("rerror"))),
                    ],
                )
            ],
        )
        for index, disk in enumerate(spec.disks)
        if disk.bus is Bus.NVME
    ]
    return [_element(f"{{{QEMU_NAMESPACE}}}override", children=changed)] if changed else []


def _property(name: str, value: str | None = None) -> Element:
    given = {"type": "remove"} if value is None else {"type": "string", "value": value}
    return _element(f"{{{QEMU_NAMESPACE}}}property", {"name": name, **given})


def _element(
    tag: str, attributes: Mapping[str, str] | None = None, *, text: str = "", children: Iterable[Element] = ()
) -> Element:
    element = Element(tag, dict(attributes or {}))
    element.text = text or None
    element.extend(children)
    return element


@dataclass(frozen=True)
class Found:
    """What a domain's XML says of itself: whose it is, its run directory, its disks by serial."""

    owner: str
    run: Path | None
    serials: Mapping[str, str]


def read_back(xml: str) -> Found | None:
    """What a domain of ours says of itself; None for one that is no spawner's."""
    root: Any = ElementTree.fromstring(xml)  # noqa: S314 - from libvirt's daemon, which wrote it
    server = root.find(f"metadata/{{{OUR_NAMESPACE}}}server")
    if server is None:
        return None
    run = server.findtext(f"{{{OUR_NAMESPACE}}}run")
    serials = {
        disk.findtext("serial"): disk.find("target").get("dev")
        for disk in root.iterfind("devices/disk")
        if disk.findtext("serial")
    }
    return Found(server.get("owner", ""), Path(run) if run else None, serials)


def dac_label(capabilities: str, virt_type: str) -> str | None:
    """The `+uid:+gid` that the daemon runs QEMU as, or None where it cannot change user (a session)."""
    root: Any = ElementTree.fromstring(capabilities)  # noqa: S314 - from libvirt's daemon
    for model in root.iterfind("host/secmodel"):
        if model.findtext("model") == "dac":
            return str(model.findtext(f"baselabel[@type='{virt_type}']") or "") or None
    return None


def device_xml(device: Element) -> str:
    """One device as libvirt takes it for a guest that runs."""
    return ElementTree.tostring(device, encoding="unicode")
