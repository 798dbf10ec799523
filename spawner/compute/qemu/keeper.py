"""The process that keeps one guest: QEMU's parent, which may outlive the spawner that asked for it.

It is a fork of `launch_server`, and forks the one that becomes QEMU (see `launch`). What a spawner would
lose with its life is here: the console is written to its bounded record, what the agent says is logged, and
QEMU's last words and exit status are kept, all as files in a directory that belongs to the server. Whoever
connects to `keeper.sock` is told by a byte that there is something new, can say something to the agent and to
the console, and sees by the end of the connection that the guest has ended. Nobody has to: a slow or absent
spawner blocks no guest.

QEMU dies with its keeper, so that none runs without one. A guest of the policy `end` has a keeper that dies
with the launch server, which dies with the spawner.

The directory of the run is QEMU's user's; nothing that is trusted lies there but the lock, which is handed
over open and marks the directory as live until the keeper ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import sys
from pathlib import Path

from spawner.compute.qemu import launch
from spawner.compute.qemu.console import ConsoleRing

AGENT_LOG = "agent.log"
STDERR_LOG = "stderr.log"
STATUS_FILE = "status"
PID_FILE = "qemu.pid"
FILES = (AGENT_LOG, STDERR_LOG, STATUS_FILE, PID_FILE)

SOCKET = "keeper.sock"
STATUS = struct.Struct("=i")
AGENT_BYTES = (16 << 20) + 1
"""One more than an agent may say in a guest's life (`agent_events.BYTES_LIMIT`), so that a reader sees it."""
STDERR_BYTES = 1 << 20
FRAME = struct.Struct("=cI")
"""Before each thing that a client says: to whom, and how many bytes."""
AGENT, CONSOLE = b"a", b"c"
UNSENT_BYTES = 1 << 20
"""What waits for an agent or console that does not read, and the largest frame; the rest is refused."""
CHUNK = 64 << 10
CLIENTS = 8
_NEW = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


def main(arguments: list[str]) -> int:
    """Start the program after `--` and keep it to its end. The options are those of `launch`, and

    `keep` (where the files go), `run` (where the sockets are), `keeper_fd` and `lock_fd` (inherited), `agent`
    (there is an agent's port), `tied` (to die with the parent).
    """
    cut = arguments.index("--")
    options = dict(argument.split("=", 1) for argument in arguments[:cut])
    try:
        keeper = Keeper(options)
        keeper.begin(arguments)
        launch.drop_to(options)
        if "tied" in options:
            launch.die_with(int(options["parent"]))
    except OSError as error:
        print(f"keeper: {error}", file=sys.stderr, flush=True)
        return launch.EXIT_LAUNCH
    os.dup2(os.open(os.devnull, os.O_RDWR), 2)
    keeper.keep()
    return 0


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since the host did: with the pid, who it is. Raises OSError."""
    with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123 - as in launch
        return int(stat.read().rpartition(b")")[2].split()[19])


class Keeper:
    """One guest's keeper: everything that it needs is open before it gives up its rights."""

    def __init__(self, options: dict[str, str]) -> None:
        self._home = options["keep"]
        # Out of the range that the program inherits; only ever held, never looked at again.
        self._lock = os.dup(int(options["lock_fd"]))
        self._listener = socket.socket(fileno=os.dup(int(options["keeper_fd"])))
        for name in ("lock_fd", "keeper_fd"):
            os.close(int(options[name]))
        self._ring = ConsoleRing(Path(self._home))
        self._agent_log, self._stderr_log, self._status = (
            os.open(f"{self._home}/{name}", _NEW, 0o600) for name in (AGENT_LOG, STDERR_LOG, STATUS_FILE)
        )
        self._console = _connected(f"{options['run']}/console.sock")
        self._agent = _connected(f"{options['run']}/agent.sock") if "agent" in options else None
        self._unsent: dict[int, bytes] = {}
        self._clients: dict[int, socket.socket] = {}
        self._said: dict[int, bytes] = {}
        self._poller = select.poll()
        self._pid = self._stderr = self._pidfd = -1

    def begin(self, arguments: list[str]) -> None:
        """Fork the program; it goes on once it stands on record who it is. Raises OSError."""
        self._stderr, theirs = os.pipe()
        gate, opened = os.pipe()
        keeper = os.getpid()
        self._pid = launch.fork(arguments)
        if self._pid == 0:
            _become(arguments, keeper, theirs, gate, opened)
        for fd in (theirs, gate):
            os.close(fd)
        os.closerange(launch.FIRST_FD, launch.FIRST_FD + launch.FDS_LIMIT)
        self._pidfd = os.pidfd_open(self._pid)
        self._record()
        os.write(opened, b".")
        os.close(opened)

    def _record(self) -> None:
        part = f"{self._home}/{PID_FILE}.{os.getpid()}"
        fd = os.open(part, _NEW | os.O_EXCL, 0o600)
        os.write(fd, f"{self._pid} {start_time(self._pid)}\n".encode())
        os.close(fd)
        Path(part).rename(f"{self._home}/{PID_FILE}")

    def keep(self) -> None:
        """Carry everything to its file until the program ends, then write down how it ended."""
        os.set_blocking(self._stderr, False)
        channels = (self._stderr, self._console.fileno(), *((self._agent.fileno(),) if self._agent else ()))
        for fd in (self._pidfd, self._listener.fileno(), *channels):
            self._poller.register(fd, select.POLLIN)
        while True:
            for fd, events in self._poller.poll():
                if fd == self._pidfd:
                    self._end(channels)
                    return
                if fd == self._listener.fileno():
                    self._admit()
                elif fd in self._clients:
                    self._hear(fd)
                elif fd in channels:
                    self._carry(fd, events)
                # Else a client that was dismissed earlier in this round.

    def _carry(self, fd: int, events: int) -> None:
        """What one channel brings, to its file; a channel that has ended is left alone from then on."""
        if events & select.POLLOUT:
            self._send(fd)
        if events & ~select.POLLOUT and not self._take(fd):
            self._poller.unregister(fd)

    def _take(self, fd: int) -> bool:
        """One piece of a channel. False when it is at its end."""
        try:
            chunk = os.read(fd, CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not chunk:
            return False
        # A full disk costs the record, not the guest.
        with contextlib.suppress(OSError):
            if fd == self._stderr:
                _append(self._stderr_log, chunk, STDERR_BYTES)
            elif fd == self._console.fileno():
                self._ring.write(chunk)
            else:
                _append(self._agent_log, chunk, AGENT_BYTES)
        self._tell()
        return True

    def _tell(self) -> None:
        """Wake whoever listens; a full socket means that it has not read the last byte yet, which will do."""
        for client in list(self._clients.values()):
            try:
                client.send(b".")
            except BlockingIOError:
                continue
            except OSError:
                self._dismiss(client.fileno())

    def _admit(self) -> None:
        client, _ = self._listener.accept()
        if len(self._clients) >= CLIENTS:
            client.close()
            return
        client.setblocking(False)
        self._clients[client.fileno()], self._said[client.fileno()] = client, b""
        self._poller.register(client.fileno(), select.POLLIN)
        self._tell()

    def _hear(self, fd: int) -> None:
        """What a client says goes to the agent or the console, frame by frame."""
        try:
            said = self._clients[fd].recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if not said:
            self._dismiss(fd)
            return
        said = self._said[fd] + said
        while len(said) >= FRAME.size:
            to, size = FRAME.unpack_from(said)
            if size > UNSENT_BYTES:
                self._dismiss(fd)
                return
            if len(said) < FRAME.size + size:
                break
            self._pass_on(to, said[FRAME.size : FRAME.size + size])
            said = said[FRAME.size + size :]
        self._said[fd] = said

    def _pass_on(self, to: bytes, data: bytes) -> None:
        channel = {AGENT: self._agent, CONSOLE: self._console}.get(to)
        if channel is None:
            return
        waiting = self._unsent.get(channel.fileno(), b"")
        if len(waiting) + len(data) <= UNSENT_BYTES:
            self._unsent[channel.fileno()] = waiting + data
            self._send(channel.fileno())

    def _dismiss(self, fd: int) -> None:
        client = self._clients.pop(fd, None)
        if client is not None:
            del self._said[fd]
            self._poller.unregister(fd)
            client.close()

    def _send(self, fd: int) -> None:
        """As much as a channel takes now; poll says when it takes more."""
        waiting = self._unsent.get(fd, b"")
        try:
            waiting = waiting[os.write(fd, waiting) :] if waiting else b""
        except BlockingIOError:
            pass
        except OSError:
            waiting = b""
        self._unsent[fd] = waiting
        with contextlib.suppress(OSError):  # it is not polled any more: it has ended
            self._poller.modify(fd, select.POLLIN | (select.POLLOUT if waiting else 0))

    def _end(self, channels: tuple[int, ...]) -> None:
        """The program is gone: what it still had to say, then how it ended, then our own end says so."""
        status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        for fd in channels:
            while _has_more(fd) and self._take(fd):
                pass
        with contextlib.suppress(OSError):
            os.pwrite(self._status, STATUS.pack(status), 0)


def _become(arguments: list[str], keeper: int, stderr: int, gate: int, opened: int) -> None:
    """The forked child: waits for its record, then `launch`."""
    try:
        os.close(opened)
        os.dup2(stderr, 2)
        if os.read(gate, 1):
            cut = arguments.index("--")
            launch.main([*arguments[:cut], f"parent={keeper}", *arguments[cut:]])
    except OSError as error:
        print(f"launch: {error}", file=sys.stderr)
    finally:
        os._exit(launch.EXIT_LAUNCH)


def _connected(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.connect(path)
    made.setblocking(False)
    return made


def _append(fd: int, chunk: bytes, limit: int) -> None:
    room = limit - os.lseek(fd, 0, os.SEEK_END)
    if room > 0:
        os.write(fd, chunk[:room])


def _has_more(fd: int) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(0))
