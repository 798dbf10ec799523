"""Nova: the actions on a server, one table from the key of the body to what it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from spawner.api import new_server, views
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import MICROVERSION, answer, caller
from spawner.snapshots import snapshot
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

    async def resize(request: web.Request, server: Server, body: Any) -> web.Response:
        wanted = str(body.get("flavorRef", "")) if isinstance(body, dict) else ""
        async with cloud.store.read() as connection:
            flavor = await new_server.flavor_of(connection, wanted)
        if flavor.id == server.flavor.id:
            raise Fault(400, "When resizing, instances must change flavor!")
        await cloud.conductor.resize(server.id, flavor, caller(request))
        return web.Response(status=202)

    async def confirm_resize(request: web.Request, server: Server, _body: object) -> web.Response:
        await cloud.conductor.confirm_resize(server.id, caller(request))
        return web.Response(status=204)

    async def revert_resize(request: web.Request, server: Server, _body: object) -> web.Response:
        await cloud.conductor.revert_resize(server.id, caller(request))
        return web.Response(status=202)

    async def create_image(request: web.Request, server: Server, body: Any) -> web.Response:
        name = body.get("name") if isinstance(body, dict) else None
        if not isinstance(name, str) or not name.strip():
            raise Fault(400, "Invalid input for field/attribute createImage. 'name' is a required property")
        metadata = {str(key): str(value) for key, value in (body.get("metadata") or {}).items()}
        image_id = await snapshot(cloud, server, name, metadata, caller(request))
        if request[MICROVERSION] >= (2, 45):
            return answer({"image_id": image_id}, 202)
        return web.Response(status=202, headers={"Location": f"{cloud.url}/image/v2/images/{image_id}"})

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
        "resize": resize,
        "confirmResize": confirm_resize,
        "revertResize": revert_resize,
        "createImage": create_image,
        "lock": lock,
        "unlock": unlock,
        "forceDelete": delete,
    }
