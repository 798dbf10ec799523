"""What a guest says and is told: its serial console and its agent's port, in our hands or a keeper's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from spawner.compute.agent_events import EventLog
from spawner.compute.qemu import keeper
from spawner.compute.qemu.accelerator import shows_life
from spawner.compute.qemu.console import HEAD_BYTES, ConsoleFeed, ConsoleRing, read_record, read_since
from spawner.errors import QemuFailed

LOG = logging.getLogger(__name__)


class Heard:
    """What was heard of a guest in all its starts: a sign of life (`shows_life`), its agent's events."""

    def __init__(self) -> None:
        self.life = asyncio.Event()
        self.events = EventLog()

    def take_agent(self, chunk: bytes) -> None:
        """What the agent's port brought."""
        self.life.set()
        self.events.feed(chunk)

    def take_console(self, record: bytes, total: int) -> None:
        """What the console kept so far, of so many bytes."""
        if total > HEAD_BYTES or shows_life(record):
            self.life.set()


class Channels(Protocol):
    """Console and agent's port of one guest, over all its starts."""

    async def open(self, *, agent: bool) -> None:
        """Make ready for a QEMU that is about to start; `agent`: with an agent's port."""

    async def drain(self, timeout_s: float) -> None:
        """Wait for what a QEMU that ended had still said."""

    async def cut(self) -> None:
        """Listen no more to a QEMU that was killed."""

    def close(self) -> None:
        """The guest is gone for good: end all who read its console."""

    def console_output(self) -> bytes:
        """What the console ring kept; also after the end."""

    def open_console(self) -> ConsoleFeed:
        """What the console kept and then says, for one reader; `close_console` ends it."""

    def close_console(self, feed: ConsoleFeed) -> None:
        """This reader reads no more."""

    async def type_console(self, data: bytes) -> None:
        """Type on the serial console. Raises QemuFailed when there is none any more."""

    async def tell_agent(self, line: bytes) -> None:
        """One line to whoever reads the agent's port in the guest.

        Raises QemuFailed when there is no such port.
        """


class OwnChannels:
    """Sockets of ours, in the guest's run directory. `on_console` sees each piece of output as it comes."""

    def __init__(
        self, name: str, run: Path, heard: Heard, on_console: Callable[[bytes], None] | None = None
    ) -> None:
        self._name = name
        self._run = run
        self._heard = heard
        self._on_console = on_console
        self._ring = ConsoleRing(run)
        self._feeds: set[ConsoleFeed] = set()
        self._readers: list[asyncio.Task[None]] = []
        self._to_agent: asyncio.StreamWriter | None = None
        self._to_console: asyncio.StreamWriter | None = None

    async def open(self, *, agent: bool) -> None:
        """Connect before QEMU is there: no byte is lost."""
        self._readers.clear()
        self._to_console = await self._connect("console", self._take_console)
        if agent:
            self._to_agent = await self._connect("agent", self._heard.take_agent)

    async def _connect(self, name: str, sink: Callable[[bytes], None]) -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_unix_connection(self._run / f"{name}.sock")
        self._readers.append(asyncio.create_task(_pour(reader, writer, sink)))
        return writer

    def _take_console(self, chunk: bytes) -> None:
        self._ring.write(chunk)
        if not self._heard.life.is_set():
            self._heard.take_console(self._ring.read(), self._ring.total)
        for feed in self._feeds:
            feed.feed(chunk)
        if self._on_console is not None:
            self._on_console(chunk)

    async def drain(self, timeout_s: float) -> None:
        """Until both sockets are at their end."""
        if self._readers:
            await asyncio.wait(self._readers, timeout=timeout_s)

    async def cut(self) -> None:
        """End what reads."""
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    def close(self) -> None:
        """End all feeds."""
        for feed in tuple(self._feeds):
            self.close_console(feed)

    def console_output(self) -> bytes:
        """From the ring's files, which are open."""
        return self._ring.read()

    def open_console(self) -> ConsoleFeed:
        """Fed by `_take_console`."""
        feed = ConsoleFeed(self._ring.read())
        self._feeds.add(feed)
        return feed

    def close_console(self, feed: ConsoleFeed) -> None:
        """Feed it no more."""
        self._feeds.discard(feed)
        feed.close()

    async def type_console(self, data: bytes) -> None:
        """Over the console's socket."""
        if self._to_console is None or self._to_console.is_closing():
            raise QemuFailed(self._name, "has no console: it does not run")
        self._to_console.write(data)
        await self._to_console.drain()

    async def tell_agent(self, line: bytes) -> None:
        """Over the agent's socket."""
        if self._to_agent is None:
            raise QemuFailed(self._name, "has no agent's port")
        self._to_agent.write(line + b"\n")
        await self._to_agent.drain()


class KeptChannels:
    """Files that the guest's keeper writes in its directory; `tell` has the keeper pass something on."""

    def __init__(self, home: Path, heard: Heard, tell: Callable[[bytes, bytes], Awaitable[None]]) -> None:
        self._home = home
        self._heard = heard
        self._tell = tell
        self._agent_read = 0
        self._feeds: dict[ConsoleFeed, int] = {}
        """To each reader, how much of the console it has seen."""

    async def open(self, *, agent: bool) -> None:  # noqa: ARG002 - the keeper knows
        """A new keeper begins new files."""
        self._agent_read = 0

    def news(self) -> None:
        """The keeper has something: what the agent said, what the console did, perhaps a sign of life."""
        said = _from(self._home / keeper.AGENT_LOG, self._agent_read)
        if said:
            self._agent_read += len(said)
            self._heard.take_agent(said)
        for feed, seen in tuple(self._feeds.items()):
            chunk, self._feeds[feed] = read_since(self._home, seen)
            feed.feed(chunk)
        if not self._heard.life.is_set():
            self._heard.take_console(*read_record(self._home))

    async def drain(self, timeout_s: float) -> None:
        """Nothing: the keeper reads to the end before it says that QEMU has ended."""

    async def cut(self) -> None:
        """Nothing: the connection to the keeper ends with it."""

    def close(self) -> None:
        """End all feeds."""
        for feed in tuple(self._feeds):
            self.close_console(feed)

    def console_output(self) -> bytes:
        """From the keeper's files."""
        return read_record(self._home)[0]

    def open_console(self) -> ConsoleFeed:
        """Fed by `news`."""
        kept, total = read_since(self._home, 0)
        feed = ConsoleFeed(kept)
        self._feeds[feed] = total
        return feed

    def close_console(self, feed: ConsoleFeed) -> None:
        """Feed it no more."""
        self._feeds.pop(feed, None)
        feed.close()

    async def type_console(self, data: bytes) -> None:
        """Through the keeper."""
        await self._tell(keeper.CONSOLE, data)

    async def tell_agent(self, line: bytes) -> None:
        """Through the keeper."""
        await self._tell(keeper.AGENT, line + b"\n")


def _from(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read()
    except OSError:
        return b""


async def _pour(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sink: Callable[[bytes], None]
) -> None:
    try:
        while chunk := await reader.read(65536):
            sink(chunk)
    except OSError:
        LOG.debug("a guest's channel broke off")
    finally:
        writer.close()
