"""Work on untrusted input in a forked child: little memory, little time, bounded output, no core file."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # lighter, see docs/decisions/0126
import os
import select
import time

from guest_agent.errors import AgentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

GOOD, BAD = b"+", b"-"


class ChildFailed(AgentError):
    """The work raised, was too slow, too large, or died."""

    code = "child"


def run_limited(
    work: Callable[[], bytes],
    words: Callable[[BaseException], str],
    *,
    memory_bytes: int,
    cpu_s: int,
    wall_s: float,
    output_bytes: int,
) -> bytes:
    """What `work` returns in a child. `words` turns what it raises into text. Raises ChildFailed."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        _be_the_child(work, words, write_end, memory_bytes, cpu_s)
    os.close(write_end)
    try:
        answer = _collected(read_end, time.monotonic() + wall_s, output_bytes)
    except ChildFailed:
        _end(child)
        raise
    finally:
        os.close(read_end)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if answer[:1] == GOOD and status == 0:
        return answer[1:]
    if answer[:1] == BAD:
        raise ChildFailed(answer[1:].decode("utf-8", "replace"))
    raise ChildFailed(_why_it_died(status, cpu_s))


def _be_the_child(
    work: Callable[[], bytes],
    words: Callable[[BaseException], str],
    write_end: int,
    memory_bytes: int,
    cpu_s: int,
) -> None:
    """Never returns: the child must not run its parent's code, whatever happens."""
    status = 1
    try:
        # What the agent does when it is told to stop is not for its child to do: it just ends.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGABRT):
            signal.signal(number, signal.SIG_DFL)
        _limit(memory_bytes, cpu_s)
        try:
            answer = GOOD + work()
        except BaseException as error:  # noqa: BLE001  # the edge of the child: everything becomes words
            answer = BAD + words(error).encode("utf-8", "replace")[:4096]
        view = memoryview(answer)
        while view:
            view = view[os.write(write_end, view) :]
        status = 0
    finally:
        os._exit(status)


def _limit(memory_bytes: int, cpu_s: int) -> None:
    import resource

    for kind, value in (
        # The child begins with all its parent has: what is limited is what it adds.
        (resource.RLIMIT_AS, memory_bytes + _own_bytes()),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _own_bytes() -> int:
    """The address space of this process now; 0 where /proc does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _collected(read_end: int, deadline: float, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not select.select([read_end], [], [], left_s)[0]:
            raise ChildFailed("it took too long")
        piece = os.read(read_end, 65536)
        if not piece:
            return b"".join(pieces)
        size += len(piece)
        if size > limit:
            raise ChildFailed(f"its output is longer than {limit} bytes")
        pieces.append(piece)


def _end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _why_it_died(status: int, cpu_s: int) -> str:
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"it used more than {cpu_s} s of processor time (template_cpu_s)"
    return f"it died by signal {-status}" if status < 0 else f"it ended with status {status}"
