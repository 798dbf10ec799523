"""The PCI slots of a server's guest, as the store numbers them, and where each one is on its machine.

i440fx (`pc`) has one bus, which takes and gives devices anywhere: a slot is a place on it. q35's bus is PCI
Express: there a device can only come and go behind a root port, which has room for one. So each slot that
anything comes to or goes from is a root port there, in that very place on the first bus, empty or not; its
device is the only one on the bus behind it. See docs/decisions/0124-root-ports-for-q35.md.
"""

from __future__ import annotations

FIRST_NIC_SLOT = 3
"""Where OpenStack guests have their first card: its name in the guest is ens3."""
ROOT_SLOT = 4
"""The disk that a server boots from."""
HOT_SLOTS = range(8, 31)
"""Slots that nothing else of a guest takes, for cards and volumes that come and go."""
_ROOT_PORTS = {"q35": (FIRST_NIC_SLOT, *HOT_SLOTS)}


def root_ports(machine: str) -> tuple[int, ...]:
    """The slots on the first bus that are root ports. The bus behind the first is 1, behind the next 2, ...

    Firmware counts so, because it looks at the slots in their order, and nothing else leads to a bus.
    """
    return _ROOT_PORTS.get(machine, ())


def bus_of(machine: str, slot: int) -> int:
    """The bus that the device of a slot is on."""
    ports = root_ports(machine)
    return ports.index(slot) + 1 if slot in ports else 0


def address(machine: str, slot: int) -> str:
    """Where a guest sees the device of a slot, as `0000:00:08.0`."""
    bus = bus_of(machine, slot)
    return f"0000:{bus:02x}:00.0" if bus else f"0000:00:{slot:02x}.0"
