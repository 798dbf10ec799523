"""What a spawner holds of one guest that runs under libvirt: its metadata server, its agent, its console.

All of it can be let go of and taken up again, by this spawner or the next: the guest and its sockets stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from instance_metadata.instance import Instance
from metadata_server.access import AccessRecord
from metadata_server.app import MetadataServer, Settings
from metadata_server.listener import Listener, Mode
from metadata_server.passwords import DirectoryPasswords
from spawner import signals
from spawner.compute.agent_events import AgentEvent, EventLog
from spawner.compute.guest_commands import CommandChannel
from spawner.compute.guest_plan import ASKED_LIMIT, PASSWORDS
from spawner.compute.libvirt import agent_port
from spawner.compute.node import OnSignal
from spawner.compute.qemu.console import ConsoleFeed
from spawner.compute.qemu.run_directory import RunDirectory
from spawner.compute.qemu.user import User
from spawner.errors import LibvirtFailed

LOG = logging.getLogger(__name__)
CHUNK = 65536
RECORD_NAME = "console.log"
OLDER_RECORDS = 3
"""How many full records virtlogd keeps beside the current one, as it is installed."""

OnEvent = Callable[[AgentEvent], Awaitable[None]]


@dataclass
class _Line:
    """One connection to a guest: the task that reads it, and what is to be closed at its end."""

    writer: asyncio.StreamWriter
    reader: asyncio.Task[None]
    reading: asyncio.BaseTransport


class Guest:
    """One guest that runs. `serve` before it starts, `follow` when it has, `let_go` at the end."""

    def __init__(self, server_id: str, run: RunDirectory, home: Path, *, adopted: bool = False) -> None:
        self.run = run
        self.commands = CommandChannel(server_id, adopted=adopted)
        self._server_id = server_id
        self._home = home
        self.asked: deque[AccessRecord] = deque(maxlen=ASKED_LIMIT)
        self._metadata = MetadataServer(
            Settings(reports=True),
            passwords=DirectoryPasswords(home / PASSWORDS),
            on_request=self.asked.append,
            on_report=self._signalled,
        )
        self.on_signal: OnSignal | None = None
        self._events = EventLog()
        self._agent: _Line | None = None
        self._follower: asyncio.Task[None] | None = None
        self._console: _Line | None = None
        self._feeds: set[ConsoleFeed] = set()
        self._opening = asyncio.Lock()

    async def _signalled(self, server_id: str, content: bytes) -> None:
        signal = signals.parse(content)
        if signal is not None and self.on_signal is not None:
            await self.on_signal(server_id, signal)

    # --- metadata ---------------------------------------------------------------------------------------

    async def serve(self, instance: Instance, user: User | None) -> None:
        """Answer the guest's metadata requests on its socket, which `user` may reach."""
        self._metadata.instances.put(instance)
        self.run.metadata_socket.unlink(missing_ok=True)
        listener = Listener(f"unix:{self.run.metadata_socket}", Mode.SOCKET, instance_id=instance.uuid)
        await self._metadata.listen(listener)
        self.run.admit(user)

    def put(self, instance: Instance) -> None:
        """New documents, from now on."""
        self._metadata.instances.put(instance)

    # --- the agent --------------------------------------------------------------------------------------

    async def follow(self, on_event: OnEvent) -> None:
        """Read what the agent says, for as long as QEMU is there. Raises LibvirtFailed without its pipes."""
        with self._named("the agent's port"):
            reader, writer, reading = await agent_port.connect(self.run.path)
        self._agent = self._line(
            "agent", reader, writer, reading, take=self._events.feed, ended=self._events.close
        )
        self._follower = asyncio.create_task(self._pass_on(on_event), name=f"follow {self._server_id}")

    async def _pass_on(self, on_event: OnEvent) -> None:
        async for event in self._events.read():
            if not self.commands.take(event):
                await on_event(event)

    async def tell_agent(self, line: bytes) -> None:
        """One line to whoever reads the agent's port in the guest. Raises LibvirtFailed without a port."""
        if self._agent is None or self._agent.writer.is_closing():
            raise LibvirtFailed(f"guest {self._server_id}", "there is no connection to its agent")
        self._agent.writer.write(line + b"\n")
        await self._agent.writer.drain()

    # --- the console ------------------------------------------------------------------------------------

    def open_console(self) -> ConsoleFeed:
        """What was recorded, then what comes; the socket is connected when somebody waits for more."""
        feed = ConsoleFeed(console_record(self._home))
        self._feeds.add(feed)
        return feed

    async def read_console(self, feed: ConsoleFeed) -> bytes:
        """What came since the last time; empty at the end."""
        await self._open_line()
        return await feed.read()

    async def type_console(self, data: bytes) -> None:
        """Type on the console. Raises LibvirtFailed."""
        line = await self._open_line()
        line.writer.write(data)
        await line.writer.drain()

    def close_console(self, feed: ConsoleFeed) -> None:
        """This reader reads no more; the last one gives the socket free, for `virsh console` too."""
        self._feeds.discard(feed)
        feed.close()
        if not self._feeds and self._console is not None:
            _hang_up(self._console)
            self._console = None

    async def _open_line(self) -> _Line:
        async with self._opening:
            if self._console is None:
                with self._named("the console"):
                    reader, writer = await asyncio.open_unix_connection(self.run.path / "console.sock")
                self._console = self._line(
                    "console", reader, writer, writer.transport, take=self._feed_all, ended=self._close_feeds
                )
            return self._console

    def _feed_all(self, chunk: bytes) -> None:
        for feed in self._feeds:
            feed.feed(chunk)

    def _close_feeds(self) -> None:
        for feed in self._feeds:
            feed.close()

    # --- the end ----------------------------------------------------------------------------------------

    async def let_go(self) -> None:
        """Hold nothing of the guest any more; it runs on if it runs."""
        for line in (self._agent, self._console):
            if line is not None:
                _hang_up(line)
        self._close_feeds()
        self._events.close()
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
        await self._metadata.close()

    @contextlib.contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Failures to connect say whose connection it was."""
        try:
            yield
        except OSError as error:
            raise LibvirtFailed(f"guest {self._server_id}, {what}", error.strerror or str(error)) from error

    def _line(
        self,
        name: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        reading: asyncio.BaseTransport,
        *,
        take: Callable[[bytes], None],
        ended: Callable[[], None],
    ) -> _Line:
        async def pour() -> None:
            with contextlib.suppress(OSError):
                while chunk := await reader.read(CHUNK):
                    take(chunk)
            ended()

        return _Line(writer, asyncio.create_task(pour(), name=f"{name} of {self._server_id}"), reading)


class GuestConsole:
    """One reader and writer of a guest's console."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._feed = guest.open_console()

    async def read(self) -> bytes:
        """What came since the last time."""
        return await self._guest.read_console(self._feed)

    async def write(self, data: bytes) -> None:
        """Type it."""
        await self._guest.type_console(data)

    def close(self) -> None:
        """Read no more."""
        self._guest.close_console(self._feed)


def _hang_up(line: _Line) -> None:
    line.reader.cancel()
    line.reading.close()
    line.writer.close()


def console_record(home: Path) -> bytes:
    """What virtlogd recorded of a guest's console and still keeps, the oldest first."""
    names = [*(f"{RECORD_NAME}.{age}" for age in reversed(range(OLDER_RECORDS))), RECORD_NAME]
    parts = []
    for name in names:
        with contextlib.suppress(OSError):
            parts.append((home / name).read_bytes())
    return b"".join(parts)
