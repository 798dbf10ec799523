"""The server as a library: instances in, listeners open, answers out.

server = MetadataServer(on_request=print)
server.instances.put(instance.parse({"uuid": uuid, "hostname": "web-1"}, source="web-1"))
await server.listen(Listener("unix:/run/web-1.sock", Mode.SOCKET, instance_id=uuid))
...
await server.close()
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from aiohttp import web

from metadata_server.access import AccessRecord
from metadata_server.admin import Admin
from metadata_server.answers import Writer
from metadata_server.binding import bind, shown_address
from metadata_server.catalogue import Catalogue
from metadata_server.endpoint import Endpoint
from metadata_server.errors import BadListener
from metadata_server.limiter import Limiter, Rate
from metadata_server.listener import Listener, Mode
from metadata_server.neighbours import mac_of_neighbour
from metadata_server.pages import Options
from metadata_server.passwords import MemoryPasswords, Passwords
from metadata_server.protocol import GuestServer, Limits, Repeat, never
from metadata_server.responder import Context, allowed_hosts
from metadata_server.services import Services
from metadata_server.tokens import since_boot_s

BACKLOG = 1024
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for the whole server; see docs/reference/metadata.md."""

    options: Options = field(default_factory=Options)
    limits: Limits = field(default_factory=Limits)
    rate: Rate | None = None
    server_name: str | None = None
    legacy_methods: bool = False
    tokens_everywhere: bool = False
    reports: bool = False
    reuse_port: bool = False


@dataclass(slots=True)
class OpenListener:
    """A listener that is open: the asyncio server, aiohttp's part, the sweep, the socket's path."""

    listener: Listener
    server: asyncio.AbstractServer
    guests: GuestServer
    sweep: asyncio.Task[None]
    path: Path | None


class MetadataServer:
    """Serves the instances in `instances` on any number of listeners, from one event loop."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        passwords: Passwords | None = None,
        token_keys: tuple[bytes, ...] = (),
        token_time: Callable[[], float] = since_boot_s,
        on_request: Callable[[AccessRecord], None] | None = None,
        on_report: Callable[[str, bytes], Awaitable[None]] | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.services = Services(
            instances=Catalogue(self.settings.options),
            passwords=passwords or MemoryPasswords(),
            writer=Writer(self.settings.server_name),
            limiter=Limiter(self.settings.rate),
            token_keys=token_keys or (os.urandom(KEY_BYTES),),
            token_time=token_time,
            on_request=on_request,
            on_report=on_report,
        )
        self.services.instances.on_change.append(self.services.tell_change)
        self.listeners: list[OpenListener] = []

    @property
    def instances(self) -> Catalogue:
        """Put and remove instances here, at any time."""
        return self.services.instances

    async def listen(self, listener: Listener) -> str:
        """Open a listener and return its address, with the port the system chose where port 0 was asked for.

        Raises CannotListen, or BadListener when the options do not fit together.
        """
        if listener.neutron_safe and self.settings.tokens_everywhere:
            raise BadListener(
                f"{listener.address}: session tokens cannot pass Neutron's agent. Turn one of them off."
            )
        bound = bind(listener, reuse_port=self.settings.reuse_port)
        endpoint = Endpoint(self.services, listener, self._context(listener, bound))
        neighbour = mac_of_neighbour if listener.mode is Mode.MAC else None
        return await self._serve(listener, bound, endpoint.handle, neighbour, endpoint.repeat)

    async def listen_admin(self, listener: Listener, admin: Admin) -> str:
        """Open the admin interface, on a unix socket and nowhere else (MS-D15)."""
        if listener.unix_path is None:
            raise BadListener(
                f"{listener.address}: the admin interface needs a unix socket. Write unix:PATH."
            )
        return await self._serve(listener, bind(listener), admin.handle, None)

    async def _serve(
        self,
        listener: Listener,
        bound: socket.socket,
        handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        neighbour: Callable[[str], str | None] | None,
        repeat: Repeat = never,
    ) -> str:
        guests = GuestServer(
            handle,
            limits=self.settings.limits,
            writer=self.services.writer,
            wall_time=self.services.wall_time,
            refused=self.services.refused,
            repeat=repeat,
            neighbour=neighbour,
        )
        loop = asyncio.get_running_loop()
        if bound.family == socket.AF_UNIX:
            server: asyncio.AbstractServer = await loop.create_unix_server(
                guests, sock=bound, backlog=BACKLOG
            )
        else:
            server = await loop.create_server(guests, sock=bound, backlog=BACKLOG)
        path = None if listener.unix_path is None or listener.fd is not None else Path(listener.unix_path)
        sweep = asyncio.create_task(guests.sweep(), name=f"sweep {listener.address}")
        self.listeners.append(OpenListener(listener, server, guests, sweep, path))
        return shown_address(bound)

    async def close(self, timeout_s: float = 10.0) -> None:
        """Take no more connections, let running requests end within `timeout_s`, close all (MS-D12)."""
        ending, self.listeners = self.listeners, []
        await _end(ending, timeout_s)

    async def stop(self, address: str, timeout_s: float = 10.0) -> bool:
        """Close one listener by the address it was asked for; False when there is none."""
        ending = [opened for opened in self.listeners if opened.listener.address == address]
        self.listeners = [opened for opened in self.listeners if opened not in ending]
        await _end(ending, timeout_s)
        return bool(ending)

    def use(self, options: Options) -> None:
        """Change what holds for all instances; listeners that are open follow."""
        self.settings = replace(self.settings, options=options)
        self.instances.use(options)

    def _context(self, listener: Listener, bound: socket.socket) -> Context:
        local = None if bound.family == socket.AF_UNIX else str(bound.getsockname()[0])
        return Context(
            options=self.settings.options,
            token_keys=self.services.token_keys,
            hosts=allowed_hosts(listener, local),
            neutron_safe=listener.neutron_safe,
            legacy_methods=self.settings.legacy_methods,
            tokens_everywhere=self.settings.tokens_everywhere,
            reports=self.settings.reports,
            nocloud_at_root=listener.mode is Mode.PATH,
        )


async def _end(ending: list[OpenListener], timeout_s: float) -> None:
    for opened in ending:
        opened.server.close()
        opened.sweep.cancel()
        opened.guests.pre_shutdown()
        if opened.path is not None:
            with contextlib.suppress(PermissionError):  # the directory was writable for root only
                opened.path.unlink(missing_ok=True)
    await asyncio.gather(*(opened.guests.shutdown(timeout_s) for opened in ending))
    await asyncio.gather(*(opened.sweep for opened in ending), return_exceptions=True)
