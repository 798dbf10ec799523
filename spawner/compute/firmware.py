"""UEFI firmware on this host: where it is, and each guest's own copy of its variables.

The code is shared and read-only; what a guest's loader remembers is in its variables, which go with it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from spawner.compute.driver import Disk, Firmware
from spawner.errors import InvalidSpec

PLACES = (
    (Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")),
    (Path("/usr/share/OVMF/OVMF_CODE.fd"), Path("/usr/share/OVMF/OVMF_VARS.fd")),
    (Path("/usr/share/edk2/ovmf/OVMF_CODE.fd"), Path("/usr/share/edk2/ovmf/OVMF_VARS.fd")),
    (Path("/usr/share/edk2/x64/OVMF_CODE.4m.fd"), Path("/usr/share/edk2/x64/OVMF_VARS.4m.fd")),
)
"""Code and fresh variables as Debian, Ubuntu, Fedora and Arch lay them down; the first that is there."""
VARIABLES = "uefi-variables.fd"


def uefi(home: Path, places: Sequence[tuple[Path, Path]] = PLACES) -> Firmware:
    """The firmware of the guest whose own files are in `home`. Raises InvalidSpec where none is (SP-01)."""
    for code, fresh in places:
        if code.is_file() and fresh.is_file():
            return Firmware(Disk(code, read_only=True), Disk(home / VARIABLES), fresh)
    raise InvalidSpec(
        "image property hw_firmware_type", "this host has no UEFI firmware", "Install the package ovmf there"
    )


def keep_variables(firmware: Firmware) -> None:
    """Make the guest's variables at its first start; they are its own from then on. Raises OSError."""
    own = firmware.variables.path
    if not own.exists():
        partial = own.with_suffix(".part")
        shutil.copyfile(firmware.fresh, partial)
        partial.chmod(0o600)
        partial.replace(own)
