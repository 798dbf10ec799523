"""What can go wrong between a request for a server and a running guest.

    SpawnerError
    ├── InvalidSpec            the description of a guest cannot be run as it stands
    ├── QemuMissing            no QEMU, or one that does not start
    ├── QemuFailed             QEMU ended before it answered, or broke off
    ├── CommandOverdue         a guest gave no answer to a command in time
    ├── LibvirtMissing         no libvirt-python in this environment
    ├── LibvirtFailed          libvirt refused, or gave no answer in time
    ├── FileRefused            a file a guest needs cannot be opened or handed over
    ├── RunDirectoryUnusable   no private directory for sockets can be made
    ├── TemplateRefused        a saved guest cannot be made, or gone on from, here
    ├── NoNetworkBackend       no way for a guest to reach 169.254.169.254 here
    ├── NetworkFailed          a network of guests cannot be made or changed
    ├── HostInUse              another spawner runs guests in the same directory
    ├── StoreUnusable          the database is damaged, locked, read-only, or its disk is full
    ├── StoreTooNew            the database is of a newer release
    ├── NotEnough              a provider cannot take a claim
    ├── GenerationConflict     a provider changed between reading and writing
    ├── NoValidHost            no host can take a server
    ├── FloatingIpRefused      a floating IP cannot be in front of that port
    ├── NotFound               what was named is not there
    └── Conflict               what was asked cannot be done in the present state

Each carries `code`, the stable word of its fault (`error=qemu-failed`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

STDERR_SHOWN = 4096
"""Bytes of QEMU's last words that an error repeats (SP-02)."""
COMMAND_SHOWN = 200
"""Characters of a command that an error repeats."""


class SpawnerError(Exception):
    """The root of this package's errors."""

    code = "spawner"


class InvalidSpec(SpawnerError):
    """A field of a guest's description that no driver can honour."""

    code = "invalid-spec"

    def __init__(self, field: str, wrong: str, remedy: str) -> None:
        super().__init__(f"{field}: {wrong}. {remedy}.")
        self.field = field


class QemuMissing(SpawnerError):
    """QEMU is not installed, or does not start at all (SP-01)."""

    code = "qemu-missing"

    def __init__(self, binary: str, why: str) -> None:
        super().__init__(f"{binary}: {why}. Install the package qemu-system-x86 or name another binary.")
        self.binary = binary


class QemuFailed(SpawnerError):
    """QEMU ended, or fell silent, while we still needed it (SP-02, SP-21)."""

    code = "qemu-failed"

    def __init__(self, name: str, what: str, stderr: bytes = b"") -> None:
        last_words = stderr[-STDERR_SHOWN:].decode(errors="backslashreplace").strip()
        super().__init__(f"guest {name}: QEMU {what}" + (f": {last_words}" if last_words else ""))
        self.stderr = stderr


class CommandOverdue(SpawnerError):
    """The time of a command for a guest is up, and nothing is known of how it ended."""

    code = "command-overdue"

    def __init__(self, guest: str, command: str, waited_s: float, why: str, remedy: str) -> None:
        words = command if len(command) <= COMMAND_SHOWN else f"{command[:COMMAND_SHOWN]}..."
        super().__init__(f"guest {guest}: no answer to {words!r} within {waited_s:g} s: {why}. {remedy}.")


class LibvirtMissing(SpawnerError):
    """The library that speaks to libvirt cannot be imported."""

    code = "libvirt-missing"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"libvirt-python: {why}. Install guestling[libvirt], or Debian's python3-libvirt into an"
            " environment that sees the system's packages; see docs/how-to/libvirt.md."
        )


class LibvirtFailed(SpawnerError):
    """A call to libvirt's daemon failed, or was given up. `number` is libvirt's own, 0 without one."""

    code = "libvirt-failed"

    def __init__(self, what: str, why: str, number: int = 0) -> None:
        super().__init__(f"libvirt, {what}: {why}")
        self.number = number


class FileRefused(SpawnerError):
    """A kernel, initrd or disk that cannot be opened as the guest needs it."""

    code = "file-refused"

    def __init__(self, path: Path, why: str, remedy: str) -> None:
        super().__init__(f"{path}: {why}. {remedy}.")
        self.path = path


class RunDirectoryUnusable(SpawnerError):
    """The private directory of a guest cannot be made, or is not ours alone (SP-04, SP-13)."""

    code = "run-directory"

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}. Set GUESTLING_RUN_DIR to a short path that only you can write to.")
        self.path = path


class TemplateRefused(SpawnerError):
    """A guest that cannot be saved, or a saved one that does not fit."""

    code = "template-refused"

    def __init__(self, name: str, why: str, remedy: str) -> None:
        super().__init__(f"template {name}: {why}. {remedy}.")


class NetworkFailed(SpawnerError):
    """A step of making or changing a network went wrong."""

    code = "network-failed"

    def __init__(self, backend: str, what: str) -> None:
        super().__init__(f"{backend}: {what}. See docs/why/how-guests-reach-metadata.md for what it needs.")


class NoNetworkBackend(SpawnerError):
    """Every way to reach the metadata address is closed; each with its reason."""

    code = "no-network-backend"

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("no network backend works here: " + "; ".join(reasons))
        self.reasons = tuple(reasons)


class HostInUse(SpawnerError):
    """Two spawners on one directory would take each other's guests for leftovers (SP-18)."""

    code = "host-in-use"

    def __init__(self, directory: Path) -> None:
        super().__init__(f"{directory}: another spawner runs guests here. End it, or name another directory.")


class StoreUnusable(SpawnerError):
    """A database that cannot be opened as it must be: it is left alone (SP-18)."""

    code = "store-unusable"

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"{url}: {why}. It was left as it is: mend it, or name another one with --store.")


class StoreTooNew(SpawnerError):
    """A database that a newer release made: it is left alone (SP-18)."""

    code = "store-too-new"

    def __init__(self, url: str, found: int, known: int) -> None:
        super().__init__(
            f"{url}: its schema is version {found}, this release knows up to {known}. Use a newer guestling."
        )


class NotEnough(SpawnerError):
    """A claim that a provider cannot take: somebody else was faster, or there never was enough."""

    code = "not-enough"

    def __init__(self, provider: str, resource_class: str, needed: int, free: int) -> None:
        super().__init__(f"{provider}: {needed} {resource_class} needed, {free} free")


class GenerationConflict(SpawnerError):
    """A provider changed between reading and writing it: read again."""

    code = "generation-conflict"

    def __init__(self, provider: str, seen: int, found: int) -> None:
        super().__init__(f"resource provider {provider}: generation {seen} was seen, it is {found} now")


class NoValidHost(SpawnerError):
    """No host can take a server; holds what became of each."""

    code = "no-valid-host"

    def __init__(self, explanation: str) -> None:
        super().__init__("No valid host was found. There are not enough hosts available.")
        self.explanation = explanation


class FloatingIpRefused(SpawnerError):
    """A floating IP cannot be taken from there, or be in front of that port; the words are Neutron's."""

    code = "floating-ip-refused"


class NotFound(SpawnerError):
    """What was named is not there, or is another project's."""

    code = "not-found"

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"{what} {name} could not be found.")


class Conflict(SpawnerError):
    """What was asked cannot be done in the present state."""

    code = "conflict"
