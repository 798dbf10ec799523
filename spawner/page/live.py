"""Server-sent events: a nudge whenever something happened to a server, so that the page asks for fresh parts.

The store is what is watched, so that it does not matter which process did it. Source: HTML standard,
"Server-sent events".
"""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY
from spawner.errors import NotFound
from spawner.store import events, servers

TICK_S = 0.4
# A stream ends by itself and the browser comes again: no stream outlives its session for long.
LIFE_S = 300.0
HEARTBEAT_TICKS = 25
STREAMS = 64


class Live:
    """The streams of one process, counted."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._open = 0

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """The nudges of the caller's project, of one server with its console when `server` is given."""
        if self._open >= STREAMS:
            raise Fault(503, "Too many pages are open. Close some, or reload this one by hand.")
        number = await self._start(request)
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
            }
        )
        self._open += 1
        try:
            await response.prepare(request)
            await response.write(b"retry: 1000\n\n")
            await self._send(request, response, number)
        except (ConnectionError, NotFound):
            pass  # the reader is gone, or the server is: both end a stream
        finally:
            self._open -= 1
        return response

    async def _start(self, request: web.Request) -> int:
        """The number of the last event that the page has seen: what the browser says, else the newest."""
        given = request.headers.get("Last-Event-ID", "")
        if given.isdigit() and len(given) < 16:
            return int(given)
        async with self._cloud.store.read() as connection:
            return await events.last_number(connection)

    async def _send(self, request: web.Request, response: web.StreamResponse, number: int) -> None:
        server_id = request.query.get("server")
        project_id = request[IDENTITY].project_id
        console = -1
        for tick in range(int(LIFE_S / TICK_S)):
            async with self._cloud.store.read() as connection:
                found = await events.after(connection, number, server_id)
                server = await servers.get(connection, server_id, project_id) if server_id else None
                own = {each.id for each in await servers.listed(connection, project_id=project_id)}
            number = found[-1].number if found else number
            changed = {
                event.server_id for event in found if event.project_id == project_id or event.server_id in own
            }
            size = len(self._cloud.conductor.console_output(server)) if server else -1
            if changed or size != console:
                data = json.dumps({"servers": sorted(each for each in changed if each)})
                await response.write(f"id: {number}\ndata: {data}\n\n".encode())
            elif tick % HEARTBEAT_TICKS == 0:
                await response.write(b": here\n\n")
            console = size
            await asyncio.sleep(TICK_S)
