"""`grub_dpkg`: tell debconf on which disk grub is, so that its upgrades ask nobody.

Source: guest-agent.md 3.3.
"""

from __future__ import annotations

from boot_stages.actions import RunCommand, note
from boot_stages.disks import mount_at, partition_of
from boot_stages.module import Module
from boot_stages.schema import BOOL, TEXT, Keys, Kind, deprecated, key, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boot_stages.actions import Action
    from boot_stages.facts import Facts

_EMPTY: Kind[bool] = Kind(
    {"oneOf": [{"type": "boolean"}, deprecated({"type": "string"}, "Write true or false.")]}, BOOL.read
)


class GrubKeys(Keys):
    """The map below `grub_dpkg`."""

    enabled: bool = key("Tell debconf.", BOOL, default=False)
    devices: str = key(
        "The disk of grub-pc; default: the one that holds /boot.",
        TEXT,
        default="",
        spelling="grub-pc/install_devices",
    )
    devices_empty: bool | None = key(
        "Whether grub-pc may go without one.", _EMPTY, default=None, spelling="grub-pc/install_devices_empty"
    )
    efi_devices: str = key(
        "The partition of grub-efi.", TEXT, default="", spelling="grub-efi/install_devices"
    )


class Config(Keys):
    """Keys of `grub_dpkg`."""

    grub_dpkg: GrubKeys = key("grub's disk.", record(GrubKeys), default=GrubKeys(), old=("grub-dpkg",))

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """As declared; what stands below the old spelling was never looked at."""
        schema = super().schema()
        old = schema["properties"]["grub-dpkg"]
        words = {name: old[name] for name in ("description", "deprecated", "deprecated_description")}
        schema["properties"]["grub-dpkg"] = {"type": "object", **words}
        return schema


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """One call of debconf-set-selections."""
    keys = config.grub_dpkg
    if not keys.enabled:
        return ()
    if facts.exists("/sys/firmware/efi"):
        device = keys.efi_devices or _source("/boot/efi", facts)
        lines = [f"grub-pc grub-efi/install_devices string {device}"]
    else:
        device = keys.devices or _disk(facts)
        may_be_empty = not device if keys.devices_empty is None else keys.devices_empty
        lines = [
            f"grub-pc grub-pc/install_devices string {device}",
            f"grub-pc grub-pc/install_devices_empty boolean {'true' if may_be_empty else 'false'}",
        ]
    if not device:
        return (note("grub_dpkg: the disk of /boot is not known: debconf is told nothing"),)
    stdin = "".join(f"{line}\n" for line in lines).encode()
    return (RunCommand(("debconf-set-selections",), stdin=stdin),)


def _source(directory: str, facts: Facts) -> str:
    mount = mount_at(directory, facts)
    return mount.source if mount is not None else ""


def _disk(facts: Facts) -> str:
    """The whole disk below /boot, by its lasting name where it has one."""
    source = _source("/boot", facts) or _source("/", facts)
    partition = partition_of(source, facts) if source else None
    disk = partition.disk if partition is not None else source
    for name in facts.names_in("/dev/disk/by-id"):
        if facts.resolve(f"/dev/disk/by-id/{name}") == disk:
            return f"/dev/disk/by-id/{name}"
    return disk


MODULE = Module("grub_dpkg", Config, plan)
