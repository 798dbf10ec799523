"""One QEMU process: started through the launcher, its standard error capped, its QMP spoken to."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qemu.qmp import EventListener, QMPClient, QMPError
from qemu.qmp.message import Message

from spawner.compute.qemu import launch
from spawner.compute.qemu.user import User
from spawner.errors import QemuFailed, QemuMissing

STDERR_LIMIT = 1 << 20
QMP_LINE_LIMIT = 1 << 20
QMP_TIMEOUT_S = 10.0
LAST_WORDS_S = 1.0

_NOISE = b": info: QEMU waiting for connection on: "
"""What QEMU says about sockets that we are already connected to."""

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


_IMPORT_ROOT = Path(launch.__file__).parents[3]


@dataclass(frozen=True)
class Confinement:
    """What the launcher does to itself before it becomes QEMU; see `launch`."""

    user: User | None = None
    limits: Mapping[str, int] | None = None
    relay: Path | None = None
    netns: Path | None = None
    tap: str | None = None


def find_qemu(binary: str) -> str:
    """The absolute path of QEMU. Raises QemuMissing (SP-01)."""
    path = shutil.which(binary)
    if path is None:
        raise QemuMissing(binary, "there is no such program, or it is not executable")
    return str(Path(path).absolute())


def launcher_argv(qemu: Sequence[str], confinement: Confinement, parent: int) -> list[str]:
    """The command that becomes `qemu` (whose first part is an absolute path) within its confinement."""
    options = [f"parent={parent}"]
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
    return [*python_running("spawner.compute.qemu.launch"), *options, "--", *qemu]


def python_running(module: str) -> list[str]:
    """The command that runs `main(arguments)` of one of our modules in a bare, isolated Python.

    -c and not a file: a program's own file is compiled at each start, an imported module only once.
    """
    program = (
        f"import sys; sys.path[:0] = [sys.argv[1]]; from {module} import main; sys.exit(main(sys.argv[2:]))"
    )
    return [sys.executable, "-IS", "-c", program, str(_IMPORT_ROOT)]


class QemuProcess:
    """A running QEMU. `start` it once; `ended` is its exit status, once its last words are read too."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.stderr = b""
        self.shutdown_reason: str | None = None
        self.panicked = False
        self._qmp = QMPClient(name, readbuflen=QMP_LINE_LIMIT)
        self._qmp.logger.setLevel(logging.CRITICAL)  # what it logs, it raises too
        self._qmp.register_listener(EventListener(("SHUTDOWN", "GUEST_PANICKED"), self._note))
        self._connected = False
        self._process: asyncio.subprocess.Process | None = None
        self._follower: asyncio.Task[None] | None = None
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def started(self) -> bool:
        """Whether there is, or was, a process."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """QEMU's process id: the launcher becomes QEMU, so it never changes."""
        if self._process is None:
            raise QemuFailed(self._name, "was not started yet")
        return self._process.pid

    async def start(self, argv: Sequence[str], confinement: Confinement, inherited: Sequence[int]) -> None:
        """Start QEMU; returns at once, before QEMU does anything."""
        self._process = await asyncio.create_subprocess_exec(
            *launcher_argv(argv, confinement, os.getpid()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=inherited,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
        self._follower = asyncio.create_task(self._follow(self._process))

    async def connect(self, qmp_socket: Path, timeout_s: float = QMP_TIMEOUT_S) -> None:
        """Wait until QEMU answers on QMP. Raises QemuFailed when it ends or stays silent instead."""
        connecting = asyncio.create_task(self._qmp.connect(os.fspath(qmp_socket)))
        await first_of(connecting, self.ended, timeout_s)
        connecting.cancel()
        failure = (await asyncio.gather(connecting, return_exceptions=True))[0]
        if failure is None:
            self._connected = True
            return
        if isinstance(failure, QMPError):
            # A greeting that breaks off most often means that QEMU has just died: its last words say more.
            await asyncio.wait({self.ended}, timeout=LAST_WORDS_S)
            if not self.ended.done():
                raise QemuFailed(self._name, f"does not speak QMP ({failure})", self.stderr) from failure
        raise QemuFailed(self._name, self._fate(timeout_s), self.stderr)

    async def execute(
        self, command: str, arguments: Mapping[str, object] | None = None, timeout_s: float = QMP_TIMEOUT_S
    ) -> object:
        """One QMP command. Raises QemuFailed when QEMU refuses it or is gone."""
        try:
            return await asyncio.wait_for(
                self._qmp.execute(command, dict(arguments) if arguments else None), timeout_s
            )
        except (QMPError, TimeoutError, OSError, EOFError) as error:
            what = f"did not carry out {command} ({error or 'no answer'})"
            raise QemuFailed(self._name, what, self.stderr) from error

    def send_fd(self, fd: int) -> None:
        """Hand a descriptor to QEMU, for the next `getfd`."""
        self._qmp.send_fd_scm(fd)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if there is still a process to take it."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        while process.stderr and (line := await process.stderr.read(4096)):
            self.stderr = (self.stderr + line)[:STDERR_LIMIT]
        status = await process.wait()
        if self._connected:
            with contextlib.suppress(QMPError, OSError, EOFError):
                await self._qmp.disconnect()
        self.stderr = b"".join(line for line in self.stderr.splitlines(keepends=True) if _NOISE not in line)
        self.ended.set_result(status)

    def _note(self, event: Message) -> bool:
        """Remember what an event says. False: keep it in no queue, for a flood would fill the memory."""
        data = event.get("data")
        if event.get("event") == "GUEST_PANICKED":
            self.panicked = True
        elif isinstance(data, dict):
            self.shutdown_reason = str(data.get("reason"))
        return False

    def _fate(self, timeout_s: float) -> str:
        if not self.ended.done():
            return f"gave no answer on QMP within {timeout_s:g} s"
        status = self.ended.result()
        if status < 0:
            return f"was killed by {signal.Signals(-status).name} before it answered"
        return f"ended with status {status} before it answered"


async def first_of(one: asyncio.Future[Any], other: asyncio.Future[Any], timeout_s: float) -> None:
    """Wait until one of the two is done, or the time is up; neither is cancelled."""
    await asyncio.wait({one, other}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
