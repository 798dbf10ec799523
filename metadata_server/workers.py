"""Several processes on the same addresses: the kernel shares connections out (SO_REUSEPORT).

The parent serves nothing. It opens the unix sockets, which cannot be shared otherwise, and ends when its
workers do; a worker that dies takes the others with it, so that whoever started us starts us again.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


def run(count: int, work: Callable[[int], int]) -> int:
    """Run `work(number)` in `count` processes; returns the worst exit status. No thread may run yet."""
    children: set[int] = set()
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            os._exit(work(number))
        children.add(pid)

    def pass_on(number: int, _: object) -> None:
        for pid in children:
            os.kill(pid, number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, pass_on)
    worst = 0
    while children:
        pid, status = os.wait()
        children.discard(pid)
        code = os.waitstatus_to_exitcode(status)
        worst = max(worst, abs(code))
        if code != 0:
            pass_on(signal.SIGTERM, None)
    return worst
