"""The NICs of this machine, read from /sys/class/net."""

from __future__ import annotations

import os

from guest_agent.network.links import Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.machine import Machine

SYS = "/sys/class/net"
NO_MAC = "00:00:00:00:00:00"
# What the kernel says of interfaces that are made of others: none of them is a NIC.
MADE_OF_OTHERS = ("bridge", "bonding", "tun_flags")
IFF_UP = 1


def links(machine: Machine, *, with_addresses: bool = False) -> tuple[Link, ...]:
    """Every NIC but the loopback, by name. `with_addresses` asks `ip` which ones must not be taken down."""
    try:
        names = sorted(os.listdir(machine.path(SYS)))
    except OSError:
        return ()
    found = []
    for name in names:
        mac = _read(machine, name, "address").lower()
        if name != "lo" and mac and mac != NO_MAC and not _is_made_of_others(machine, name):
            found.append(_link(machine, name, mac, with_addresses=with_addresses))
    return tuple(found)


def names_by_mac(nics: tuple[Link, ...]) -> dict[str, str]:
    """MAC to name."""
    return {link.mac: link.name for link in nics}


def _read(machine: Machine, name: str, file: str) -> str:
    return (machine.read_text(f"{SYS}/{name}/{file}") or "").strip()


def _is_made_of_others(machine: Machine, name: str) -> bool:
    if any(machine.exists(f"{SYS}/{name}/{each}") for each in MADE_OF_OTHERS):
        return True
    return "DEVTYPE=vlan" in _read(machine, name, "uevent").splitlines()


def _link(machine: Machine, name: str, mac: str, *, with_addresses: bool) -> Link:
    flags = _read(machine, name, "flags") or "0"
    operstate = _read(machine, name, "operstate") or "unknown"
    is_up = operstate == "up" or bool(int(flags, 16) & IFF_UP)
    try:
        driver = os.path.basename(os.readlink(machine.path(f"{SYS}/{name}") + "/device/driver"))
    except OSError:
        driver = ""
    return Link(
        name,
        mac,
        has_carrier=_read(machine, name, "carrier") == "1",
        operstate=operstate,
        is_dormant=_read(machine, name, "dormant") == "1",
        is_up=is_up,
        is_downable=not (with_addresses and is_up and _has_address(machine, name)),
        driver=driver,
        device_id=_read(machine, name, "device/device"),
    )


def _has_address(machine: Machine, name: str) -> bool:
    """Whether a NIC carries addresses that taking it down would lose."""
    from boot_stages.commands import Command

    argv = ("ip", "-o", "addr", "show", "dev", name, "scope", "global")
    answer = machine.commands.run(Command(argv, timeout_s=10.0, question=True))
    return answer.status == 0 and bool(answer.out.strip())
