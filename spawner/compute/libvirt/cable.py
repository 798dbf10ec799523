"""The cable between a guest under libvirt and its network: a QEMU without a guest.

libvirt starts its QEMU itself, in the host's network namespace, with a sandbox that forbids the forks of
`guestfwd`. So the network half of what the qemu driver would start runs on its own: the same backends, the
same confinement, the same user network; a hub joins it to a unix socket, to which libvirt's QEMU connects
the card. It outlives the spawner, as the guest does, and holds the lock of the run directory meanwhile.
See docs/decisions/0095-libvirt-guests-keep-their-network.md.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

from spawner.compute.qemu.confinement import (
    ENVIRONMENT,
    Confinement,
    detached_argv,
    find_qemu,
)
from spawner.compute.qemu.option import option
from spawner.compute.qemu.process_marks import kill, marked
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.compute.qemu.user import User
from spawner.errors import QemuFailed
from spawner.network.backend import Attachment

LIMITS = {"CORE": 0, "NOFILE": 1024, "FSIZE": 1 << 20}
"""It writes nothing but its last words."""
LAY_S = 20.0
NOTHING_PLUGGED_IN = (0, Attachment("user,ipv6=off,restrict=on"))
"""For a guest without a card: somebody must hold its run directory while no spawner does."""


def needs_cable(attachment: Attachment) -> bool:
    """Whether a network needs more than libvirt's QEMU can do itself, which is a closed user network."""
    return bool(attachment.relay or attachment.netns or attachment.tap or attachment.spawns)


def netdev_to(socket: Path) -> str:
    """The guest's end: the value of -netdev, without its id."""
    return option("stream", server=False, **{"addr.type": "unix", "addr.path": str(socket)})


def netdev_add_to(socket: Path) -> dict[str, object]:
    """The guest's end for a card that is plugged in later: the arguments of `netdev_add`, without its id."""
    return {"type": "stream", "server": False, "addr": {"type": "unix", "path": str(socket)}}


def cable_argv(binary: str, name: str, attachment: Attachment, socket_fd: int) -> list[str]:
    """The network's end: pure."""
    kind, _, rest = attachment.netdev.partition(",")
    spawn = "allow" if attachment.spawns else "deny"
    filtered = option("on", obsolete="deny", elevateprivileges=spawn, spawn=spawn, resourcecontrol="deny")
    inner = option("stream", id="inner", server=True, **{"addr.type": "fd", "addr.str": socket_fd})
    return [
        binary,
        *("-name", name),
        *("-machine", "none", "-nodefaults", "-no-user-config", "-display", "none", "-sandbox", filtered),
        *("-netdev", f"{kind},id=outer" + (f",{rest}" if rest else "")),
        *("-netdev", inner),
        *("-netdev", "hubport,id=port0,hubid=0,netdev=outer"),
        *("-netdev", "hubport,id=port1,hubid=0,netdev=inner"),
    ]


def socket_of(run: Path, slot: int) -> Path:
    """Where the card in a PCI slot is connected."""
    return run / f"net{slot}.sock"


def lay(run: RunDirectory, slot: int, attachment: Attachment, user: User | None, binary: str) -> Path:
    """Start the cable of the card in a PCI slot; the socket to connect it to. Raises SpawnerError.

    The socket is there, and belongs to libvirt's QEMU, before this returns. It blocks some 50 ms.
    """
    path = socket_of(run.path, slot)
    confinement = Confinement(
        user=user, limits=LIMITS, relay=attachment.relay, netns=attachment.netns, tap=attachment.tap
    )
    with run.listen(path.name) as listener, _words(run.path, slot).open("wb") as words:
        if user is not None:
            os.chown(path, user.uid, user.gid, follow_symlinks=False)
        program = cable_argv(find_qemu(binary), _mark(run.path, slot), attachment, listener.fileno())
        try:
            done = subprocess.run(
                detached_argv(program, confinement),
                # Whoever sweeps sees by the lock that the directory is in use.
                pass_fds=[fd for fd in (listener.fileno(), run.lock) if fd >= 0],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=words,
                env=ENVIRONMENT,
                cwd="/",
                timeout=LAY_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise QemuFailed(run.path.name, f"could not be launched ({error})") from error
    if done.returncode != 0:
        raise _broken(run.path, slot)
    return path


def check(run: Path, slot: int) -> None:
    """Raise QemuFailed, with its last words, where the cable of a card is not there any more."""
    if not is_laid(run, slot):
        raise _broken(run, slot)


def _broken(run: Path, slot: int) -> QemuFailed:
    words = b""
    with contextlib.suppress(OSError):
        words = _words(run, slot).read_bytes()
    return QemuFailed(run.name, "has no network: its cable ended", words)


def _words(run: Path, slot: int) -> Path:
    return run / f"net{slot}.log"


def _mark(run: Path, slot: int | None = None) -> str:
    """The word of its command line by which a cable is known; also to a later life of the spawner."""
    return f"guestling-cable-{run.name}-" + ("" if slot is None else f"{slot}.")


def is_laid(run: Path, slot: int) -> bool:
    """Whether the cable of a card is there."""
    return any(True for _ in marked(_mark(run, slot)))


def cut(run: Path, slot: int | None = None) -> None:
    """End the cable of a card, or all of a guest's, whoever laid them; nothing there is fine."""
    kill(_mark(run, slot))
