"""Nova: the actions on a server, one table from the key of the body to what it does."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web

from spawner.api import new_server, views
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import MICROVERSION, answer, caller, wrong_field
from spawner.snapshots import snapshot
from spawner.store import servers
from spawner.store.servers import Server

Act = Callable[[web.Request, Server, Any], Awaitable[web.Response]]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class _Reboot(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["SOFT", "HARD", "soft", "hard", "Soft", "Hard"]


class _Console(msgspec.Struct, forbid_unknown_fields=True):
    length: Annotated[int, msgspec.Meta(ge=-1)] | str | None = None


class _Rebuild(msgspec.Struct, rename={"image_ref": "imageRef", "admin_pass": "adminPass"}):
    image_ref: str
    admin_pass: str | None = None
    name: Name | None = None
    metadata: dict[str, str] | None = None


class _Rescue(
    msgspec.Struct,
    forbid_unknown_fields=True,
    rename={"image_ref": "rescue_image_ref", "admin_pass": "adminPass"},
):
    image_ref: str | None = None
    admin_pass: Annotated[str, msgspec.Meta(max_length=255)] | None = None


class _Resize(msgspec.Struct, rename={"flavor_ref": "flavorRef", "disk_config": "OS-DCF:diskConfig"}):
    flavor_ref: str | int
    disk_config: str | None = None


class _CreateImage(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    metadata: dict[str, str] | None = None


class _Lock(msgspec.Struct, forbid_unknown_fields=True):
    locked_reason: Annotated[str, msgspec.Meta(max_length=255)] | None = None


# Body key -> the form of its value; an action that is not here takes nothing that matters.
FORMS: dict[str, Any] = {
    "reboot": _Reboot,
    "os-getConsoleOutput": _Console,
    "rebuild": _Rebuild,
    "rescue": _Rescue | None,
    "resize": _Resize,
    "createImage": _CreateImage,
    "lock": _Lock | None,
}

# Every action there is; a test holds this and the table of one cloud together.
NAMES = (
    "os-start",
    "os-stop",
    "pause",
    "unpause",
    "reboot",
    "rebuild",
    "rescue",
    "unrescue",
    "os-getConsoleOutput",
    "resize",
    "confirmResize",
    "revertResize",
    "createImage",
    "lock",
    "unlock",
    "forceDelete",
)


def read(name: str, value: object) -> Any:
    """The checked value of an action. Raises Fault 400 that names the field."""
    form = FORMS.get(name)
    if form is None:
        return value
    try:
        return msgspec.convert(value, form)
    except msgspec.ValidationError as error:
        raise Fault(400, wrong_field(str(error), name)) from error


def action_table(cloud: Cloud) -> dict[str, Act]:
    """Body key -> what it does."""

    def plain(name: str) -> Act:
        async def act(request: web.Request, server: Server, _body: object) -> web.Response:
            await cloud.conductor.act(server.id, name, caller(request))
            return web.Response(status=202)

        return act

    async def reboot(request: web.Request, server: Server, body: _Reboot) -> web.Response:
        name = "reboot" if body.type.upper() == "SOFT" else "hard-reboot"
        await cloud.conductor.act(server.id, name, caller(request))
        return web.Response(status=202)

    async def console(_request: web.Request, server: Server, body: _Console) -> web.Response:
        length = body.length
        if length is not None and not re.fullmatch(r"-?[0-9]{1,9}", str(length)):
            raise Fault(400, "Invalid input for field/attribute length: an integer value is needed.")
        output = cloud.conductor.console_output(server).decode("utf-8", "replace")
        lines = output.splitlines(keepends=True)
        if length is not None and int(length) >= 0:
            lines = lines[len(lines) - int(length) :] if int(length) < len(lines) else lines
        return answer({"output": "".join(lines)})

    async def rebuild(request: web.Request, server: Server, body: _Rebuild) -> web.Response:
        image_id = body.image_ref
        async with cloud.store.write() as connection:
            await new_server.check_image(connection, image_id or None, server.flavor, server.project_id)
        await cloud.conductor.act(server.id, "rebuild", caller(request), image_id=image_id)
        async with cloud.store.read() as connection:
            changed = await servers.get(connection, server.id)
        document = views.detail(changed, cloud, request[MICROVERSION])
        return answer({"server": document}, 202)

    async def resize(request: web.Request, server: Server, body: _Resize) -> web.Response:
        async with cloud.store.read() as connection:
            flavor = await new_server.flavor_of(connection, str(body.flavor_ref))
            if flavor.id == server.flavor.id:
                raise Fault(400, "When resizing, instances must change flavor!")
            await new_server.check_resize(connection, server, flavor)
        await cloud.conductor.resize(server.id, flavor, caller(request))
        return web.Response(status=202)

    async def confirm_resize(request: web.Request, server: Server, _body: object) -> web.Response:
        await cloud.conductor.confirm_resize(server.id, caller(request))
        return web.Response(status=204)

    async def revert_resize(request: web.Request, server: Server, _body: object) -> web.Response:
        await cloud.conductor.revert_resize(server.id, caller(request))
        return web.Response(status=202)

    async def create_image(request: web.Request, server: Server, body: _CreateImage) -> web.Response:
        if not body.name.strip():
            raise Fault(400, "Invalid input for field/attribute createImage.name: a name is needed.")
        image_id = await snapshot(cloud, server, body.name, body.metadata or {}, caller(request))
        if request[MICROVERSION] >= (2, 45):
            return answer({"image_id": image_id}, 202)
        return web.Response(status=202, headers={"Location": f"{cloud.url}/image/v2/images/{image_id}"})

    async def rescue(request: web.Request, server: Server, body: _Rescue | None) -> web.Response:
        wish = body or _Rescue()
        image_id = str(wish.image_ref or server.image_id or "").rstrip("/").rpartition("/")[2]
        async with cloud.store.write() as connection:
            await new_server.check_image(connection, image_id or None, server.flavor, server.project_id)
        await cloud.conductor.rescue(server.id, image_id, caller(request))
        password = wish.admin_pass or base64.b32encode(cloud.random(10)).decode()
        return answer({"adminPass": password})

    async def lock(_request: web.Request, server: Server, body: _Lock | None) -> web.Response:
        reason = body.locked_reason if body is not None else None
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
        "rescue": rescue,
        "unrescue": plain("unrescue"),
        "os-getConsoleOutput": console,
        "resize": resize,
        "confirmResize": confirm_resize,
        "revertResize": revert_resize,
        "createImage": create_image,
        "lock": lock,
        "unlock": unlock,
        "forceDelete": delete,
    }
