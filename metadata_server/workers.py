"""Several processes on the same addresses: the kernel shares connections out (SO_REUSEPORT).

The parent serves nothing. It opens the unix sockets, which cannot be shared otherwise, and ends when its
workers do; a worker that dies takes the others with it, so that whoever started us starts us again.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from functools import partial

Ready = Callable[[tuple[str, ...]], None]


def run(count: int, work: Callable[[int, Ready], int], ready: Ready) -> int:
    """Run `work(number, tell)` in `count` processes; returns the worst exit status. No thread may run yet.

    A worker calls `tell` with its addresses when it serves; when all have, `ready` is called here, once.
    """
    told, telling = os.pipe()
    children: set[int] = set()
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            os.close(told)
            os._exit(work(number, partial(_tell, telling)))
        children.add(pid)
    os.close(telling)

    def pass_on(number: int, _: object) -> None:
        for pid in children:
            os.kill(pid, number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, pass_on)
    addresses = _all_told(told, count)
    if addresses is not None:
        ready(addresses)
    return _wait_for(children, pass_on)


def _tell(telling: int, addresses: tuple[str, ...]) -> None:
    os.write(telling, json.dumps(addresses).encode() + b"\n")
    os.close(telling)


def _all_told(told: int, count: int) -> tuple[str, ...] | None:
    """The addresses of all workers, None when one ended before it served."""
    with os.fdopen(told) as lines:
        said = [json.loads(line) for line in lines]
    if len(said) < count:
        return None
    return tuple(dict.fromkeys(address for addresses in said for address in addresses))


def _wait_for(children: set[int], pass_on: Callable[[int, object], None]) -> int:
    worst = 0
    while children:
        pid, status = os.wait()
        children.discard(pid)
        code = os.waitstatus_to_exitcode(status)
        worst = max(worst, abs(code))
        if code != 0:
            pass_on(signal.SIGTERM, None)
    return worst
