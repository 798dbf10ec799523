"""Which network backend works here: each is tried in order, the first that works is taken, and why."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spawner.compute.qemu.confinement import (
    ENVIRONMENT,
    Confinement,
    find_qemu,
    launcher_argv,
    python_running,
)
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


@dataclass(frozen=True)
class Offer:
    """What trying one backend gave: the backend, or None, and one line that says why."""

    backend: Backend | None
    reason: str


def probe(binary: str) -> Choice:
    """The best backend for QEMU `binary` here. Raises QemuMissing, NoNetworkBackend with every reason."""
    refused: list[str] = []
    for offer in offers(binary):
        if offer.backend is not None:
            return Choice(offer.backend, offer.reason, tuple(refused))
        refused.append(offer.reason)
    raise NoNetworkBackend(refused)


def offers(binary: str) -> Iterator[Offer]:
    """Each backend as it is tried, the best first. Raises QemuMissing."""
    if not _has_user_network(find_qemu(binary)):
        yield Offer(None, f"{binary} has no user network (built without slirp)")
        return
    user = unprivileged()
    for attempt in (_namespace, _guestfwd):
        yield attempt(user)


def _namespace(_user: User | None) -> Offer:
    """A namespace with the metadata address is made, listened in, connected to, and gone."""
    done = _run(python_running("spawner.network.namespace_check"))
    if done is None:
        return Offer(None, f"namespace: no answer within {PROBE_S:g} s")
    if done.returncode == 0:
        return Offer(Namespace(), "namespace: a network namespace of its own for each guest")
    return Offer(None, "namespace: " + done.stderr.decode(errors="backslashreplace").strip()[-200:])


def _guestfwd(user: User | None) -> Offer:
    """A Python that QEMU's user can run is all it takes."""
    for python in (Path(sys.executable).resolve(), Path("/usr/bin/python3")):
        trial = [str(python), "-IS", "-c", "import socket, threading"]
        done = _run(launcher_argv(trial, Confinement(user=user), os.getpid()))
        if done is not None and done.returncode == 0:
            reason = "guestfwd: needs no privilege; the guest gets a link-local lease"
            return Offer(Guestfwd(str(python)), reason)
    return Offer(None, f"guestfwd: QEMU's user can run neither {sys.executable} nor /usr/bin/python3")


def _has_user_network(qemu: str) -> bool:
    listed = _run([qemu, "-netdev", "help"])
    return listed is not None and b"user" in (listed.stdout + listed.stderr).split()


def _run(command: list[str]) -> subprocess.CompletedProcess[bytes] | None:
    """None when it took too long."""
    try:
        return subprocess.run(
            command,
            capture_output=True,
            timeout=PROBE_S,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
