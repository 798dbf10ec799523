"""The process that starts guests for a spawner: Python once, a fork for each guest.

Usage: `launch_server DESCRIPTOR`, a SOCK_SEQPACKET socket to the spawner. Each request is one message of
NUL-separated words, `fds=N,N,... KEY=VALUE ... -- PROGRAM ARGUMENT ...`, with descriptors: standard error,
where the exit status goes, then those that the program shall have under the numbers of `fds`. The answer is
the process id, with a pidfd. The rest of each start is `launch`, or `keeper` where a directory to `keep` is
named. When the spawner is gone the socket says so, we end, and with us every guest but those whose keeper is
not tied to us.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable

from spawner.compute.qemu import keeper, launch
from spawner.compute.qemu.launch import FDS_LIMIT, FIRST_FD
from spawner.network import loopback, relay

MESSAGE_LIMIT = 128 << 10
DESCRIPTORS = 4096
STATUS = struct.Struct("=i")
PRELOADED = (loopback, relay)
"""What each guest's relay needs is loaded here, once."""


def main(arguments: list[str]) -> int:
    """Serve until the other end of the socket is closed."""
    _allow_descriptors()
    requests = _below_handed_numbers(int(arguments[0]))
    poller = select.poll()
    poller.register(requests, select.POLLIN)
    running: dict[int, tuple[int, int]] = {}
    # A spawner that was killed may be gone before we are ready, and in the middle of a request.
    with contextlib.suppress(ConnectionError):
        requests.send(b"ready")
        while True:
            for fd, _ in poller.poll():
                if fd != requests.fileno():
                    _report(*running.pop(fd), fd, poller)
                elif not _start(requests, running, poller):
                    return 0
    return 0


def _below_handed_numbers(number: int) -> socket.socket:
    """The socket to the spawner, under a number that each child closes and no program inherits.

    It came under the number that it had in the spawner, which with many open files is above FIRST_FD.
    """
    with socket.socket(fileno=number) as inherited:
        return inherited.dup()


def _allow_descriptors() -> None:
    """Room for two descriptors a guest, and for the numbers from FIRST_FD on, whatever limit we came with."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _start(requests: socket.socket, running: dict[int, tuple[int, int]], poller: select.poll) -> bool:
    """One request; False when there will be no more."""
    message, fds, _, _ = socket.recv_fds(requests, MESSAGE_LIMIT, FDS_LIMIT)
    if not message:
        return False
    numbers, *arguments = os.fsdecode(message).split("\0")
    stderr, status, *handed = fds
    server = os.getpid()
    keeps = any(word.startswith("keep=") for word in arguments[: arguments.index("--")])
    # A keeper stays outside of its guest's control group.
    pid = os.fork() if keeps else launch.fork(arguments)
    if pid == 0:
        start = keeper.main if keeps else launch.main
        _become(start, [f"parent={server}", *arguments], numbers, stderr, handed)
    pidfd = os.pidfd_open(pid)
    socket.send_fds(requests, [STATUS.pack(pid)], [pidfd])
    for fd in (stderr, *handed):
        os.close(fd)
    running[pidfd] = pid, status
    poller.register(pidfd, select.POLLIN)
    return True


def _become(
    start: Callable[[list[str]], int], arguments: list[str], numbers: str, stderr: int, handed: list[int]
) -> None:
    """The forked child: only the descriptors that were handed over, under their `numbers`, then `start`."""
    try:
        os.dup2(stderr, 2)
        wanted = [int(number) for number in numbers.removeprefix("fds=").split(",") if number]
        for fd, number in zip(handed, wanted, strict=True):
            if fd >= FIRST_FD:
                raise OSError(0, "too many guests for one spawner")
            os.dup2(fd, number, inheritable=True)
        os.closerange(3, FIRST_FD)
        os.setsid()
        start(arguments)
    except OSError as error:
        print(f"launch: {error}", file=sys.stderr)
    finally:
        os._exit(launch.EXIT_LAUNCH)


def _report(pid: int, status: int, pidfd: int, poller: select.poll) -> None:
    """Tell how the process ended: its exit status, or minus the signal."""
    poller.unregister(pidfd)
    os.close(pidfd)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError):  # nobody asks any more
        os.write(status, STATUS.pack(code))
    os.close(status)


signal.signal(signal.SIGPIPE, signal.SIG_IGN)
