"""What can go wrong between a request for a server and a running guest.

    SpawnerError
    ├── InvalidSpec            the description of a guest cannot be run as it stands
    ├── QemuMissing            no QEMU, or one that does not start
    ├── QemuFailed             QEMU ended before it answered, or broke off
    ├── FileRefused            a file a guest needs cannot be opened or handed over
    ├── RunDirectoryUnusable   no private directory for sockets can be made
    └── NoNetworkBackend       no way for a guest to reach 169.254.169.254 here

Each carries `code`, the stable word of its fault (`error=qemu-failed`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

STDERR_SHOWN = 4096
"""Bytes of QEMU's last words that an error repeats (SP-02)."""


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


class NoNetworkBackend(SpawnerError):
    """Every way to reach the metadata address is closed; each with its reason."""

    code = "no-network-backend"

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("no network backend works here: " + "; ".join(reasons))
        self.reasons = tuple(reasons)
