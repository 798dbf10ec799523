"""Backend `guestfwd`: needs no privilege at all, and gives the guest a link-local lease.

QEMU's user network covers 169.254.0.0/16, restricted to one forward: what the guest sends to
169.254.169.254:80 goes to the standard input of a helper that QEMU starts for each connection. Starting it
is what its sandbox would forbid, so with this backend, and only with it, QEMU runs with `spawn=allow`. No
IPv6. The address must lie in the user network: with the ordinary 10.0.2.0/24, QEMU refuses the forward.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from spawner.compute.qemu.option import escaped
from spawner.network import relay
from spawner.network.backend import Attachment

HELPER_NAME = "relay.py"


class Guestfwd:
    """A helper process for each connection, started by QEMU. `python` must be executable for QEMU's user."""

    name = "guestfwd"

    def __init__(self, python: str = sys.executable) -> None:
        self._python = python

    def attach(self, metadata_socket: Path, run_directory: Path) -> Attachment:
        """Copy the helper beside the socket, where QEMU's user may read it, and forward to it."""
        helper = run_directory / HELPER_NAME
        shutil.copyfile(relay.__file__, helper)
        helper.chmod(0o644)
        # QEMU splits the command as a shell would, but runs none.
        command = shlex.join([self._python, "-IS", os.fspath(helper), os.fspath(metadata_socket)])
        forward = f"guestfwd=tcp:{relay.METADATA_ADDRESS}:{relay.METADATA_PORT}-cmd:{command}"
        return Attachment(netdev=f"user,net=169.254.0.0/16,restrict=on,{escaped(forward)}", spawns=True)
