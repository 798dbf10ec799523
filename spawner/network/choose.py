"""Which network backend works here.

Each is tried, the best that works is taken, each refusal has its reason.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from spawner.compute.qemu.process import ENVIRONMENT, Confinement, find_qemu, launcher_argv, python_running
from spawner.compute.qemu.user import User, unprivileged
from spawner.errors import NoNetworkBackend
from spawner.network.backend import Backend
from spawner.network.guestfwd import Guestfwd
from spawner.network.namespace import Namespace

PROBE_S = 10.0


@dataclass(frozen=True)
class Choice:
    """The backend taken, why, and one line for each better one that was not."""

    backend: Backend
    reason: str
    refused: tuple[str, ...] = ()


def probe(binary: str, user: User | None = None) -> Choice:
    """The best backend for QEMU `binary` here. Raises QemuMissing, NoNetworkBackend with every reason.

    `user` is who QEMU will run as; default: as the spawner starts it.
    """
    user = user or unprivileged()
    if not _has_user_network(find_qemu(binary)):
        raise NoNetworkBackend([f"{binary} has no user network (built without slirp)"])
    refused: list[str] = []
    for attempt in (_namespace, _guestfwd):
        backend, why = attempt(user)
        if backend is not None:
            return Choice(backend, why, tuple(refused))
        refused.append(why)
    raise NoNetworkBackend(refused)


def _namespace(_user: User | None) -> tuple[Backend | None, str]:
    """A namespace with the metadata address is made, listened in and connected to.

    With nothing left of it.
    """
    try:
        done = _run(python_running("spawner.network.namespace_check"))
    except subprocess.TimeoutExpired:
        return None, f"namespace: no answer within {PROBE_S:g} s"
    if done.returncode == 0:
        return Namespace(), "namespace: a network namespace of its own for each guest"
    return None, "namespace: " + done.stderr.decode(errors="backslashreplace").strip()[-200:]


def _guestfwd(user: User | None) -> tuple[Backend | None, str]:
    """A Python that QEMU's user can run is all it takes."""
    for python in (Path(sys.executable).resolve(), Path("/usr/bin/python3")):
        command = launcher_argv(
            [str(python), "-IS", "-c", "import socket, threading"], Confinement(user=user), os.getpid()
        )
        done = _run(command)
        if done.returncode == 0:
            return Guestfwd(str(python)), "guestfwd: needs no privilege; the guest gets a link-local lease"
    return None, "guestfwd: QEMU's user can run neither this Python nor /usr/bin/python3"


def _has_user_network(binary: str) -> bool:
    listed = _run([binary, "-netdev", "help"])
    return b"user" in (listed.stdout + listed.stderr).split()


def _run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command,
        capture_output=True,
        timeout=PROBE_S,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        check=False,
    )
