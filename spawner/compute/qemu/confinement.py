"""What a QEMU may and may not do, in the words that `launch` reads."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spawner.compute.qemu import launch
from spawner.compute.qemu.user import User
from spawner.errors import QemuMissing

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}

_IMPORT_ROOT = Path(launch.__file__).parents[3]


@dataclass(frozen=True)
class Keep:
    """A guest with a keeper: where its files go, where its sockets are, what the keeper inherits.

    `tied`: it dies with the launch server, and so with the spawner.
    """

    home: Path
    run: Path
    keeper_fd: int
    lock_fd: int
    agent: bool
    tied: bool


@dataclass(frozen=True)
class Confinement:
    """What the launcher does to itself before it becomes QEMU; see `launch`."""

    user: User | None = None
    limits: Mapping[str, int] | None = None
    relay: Path | None = None
    netns: Path | None = None
    tap: str | None = None
    keep: Keep | None = None
    cgroup: Path | None = None


def find_qemu(binary: str) -> str:
    """The absolute path of QEMU. Raises QemuMissing (SP-01)."""
    path = shutil.which(binary)
    if path is None:
        raise QemuMissing(binary, "there is no such program, or it is not executable")
    return str(Path(path).absolute())


def launcher_argv(program: Sequence[str], confinement: Confinement, parent: int) -> list[str]:
    """The command that becomes `program` (whose first part is an absolute path) within its confinement.

    It pays for a Python of its own: right for a probe; guests are started by `launcher`.
    """
    options = [f"parent={parent}", *launcher_options(confinement)]
    return [*python_running("spawner.compute.qemu.launch"), *options, "--", *program]


def detached_argv(program: Sequence[str], confinement: Confinement) -> list[str]:
    """The command that begins `program` within its confinement as nobody's child, and ends when it has."""
    options = ["detach=1", *launcher_options(confinement)]
    return [*python_running("spawner.compute.qemu.launch"), *options, "--", *program]


def launcher_options(confinement: Confinement) -> list[str]:
    """The confinement as `launch` reads it."""
    options = []
    if confinement.limits:
        options.append("limits=" + ",".join(f"{name}:{value}" for name, value in confinement.limits.items()))
    if user := confinement.user:
        options += [f"uid={user.uid}", f"gid={user.gid}", f"groups={','.join(map(str, user.groups))}"]
    if confinement.relay:
        options.append(f"relay={confinement.relay}")
    if confinement.netns:
        options.append(f"netns={confinement.netns}")
    if confinement.tap:
        options.append(f"tap={confinement.tap}")
    if confinement.cgroup:
        options.append(f"cgroup={confinement.cgroup}")
    return options + (_keeping(confinement.keep) if confinement.keep else [])


def _keeping(keep: Keep) -> list[str]:
    options = [
        f"keep={keep.home}",
        f"run={keep.run}",
        f"keeper_fd={keep.keeper_fd}",
        f"lock_fd={keep.lock_fd}",
    ]
    flags = {"agent": keep.agent, "tied": keep.tied}
    return options + [f"{name}=1" for name, given in flags.items() if given]


def python_running(module: str) -> list[str]:
    """The command that runs `main(arguments)` of one of our modules in a bare, isolated Python.

    -c and not a file: a program's own file is compiled at each start, an imported module only once.
    """
    program = (
        f"import sys; sys.path[:0] = [sys.argv[1]]; from {module} import main; sys.exit(main(sys.argv[2:]))"
    )
    return [sys.executable, "-IS", "-c", program, str(_IMPORT_ROOT)]
