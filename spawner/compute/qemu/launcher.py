"""The spawner's side of `launch_server`: one for the process, made when the first guest is started."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from spawner.compute.qemu.confinement import ENVIRONMENT, Confinement, launcher_options, python_running
from spawner.compute.qemu.launch_server import STATUS

START_S = 20.0


@dataclass(frozen=True)
class Launched:
    """A process that was started. `pidfd` is the caller's to close."""

    pid: int
    pidfd: int


class Launcher:
    """Starts programs confined, without the cost of a Python for each. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def is_warm(self) -> bool:
        """Whether `warm` has nothing to do."""
        return self._server is not None and self._server.poll() is None

    def warm(self) -> None:
        """Have the server running: some 50 ms the first time. Raises OSError."""
        with self._lock:
            if not self.is_warm():
                self._close()
                self._begin()

    def start(
        self,
        argv: Sequence[str],
        confinement: Confinement,
        handed: Mapping[int, int],
        stderr: int,
        status: int,
    ) -> Launched:
        """Start `argv`, which finds descriptor `handed[N]` under the number N. Raises OSError.

        To `status` the exit status is written, as STATUS packs it, when the program has ended.
        """
        numbers = ",".join(map(str, handed))
        words = [f"fds={numbers}", *launcher_options(confinement), "--", *argv]
        self.warm()
        with self._lock:
            if self._requests is None:
                raise OSError(0, "the launcher has ended")
            socket.send_fds(
                self._requests, [os.fsencode("\0".join(words))], [stderr, status, *handed.values()]
            )
            answer, fds, _, _ = socket.recv_fds(self._requests, STATUS.size, 1)
        if not answer:
            raise OSError(0, "the launcher has ended")
        return Launched(STATUS.unpack(answer)[0], fds[0])

    def close(self) -> None:
        """End the server, and with it every guest that it started."""
        with self._lock:
            self._close()

    def _begin(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(START_S)
        with theirs:
            self._server = subprocess.Popen(
                [*python_running("spawner.compute.qemu.launch_server"), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        self._requests = ours
        if ours.recv(16) != b"ready":
            self._close()
            raise OSError(0, "the launcher did not start")

    def _close(self) -> None:
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        if self._server is not None:
            try:
                self._server.wait(5)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None


@cache
def shared() -> Launcher:
    """The launcher of this process."""
    launcher = Launcher()
    atexit.register(launcher.close)
    return launcher
