"""What a network backend is: from one instance's metadata socket to what QEMU must be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Attachment:
    """One guest's network, ready to be put on QEMU's command line.

    `netdev` is the value of -netdev without its id, empty for a guest without a card. `relay`: the launcher
    makes a network namespace whose 169.254.169.254 leads to this unix socket. `netns`: the launcher enters
    this namespace instead. `tap`: `INTERFACE:NUMBER`, the tap there that QEMU inherits as this descriptor.
    `tap_fd`: an open tap, which QEMU inherits in its stead; who asked for the attachment closes it once QEMU
    has it. `spawns`: QEMU itself must start programs, so its sandbox cannot forbid that.
    """

    netdev: str
    relay: Path | None = None
    netns: Path | None = None
    tap: str | None = None
    tap_fd: int | None = None
    spawns: bool = False


class Backend(Protocol):
    """One way for a guest to reach its metadata."""

    @property
    def name(self) -> str:
        """`namespace`, `guestfwd` or `bridge`."""

    def attach(self, metadata_socket: Path, run_directory: Path) -> Attachment:
        """The network of one guest. `run_directory` takes what must lie beside the socket."""
