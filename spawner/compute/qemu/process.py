"""One QEMU process: started through the launcher, its standard error capped, its QMP spoken to."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qemu.qmp import EventListener, QMPClient, QMPError
from qemu.qmp.message import Message

from spawner.compute.qemu import guest_record, keeper, launcher
from spawner.compute.qemu.confinement import Confinement
from spawner.compute.qemu.launch_server import STATUS
from spawner.errors import QemuFailed

STDERR_LIMIT = 1 << 20
QMP_LINE_LIMIT = 1 << 20
QMP_TIMEOUT_S = 10.0
LAST_WORDS_S = 1.0

_NOISE = b": info: QEMU waiting for connection on: "
"""What QEMU says about sockets that we are already connected to."""


class QemuProcess:
    """A running QEMU. `start` it once; `ended` is its exit status, once its last words are read too."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.stderr = b""
        self.shutdown_reason: str | None = None
        self.panicked = False
        self._on_halt: Callable[[str], None] | None = None
        self._halted = ""
        self._qmp = QMPClient(name, readbuflen=QMP_LINE_LIMIT)
        self._qmp.logger.setLevel(logging.CRITICAL + 1)  # what it logs, it raises too
        self._qmp.register_listener(
            EventListener(("SHUTDOWN", "GUEST_PANICKED", "BLOCK_IO_ERROR"), self._note)
        )
        self._connected = False
        self._launched: launcher.Launched | None = None
        self._guest: launcher.Launched | None = None
        self._to_keeper: asyncio.StreamWriter | None = None
        self._follower: asyncio.Task[None] | None = None
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def started(self) -> bool:
        """Whether there is, or was, a process."""
        return self._launched is not None or self._guest is not None

    @property
    def has_ended(self) -> bool:
        """Whether there is no process any more."""
        return self.ended.done() or not self.started

    @property
    def pid(self) -> int:
        """QEMU's process id: the launcher becomes QEMU, so it never changes.

        Of a guest with a keeper that has not answered yet, the keeper's.
        """
        process = self._guest or self._launched
        if process is None:
            raise QemuFailed(self._name, "was not started yet")
        return process.pid

    async def start(
        self,
        argv: Sequence[str],
        confinement: Confinement,
        handed: Mapping[int, int],
        on_news: Callable[[], None] | None = None,
    ) -> None:
        """Start QEMU, which finds descriptor `handed[N]` under N; returns before QEMU does anything.

        `on_news` is called when a guest's keeper has something new in its files.
        """
        starting = launcher.shared()
        if not starting.is_warm():
            await asyncio.to_thread(starting.warm)
        with contextlib.ExitStack() as pipes:
            stderr, stderr_end = _pipe(pipes)
            status, status_end = _pipe(pipes)
            try:
                self._launched = starting.start(argv, confinement, handed, stderr_end, status_end)
            except OSError as error:
                raise QemuFailed(self._name, f"could not be launched ({error})") from error
            ends = os.dup(stderr), os.dup(status)
        if confinement.keep is None:
            self._follower = asyncio.create_task(self._follow(*ends))
        else:
            reader = await self._call_keeper(confinement.keep.run)
            follow = self._follow_keeper(confinement.keep.home, reader, on_news, ends)
            self._follower = asyncio.create_task(follow)

    async def adopt(self, home: Path, run: Path, on_news: Callable[[], None]) -> None:
        """Take over a QEMU that an earlier spawner started. Raises QemuFailed when it is not there."""
        self._recognise(home, run)
        if self._guest is None:
            raise QemuFailed(self._name, "has ended, or its process is not the one on record")
        try:
            reader = await self._call_keeper(run)
        except OSError as error:
            # A keeper that has ended takes QEMU along; make sure of it.
            self.signal(signal.SIGKILL)
            await self._has_ended(-signal.SIGKILL)
            raise QemuFailed(self._name, f"has a keeper that does not answer ({error})") from error
        self._follower = asyncio.create_task(self._follow_keeper(home, reader, on_news))

    async def _call_keeper(self, run: Path) -> asyncio.StreamReader:
        reader, self._to_keeper = await asyncio.open_unix_connection(run / keeper.SOCKET)
        return reader

    def _recognise(self, home: Path, run: Path) -> None:
        """Find QEMU itself behind its keeper, if it has come so far and has not gone already."""
        who = guest_record.identity(home)
        if who is not None and (pidfd := guest_record.open_process(who, run, home)) is not None:
            self._guest = launcher.Launched(who.pid, pidfd)

    async def tell(self, channel: bytes, data: bytes) -> None:
        """Through the keeper, to the agent or the console. Raises QemuFailed."""
        if self._to_keeper is None or self._to_keeper.is_closing():
            raise QemuFailed(self._name, "has no keeper: it does not run")
        self._to_keeper.write(keeper.FRAME.pack(channel, len(data)) + data)
        try:
            await self._to_keeper.drain()
        except OSError as error:
            raise QemuFailed(self._name, f"is gone ({error})") from error

    async def connect(
        self, qmp_socket: Path, timeout_s: float = QMP_TIMEOUT_S, home: Path | None = None
    ) -> None:
        """Wait until QEMU answers on QMP. Raises QemuFailed when it ends or stays silent instead.

        `home`: where the keeper put on record which process it is.
        """
        connecting = asyncio.create_task(self._qmp.connect(os.fspath(qmp_socket)))
        try:
            await first_of(connecting, self.ended, timeout_s)
        finally:
            connecting.cancel()
            failure = (await asyncio.gather(connecting, return_exceptions=True))[0]
        if failure is None:
            self._connected = True
            if home is not None and self._guest is None:
                self._recognise(home, qmp_socket.parent)
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

    def tell_of_halt(self, on_halt: Callable[[str], None] | None) -> None:
        """Have `on_halt` called with the reason when QEMU stops the guest for a disk that it cannot write.

        Also for one that came before anybody asked (SP-07).
        """
        self._on_halt = on_halt
        if on_halt is not None and self._halted:
            why, self._halted = self._halted, ""
            on_halt(why)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if there is still a process to take it."""
        # A keeper without its QEMU known is told instead: QEMU dies with it.
        process = self._guest or self._launched
        if process is not None and not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process.pidfd, number)

    async def _follow(self, stderr: int, status: int) -> None:
        async for chunk in _chunks(stderr):
            self.stderr = (self.stderr + chunk)[:STDERR_LIMIT]
        code = b"".join([chunk async for chunk in _chunks(status)])
        # Without a code the launcher itself was killed, and with it every guest.
        await self._has_ended(STATUS.unpack(code)[0] if code else -signal.SIGKILL)

    async def _follow_keeper(
        self,
        home: Path,
        reader: asyncio.StreamReader,
        on_news: Callable[[], None] | None,
        launching: tuple[int, int] | None = None,
    ) -> None:
        """Listen to the keeper until its end, then read how the guest ended."""
        if launching is not None:
            stderr, status = launching
            os.close(status)  # the keeper's own, which says nothing of QEMU's
            async for chunk in _chunks(stderr):
                self.stderr = (self.stderr + chunk)[:STDERR_LIMIT]
        with contextlib.suppress(OSError):
            while await reader.read(4096):
                if on_news is not None:
                    on_news()
        if on_news is not None:
            on_news()
        if self._to_keeper is not None:
            self._to_keeper.close()
        code = _content(home / keeper.STATUS_FILE)
        self.stderr += _content(home / keeper.STDERR_LOG)
        await self._has_ended(STATUS.unpack(code)[0] if len(code) == STATUS.size else -signal.SIGKILL)

    async def leave(self) -> None:
        """Let go of a guest that has a keeper: it runs on."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
        if self._to_keeper is not None:
            self._to_keeper.close()
        await self._hang_up()

    async def _hang_up(self) -> None:
        if self._connected:
            with contextlib.suppress(QMPError, OSError, EOFError):
                await self._qmp.disconnect()
        for process in (self._launched, self._guest):
            if process is not None:
                os.close(process.pidfd)

    async def _has_ended(self, status: int) -> None:
        await self._hang_up()
        self.stderr = b"".join(line for line in self.stderr.splitlines(keepends=True) if _NOISE not in line)
        self.ended.set_result(status)

    def _note(self, event: Message) -> bool:
        """Remember what an event says. False: keep it in no queue, for a flood would fill the memory."""
        data = event.get("data")
        if event.get("event") == "GUEST_PANICKED":
            self.panicked = True
        elif event.get("event") == "BLOCK_IO_ERROR":
            if isinstance(data, dict) and data.get("action") == "stop":
                self._halted = "no space" if data.get("nospace") else str(data.get("reason", "a disk error"))
                self.tell_of_halt(self._on_halt)
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


def _pipe(pipes: contextlib.ExitStack) -> tuple[int, int]:
    """Both ends of a pipe that is closed with `pipes`."""
    ends = os.pipe()
    for end in ends:
        pipes.callback(os.close, end)
    return ends


async def _chunks(fd: int) -> AsyncIterator[bytes]:
    """What comes out of a pipe, to its end; closes it."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", 0)
    )
    try:
        while chunk := await reader.read(4096):
            yield chunk
    finally:
        transport.close()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
