"""Ours: into a server's guest. Commands over its agent's channel, and its serial console both ways.

What comes out of a guest is bytes of a side that is not trusted: it is passed on as base64 or as octets, and
who shows it escapes it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from aiohttp import web

from spawner.api.addressed_server import addressed
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import answer, needs, takes
from spawner.compute.command_limits import DEFAULT_TIMEOUT_S, TIMEOUT_LIMIT_S
from spawner.compute.node import Console
from spawner.errors import CommandOverdue, NotFound, SpawnerError

LOOK_S = 5.0
"""How often it is looked whether the reader of a silent console is still there."""


class _Command(msgspec.Struct, forbid_unknown_fields=True):
    command: Annotated[str, msgspec.Meta(min_length=1, max_length=65_536)]
    timeout: Annotated[float, msgspec.Meta(gt=0, le=TIMEOUT_LIMIT_S)] = DEFAULT_TIMEOUT_S


class _Typed(msgspec.Struct, forbid_unknown_fields=True):
    data: Annotated[str, msgspec.Meta(max_length=65_536)]


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes into a guest; they need the role that may change a server."""
    service = _Access(cloud)
    write = needs("compute:server")
    one = "/compute/v2.1/servers/{id}"
    return [
        web.post(f"{one}/x-exec", write(service.execute)),
        web.get(f"{one}/x-console", write(service.follow)),
        web.post(f"{one}/x-console", write(service.type)),
    ]


async def _until_gone(console: Console, request: web.Request) -> AsyncIterator[bytes]:
    """What a console says, until it ends or nobody listens any more, which a silent one would not notice."""
    while request.transport is not None and not request.transport.is_closing():
        try:
            chunk = await asyncio.wait_for(console.read(), LOOK_S)
        except TimeoutError:
            continue
        if not chunk:
            return
        yield chunk


class _Access:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    @takes(_Command)
    async def execute(self, request: web.Request, form: _Command) -> web.Response:
        """The exit status and both outputs, and whether its limit ended it.

        409 with the reason when the guest cannot be asked, 504 when it gave no answer in time.
        """
        server = await addressed(request, self._cloud)
        try:
            done = await self._cloud.conductor.execute(server.id, form.command, form.timeout)
        except NotFound:
            raise
        except CommandOverdue as error:
            raise Fault(504, str(error)) from error
        except SpawnerError as error:
            raise Fault(409, str(error)) from error
        outputs = {"stdout": done.stdout, "stderr": done.stderr}
        shown = {name: base64.b64encode(output).decode() for name, output in outputs.items()}
        return answer({"status": done.status, **shown, "cut": done.cut, "timed_out": done.timed_out})

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """What the console kept, then what it says, until the guest or the client ends."""
        server = await addressed(request, self._cloud)
        try:
            console = await self._cloud.conductor.console(server.id)
        except NotFound:
            raise
        except SpawnerError as error:
            raise Fault(409, str(error)) from error
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        try:
            await response.prepare(request)
            async for chunk in _until_gone(console, request):
                await response.write(chunk)
        except (ConnectionError, asyncio.CancelledError):
            return response
        finally:
            console.close()
        with contextlib.suppress(ConnectionError):
            await response.write_eof()
        return response

    @takes(_Typed)
    async def type(self, request: web.Request, form: _Typed) -> web.Response:
        """Type on the console: `data` is base64."""
        server = await addressed(request, self._cloud)
        try:
            data = base64.b64decode(form.data, validate=True)
        except (ValueError, binascii.Error):
            raise Fault(400, "Invalid input for field/attribute data: base64 is needed.") from None
        try:
            console = await self._cloud.conductor.console(server.id)
        except NotFound:
            raise
        except SpawnerError as error:
            raise Fault(409, str(error)) from error
        try:
            await console.write(data)
        finally:
            console.close()
        return web.Response(status=204)
