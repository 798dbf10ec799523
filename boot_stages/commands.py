"""How commands are run: really, or only written down (guest-agent.md section 8).

`SystemCommands` starts a program with its own process group, no terminal, bounded output and a deadline;
`RecordedCommands` runs nothing and answers from a list of replies.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # lighter, see docs/decisions/0126
import os
import time

from boot_stages.paths import below
from boot_stages.plain_json import write_json
from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Sequence
    from typing import Protocol

    class Commands(Protocol):
        """Runs one command and gives its answer."""

        def run(self, command: Command) -> Answer:
            """Run it to its end. Never raises for what the command does."""

        def which(self, name: str) -> str | None:
            """The path of a program, or None."""


# Output that is kept: the first bytes for questions, and always the tail for the report.
HEAD_LIMIT = 1024 * 1024
TAIL_LIMIT = 4096
NOT_FOUND = 127
NOT_STARTED = 126
TIMED_OUT = 124
TERM_GRACE_S = 5.0
# How long a program that has ended is listened to while what it left behind still writes to its output.
DRAIN_S = 2.0
# What a command still has once the time of its stage is up: the last modules tell how the boot went.
OVERTIME_S = 30.0
SHOWN_BYTES = 16 * 1024 * 1024
# No process can be made while a fork bomb has all of them: some of its processes end soon.
START_TRIES = 10
START_PAUSE_S = 0.2
OOM_SCORE = "/proc/self/oom_score_adj"
SHIELDED = b"-900"
SEARCH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


class Command(Value):
    """A command as it is handed over: `argv` without a shell, `stdin` bytes, additions to the environment."""

    argv: tuple[str, ...]
    stdin: bytes = b""
    environment: tuple[tuple[str, str], ...] = ()
    cwd: str = ""
    show: bool = False
    timeout_s: float = 0.0
    stage: str = ""
    module: str = ""
    question: bool = False


class Answer(Value):
    """What came of a command: exit status (negative: signal), the kept output, how long it took."""

    status: int
    out: bytes = b""
    err: bytes = b""
    took_s: float = 0.0

    def tail(self) -> str:
        """The last lines of error output, else of output, for reports."""
        return (self.err or self.out)[-TAIL_LIMIT:].decode("utf-8", "replace")


class SystemCommands:
    """Commands are run. Below a root other than `/` they run in a chroot of it."""

    def __init__(
        self, root: str = "/", show: Callable[[bytes], None] | None = None, default_timeout_s: float = 3600.0
    ) -> None:
        self._root = root
        self._show = show or _to_stdout
        self._default_timeout_s = default_timeout_s
        self._shown_bytes = SHOWN_BYTES
        self._stage_ends_s = float("inf")
        self._overtime_s = OVERTIME_S
        self._oom_score = b""

    def shield(self) -> None:
        """Have the kernel end what we start before us when memory runs out, where we may say so (GA-W12)."""
        try:
            with open(OOM_SCORE, "rb") as file:
                before = file.read().strip()
        except OSError:
            return
        if _set_oom_score(SHIELDED):
            self._oom_score = before

    def begin_stage(self, limit_s: float, shown_bytes: int) -> None:
        """From now on all commands together have `limit_s`; of each at most `shown_bytes` are shown (GA-W12).

        One that begins when the time is up, or almost, still has OVERTIME_S.
        """
        self._stage_ends_s = time.monotonic() + limit_s
        self._overtime_s = min(OVERTIME_S, limit_s)
        self._shown_bytes = shown_bytes

    def which(self, name: str) -> str | None:
        """The first executable of that name in the search path, seen from inside the root."""
        return find_program(self._root, name)

    def run(self, command: Command) -> Answer:
        """Run a program to its end or its deadline; its process group is ended with it when it is late."""
        program = self.which(command.argv[0])
        if program is None:
            return Answer(NOT_FOUND, err=f"{command.argv[0]}: command not found\n".encode())
        started = time.monotonic()
        # Until somebody is there to end the child, signals wait: one that came between would leave it behind.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            child = self._start(program, command, before)
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return Answer(NOT_STARTED, err=f"{program}: it cannot be started: {error.strerror}\n".encode())
        except BaseException:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            raise
        deadline = self._deadline(command, started)
        show = _Shown(self._show, self._shown_bytes) if command.show else None
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            out, err = child.talk(command.stdin, deadline, show)
            status = child.wait(deadline)
        except BaseException:  # a signal ends the agent: its children end with it (GA-S08)
            child.end()
            raise
        took_s = time.monotonic() - started
        if child.late:
            err += f"\nended after {deadline - started:.0f} s: its time was up\n".encode()
        return Answer(status, out, err, took_s)

    def _start(self, program: str, command: Command, signal_mask: set[int]) -> _Child:
        """Start a program, some times again while there is no room for a process. Raises OSError."""
        # What we start is to be as likely to be ended for its memory as if we were not shielded.
        is_shielded = bool(self._oom_score) and _set_oom_score(self._oom_score)
        try:
            for _ in range(START_TRIES - 1):
                try:
                    return _Child(program, command, self._root, signal_mask)
                except BlockingIOError:  # EAGAIN
                    time.sleep(START_PAUSE_S)
            return _Child(program, command, self._root, signal_mask)
        finally:
            if is_shielded:
                _set_oom_score(SHIELDED)

    def _deadline(self, command: Command, started: float) -> float:
        """The command's own, or what is left of its stage, whichever comes first."""
        own = started + (command.timeout_s or self._default_timeout_s)
        return min(own, max(self._stage_ends_s, started + self._overtime_s))


def _set_oom_score(score: bytes) -> bool:
    """How likely this process is to be ended for its memory; False where that may not be said."""
    try:
        descriptor = os.open(OOM_SCORE, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, score)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True


class _Shown:
    """Shows the output of one command as it comes, up to a limit: the console and its log have an end."""

    def __init__(self, show: Callable[[bytes], None], limit: int) -> None:
        self._show = show
        self._limit = limit
        self._left = limit

    def __call__(self, chunk: bytes) -> None:
        if self._left < 0:
            return
        self._show(chunk[: self._left])
        self._left -= len(chunk)
        if self._left < 0:
            self._show(f"\n[more than {self._limit} bytes of output: the rest is not shown]\n".encode())


def _to_stdout(output: bytes) -> None:
    while output:
        output = output[os.write(1, output) :]


class _Child:
    """One running program with its three pipes. (subprocess would cost every boot 6 ms of import.)"""

    def __init__(self, program: str, command: Command, root: str, signal_mask: set[int]) -> None:
        stdin_read, self._stdin = os.pipe()
        self._out, out_write = os.pipe()
        self._err, err_write = os.pipe()
        self.late = False
        pipes = (stdin_read, out_write, err_write)
        try:
            if root == "/" and not command.cwd and os.getcwd() == "/":
                self._pid = _spawn(program, command, pipes, signal_mask)
            else:
                self._pid = os.fork()
                if self._pid == 0:
                    _become(program, command, root, pipes, signal_mask)
        except OSError:
            for descriptor in (self._stdin, self._out, self._err):
                os.close(descriptor)
            raise
        finally:
            for descriptor in pipes:
                os.close(descriptor)

    def talk(
        self, stdin: bytes, deadline: float, show: Callable[[bytes], None] | None
    ) -> tuple[bytes, bytes]:
        """Feed stdin and collect output until the program closes it, or the deadline."""
        import select

        kept = {self._out: bytearray(), self._err: bytearray()}
        os.set_blocking(self._stdin, False)
        poll = select.poll()
        for descriptor in kept:
            poll.register(descriptor, select.POLLIN)
        if stdin:
            poll.register(self._stdin, select.POLLOUT)
        else:
            self._close_stdin()
        open_outputs = set(kept)
        until = deadline
        while open_outputs:
            left_s = until - time.monotonic()
            if left_s <= 0:
                self.late = not self._has_ended()
                break
            if self._ended_and_silent(poll, left_s, kept, open_outputs, show):
                break
            if until == deadline and self._has_ended():
                until = min(deadline, time.monotonic() + DRAIN_S)
            if stdin and self._stdin >= 0:
                stdin = self._feed(stdin, poll)
        for descriptor in kept:
            os.close(descriptor)
        self._close_stdin()
        return bytes(kept[self._out]), bytes(kept[self._err])

    def _ended_and_silent(
        self,
        poll: select.poll,
        left_s: float,
        kept: dict[int, bytearray],
        open_outputs: set[int],
        show: Callable[[bytes], None] | None,
    ) -> bool:
        """Read what is there. A program that ended but left a daemon holding its output is done, too."""
        events = poll.poll(min(left_s, 0.5) * 1000)
        for descriptor, _event in events:
            if descriptor not in kept:
                continue
            chunk = os.read(descriptor, 65536)
            if not chunk:
                open_outputs.discard(descriptor)
                poll.unregister(descriptor)
                continue
            if show is not None:
                show(chunk)
            _keep(kept[descriptor], chunk)
        return not events and self._has_ended()

    def _has_ended(self) -> bool:
        return os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _feed(self, stdin: bytes, poll: select.poll) -> bytes:
        try:
            stdin = stdin[os.write(self._stdin, stdin[:65536]) :]
        except BlockingIOError:
            return stdin
        except BrokenPipeError:
            stdin = b""
        if not stdin:
            poll.unregister(self._stdin)
            self._close_stdin()
        return stdin

    def _close_stdin(self) -> None:
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1

    def wait(self, deadline: float) -> int:
        """The exit status; past the deadline the group gets TERM, then KILL, and the status is 124."""
        while not self._has_ended() and not self.late:
            if time.monotonic() >= deadline:
                self.late = True
            time.sleep(0.005)
        if self.late:
            self.end()
            return TIMED_OUT
        _pid, status = os.waitpid(self._pid, 0)
        return os.waitstatus_to_exitcode(status)

    def end(self) -> None:
        """End the program and what it started: TERM, five seconds later KILL."""
        self._signal_group(signal.SIGTERM)
        deadline = time.monotonic() + TERM_GRACE_S
        while not self._has_ended() and time.monotonic() < deadline:
            time.sleep(0.02)
        self._signal_group(signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def _signal_group(self, signal_number: int) -> None:
        try:
            os.killpg(self._pid, signal_number)
        except ProcessLookupError:
            pass


def _keep(kept: bytearray, chunk: bytes) -> None:
    """Keep the first megabyte and the last 4 KiB of an output, never more."""
    kept += chunk
    excess = len(kept) - HEAD_LIMIT - TAIL_LIMIT
    if excess > 0:
        del kept[HEAD_LIMIT : HEAD_LIMIT + excess]


def _environment(command: Command) -> dict[str, str]:
    environment = {**os.environ, **dict(command.environment)}
    environment.setdefault("PATH", ":".join(SEARCH))
    return environment


def _spawn(program: str, command: Command, pipes: tuple[int, int, int], signal_mask: set[int]) -> int:
    """Start a program without copying this process first: a fork of the agent costs as much as the program.

    A program that cannot be started ends with 126, as it does after a fork.
    """
    actions = [(os.POSIX_SPAWN_DUP2, descriptor, target) for target, descriptor in enumerate(pipes)]
    try:
        return os.posix_spawn(
            program,
            list(command.argv),
            _environment(command),
            file_actions=actions,
            setsid=True,
            setsigmask=signal_mask,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
    except (OSError, NotImplementedError):
        child = os.fork()
        if child == 0:
            _become(program, command, "/", pipes, signal_mask)
        return child


def _become(
    program: str, command: Command, root: str, pipes: tuple[int, int, int], signal_mask: set[int]
) -> None:
    """In the child: become the program. Ends the process in every case."""
    try:
        os.setsid()
        # Python ignores these two; what we start must not.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        for target, descriptor in enumerate(pipes):
            os.dup2(descriptor, target)
        environment = _environment(command)
        if root != "/":
            os.chroot(root)
        os.chdir(command.cwd or "/")
        signal.pthread_sigmask(signal.SIG_SETMASK, signal_mask)
        os.execve(program, list(command.argv), environment)
    except OSError as error:
        os.write(2, f"{program}: {error.strerror}\n".encode())
    finally:
        os._exit(NOT_STARTED)


def find_program(root: str, name: str) -> str | None:
    """The first executable file of that name in the search path, as seen from inside the root."""
    if "\0" in name or not name:
        return None
    candidates = [name] if name.startswith("/") else [f"{directory}/{name}" for directory in SEARCH]
    for candidate in candidates:
        path = below(root, candidate)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return candidate
    return None


class Reply(Value):
    """A prepared answer of record mode: commands whose argv starts with `match` get it, `times` times."""

    match: tuple[str, ...]
    status: int = 0
    out: bytes = b""
    err: bytes = b""
    times: int = 0


class RecordedCommands:
    """Nothing is run: each command becomes one JSON line, answered from `replies`, else by 0 and silence."""

    def __init__(
        self,
        root: str,
        write_line: Callable[[str], None],
        replies: Sequence[Reply] = (),
        have: Sequence[str] = (),
    ) -> None:
        self._root = root
        self._write_line = write_line
        self._replies = tuple(replies)
        self._left = [reply.times or -1 for reply in replies]
        self._have = frozenset(have)

    def which(self, name: str) -> str | None:
        """Programs named by --have, or executable in the root's bin directories."""
        if name.rpartition("/")[2] in self._have or name in self._have:
            return name if name.startswith("/") else f"/usr/bin/{name}"
        return find_program(self._root, name)

    def run(self, command: Command) -> Answer:
        """Write the command down and give the first reply that matches."""
        line = {
            "argv": list(command.argv),
            "stdin": command.stdin.decode("utf-8", "surrogateescape"),
            "env": dict(command.environment),
            "cwd": command.cwd,
            "stage": command.stage,
            "module": command.module,
        }
        self._write_line(write_json(line, sort_keys=True))
        for index, reply in enumerate(self._replies):
            if self._left[index] and command.argv[: len(reply.match)] == reply.match:
                self._left[index] -= 1
                return Answer(reply.status, reply.out, reply.err)
        return Answer(0)
