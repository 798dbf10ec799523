"""Nova: the actions on a server, one table from the key of the body to what it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from spawner.api import new_server, views
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import MICROVERSION, answer, caller
from spawner.store import servers
from spawner.store.servers import Server

Act = Callable[[web.Request, Server, Any], Awaitable[web.Response]]


def action_table(cloud: Cloud) -> dict[str, Act]:
    """Body key -> what it does."""

    def plain(name: str) -> Act:
        async def act(request: web.Request, server: Server, _body: object) -> web.Response:
            await cloud.conductor.act(server.id, name, caller(request))
            return web.Response(status=202)

        return act

    async def reboot(request: web.Request, server: Server, body: Any) -> web.Response:
        kind = str(body.get("type", "") if isinstance(body, dict) else "").upper()
        if kind not in {"SOFT", "HARD"}:
            raise Fault(400, "Invalid input for field/attribute type. Value must be SOFT or HARD.")
        await cloud.conductor.act(server.id, "reboot" if kind == "SOFT" else "hard-reboot", caller(request))
        return web.Response(status=202)

    async def console(_request: web.Request, server: Server, body: Any) -> web.Response:
        length = body.get("length") if isinstance(body, dict) else None
        if length is not None and not str(length).lstrip("-").isdigit():
            raise Fault(400, "Length in request body must be an integer value")
        output = cloud.conductor.console_output(server).decode("utf-8", "replace")
        lines = output.splitlines(keepends=True)
        if length is not None and int(length) >= 0:
            lines = lines[len(lines) - int(length) :] if int(length) < len(lines) else lines
        return answer({"output": "".join(lines)})

    async def rebuild(request: web.Request, server: Server, body: Any) -> web.Response:
        image_id = str(body.get("imageRef", "")) if isinstance(body, dict) else ""
        async with cloud.store.write() as connection:
            await new_server.check_image(connection, image_id or None, server.flavor, server.project_id)
        await cloud.conductor.act(server.id, "rebuild", caller(request), image_id=image_id)
        async with cloud.store.read() as connection:
            changed = await servers.get(connection, server.id)
        document = views.detail(changed, cloud, request[MICROVERSION])
        return answer({"server": document}, 202)

    async def lock(_request: web.Request, server: Server, body: Any) -> web.Response:
        reason = body.get("locked_reason") if isinstance(body, dict) else None
        async with cloud.store.write() as connection:
            await servers.change(connection, server.id, cloud.clock(), locked=True, locked_reason=reason)
        return web.Response(status=202)

    async def unlock(_request: web.Request, server: Server, _body: object) -> web.Response:
        async with cloud.store.write() as connection:
            await servers.change(connection, server.id, cloud.clock(), locked=False, locked_reason=None)
        return web.Response(status=202)

    async def delete(request: web.Request, server: Server, _body: object) -> web.Response:
        await cloud.conductor.delete(server.id, caller(request))
        return web.Response(status=202)

    return {
        "os-start": plain("start"),
        "os-stop": plain("stop"),
        "pause": plain("pause"),
        "unpause": plain("unpause"),
        "reboot": reboot,
        "rebuild": rebuild,
        "os-getConsoleOutput": console,
        "lock": lock,
        "unlock": unlock,
        "forceDelete": delete,
    }
