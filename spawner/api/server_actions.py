"""Nova: the actions on a server, one table from the key of the body to what it does."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from sqlalchemy import delete as delete_from
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import networks
from spawner.api import new_server, quotas, views
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY, MICROVERSION, answer, caller, may, wrong_field
from spawner.snapshots import snapshot
from spawner.states import VmState
from spawner.store import servers
from spawner.store.servers import Server
from spawner.store.tables import SERVER_DESCRIPTIONS

Act = Callable[[web.Request, Server, Any], Awaitable[web.Response]]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class _Reboot(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["SOFT", "HARD", "soft", "hard", "Soft", "Hard"]


class _Console(msgspec.Struct, forbid_unknown_fields=True):
    length: Annotated[int, msgspec.Meta(ge=-1)] | str | None = None


class _Rebuild(
    msgspec.Struct,
    rename={"image_ref": "imageRef", "admin_pass": "adminPass", "disk_config": "OS-DCF:diskConfig"},
):
    """What is said besides the image becomes so; what is not stays."""

    image_ref: str
    admin_pass: str | None = None
    name: Name | None = None
    metadata: new_server.Metadata | None = None
    description: Annotated[str, msgspec.Meta(max_length=255)] | msgspec.UnsetType | None = msgspec.UNSET
    key_name: str | msgspec.UnsetType | None = msgspec.UNSET
    user_data: str | msgspec.UnsetType | None = msgspec.UNSET
    personality: list[new_server.FileWish] | None = None
    disk_config: str | None = None


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


class _Group(msgspec.Struct, forbid_unknown_fields=True):
    name: Name


class _Address(msgspec.Struct, forbid_unknown_fields=True):
    address: str


class _State(msgspec.Struct, forbid_unknown_fields=True):
    state: Literal["active", "error"]


class _OldConsole(msgspec.Struct, forbid_unknown_fields=True):
    type: Annotated[str, msgspec.Meta(max_length=32)]


# Body key -> the form of its value; an action that is not here takes nothing that matters.
FORMS: dict[str, Any] = {
    "reboot": _Reboot,
    "os-getConsoleOutput": _Console,
    "rebuild": _Rebuild,
    "rescue": _Rescue | None,
    "resize": _Resize,
    "createImage": _CreateImage,
    "lock": _Lock | None,
    "addSecurityGroup": _Group,
    "removeSecurityGroup": _Group,
    "removeFixedIp": _Address,
    "os-resetState": _State,
    "os-getVNCConsole": _OldConsole,
    "os-getSPICEConsole": _OldConsole,
    "os-getSerialConsole": _OldConsole,
}

# What Nova can do and this cloud cannot: the action -> why. Each is refused with 409, as Nova refuses an
# action that a server's state does not allow.
NOT_HERE = {
    "suspend": "guests are not saved to disk",
    "resume": "no server is ever suspended",
    "shelve": "guests are not put away; make an image of the server and delete it",
    "shelveOffload": "no server is ever shelved",
    "unshelve": "no server is ever shelved",
    "migrate": "servers stay on their host",
    "os-migrateLive": "servers stay on their host",
    "evacuate": "servers stay on their host",
    "createBackup": "images are not rotated; make one with createImage",
    "trigger_crash_dump": "guests take no NMI",
    "restore": "what is deleted is gone",
    "changePassword": "the guest's password is set when it boots first, by adminPass or user data",
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
    "addSecurityGroup",
    "removeSecurityGroup",
    "removeFixedIp",
    "os-resetState",
    "os-getVNCConsole",
    "os-getSPICEConsole",
    "os-getSerialConsole",
    *NOT_HERE,
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


async def describe(connection: AsyncConnection, server_id: str, text: str | None) -> None:
    """Set or take away the description of a server."""
    await connection.execute(
        delete_from(SERVER_DESCRIPTIONS).where(SERVER_DESCRIPTIONS.c.server_id == server_id)
    )
    if text:
        await connection.execute(insert(SERVER_DESCRIPTIONS).values(server_id=server_id, text=text))


async def _changes_of(
    connection: AsyncConnection, request: web.Request, server: Server, wish: _Rebuild
) -> dict[str, object]:
    """The fields of a server that a rebuild changes. Raises Fault for what cannot be or is too new."""
    version = request[MICROVERSION]
    for name, since in (("description", (2, 19)), ("key_name", (2, 54)), ("user_data", (2, 57))):
        if getattr(wish, name) is not msgspec.UNSET and version < since:
            raise Fault(400, f"Additional properties are not allowed ('{name}' was unexpected)")
    changes: dict[str, object] = {}
    if wish.personality is not None:
        new_server.check_files(wish.personality, version)
        changes["files"] = tuple({"path": each.path, "contents": each.contents} for each in wish.personality)
    if wish.name is not None:
        changes["name"] = wish.name
    if wish.metadata is not None:
        await quotas.check_metadata(connection, server.project_id, len(wish.metadata))
        changes["metadata"] = wish.metadata
    if wish.key_name is not msgspec.UNSET:
        changes["key_name"] = wish.key_name
        changes["public_key"] = await new_server.public_key(connection, server.user_id, wish.key_name)
    if wish.user_data is not msgspec.UNSET:
        changes["user_data"] = new_server.user_data(wish.user_data)
    return changes


def _require_own_disk(server: Server, what: str) -> None:
    """Raise Fault 400 for a server that boots from a volume."""
    if server.boots_from_volume:
        raise Fault(400, f"Instance {server.id} boots from a volume, and cannot be {what} here.")


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
        _require_own_disk(server, "rebuilt")
        image_id = body.image_ref
        async with cloud.store.write() as connection:
            await new_server.check_image(connection, image_id or None, server.flavor, server.project_id)
            changes = await _changes_of(connection, request, server, body)
        await cloud.conductor.act(server.id, "rebuild", caller(request), None, image_id=image_id, **changes)
        async with cloud.store.write() as connection:
            if body.description is not msgspec.UNSET:
                await describe(connection, server.id, body.description)
            changed = await servers.get(connection, server.id)
        document = views.detail(changed, cloud, request[MICROVERSION])
        return answer({"server": document}, 202)

    async def resize(request: web.Request, server: Server, body: _Resize) -> web.Response:
        async with cloud.store.read() as connection:
            flavor = await new_server.flavor_of(connection, str(body.flavor_ref), request[IDENTITY])
            await quotas.check_resize(connection, server.project_id, server.flavor, flavor)
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
        _require_own_disk(server, "made an image of")
        image_id = await snapshot(cloud, server, body.name, body.metadata or {}, caller(request))
        if request[MICROVERSION] >= (2, 45):
            return answer({"image_id": image_id}, 202)
        return web.Response(status=202, headers={"Location": f"{cloud.url}/image/v2/images/{image_id}"})

    async def rescue(request: web.Request, server: Server, body: _Rescue | None) -> web.Response:
        wish = body or _Rescue()
        _require_own_disk(server, "rescued")
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

    async def add_group(_request: web.Request, server: Server, body: _Group) -> web.Response:
        async with cloud.store.write() as connection:
            wish = [new_server.GroupWish(body.name)]
            names = await new_server.group_names(connection, server.project_id, wish, missing=404)
            groups = tuple(dict.fromkeys((*server.security_groups, *names)))
            await servers.change(connection, server.id, cloud.clock(), security_groups=groups)
        await cloud.conductor.refresh(server.id)
        return web.Response(status=202)

    async def remove_group(_request: web.Request, server: Server, body: _Group) -> web.Response:
        async with cloud.store.write() as connection:
            wish = [new_server.GroupWish(body.name)]
            (name,) = await new_server.group_names(connection, server.project_id, wish, missing=404)
            if name not in server.security_groups:
                raise Fault(404, f"Security group {name} not associated with the instance {server.id}")
            left = tuple(each for each in server.security_groups if each != name)
            await servers.change(connection, server.id, cloud.clock(), security_groups=left)
        await cloud.conductor.refresh(server.id)
        return web.Response(status=202)

    async def remove_fixed_ip(request: web.Request, server: Server, body: _Address) -> web.Response:
        """A card has one address here: with its address the card goes."""
        async with cloud.store.read() as connection:
            ports = await networks.ports_of_device(connection, server.id)
        for port in ports:
            if any(fixed["ip_address"] == body.address for fixed in port.fixed_ips):
                await cloud.ports.detach(server, port.id, caller(request))
                return web.Response(status=202)
        raise Fault(400, f"Fixed IP not found for instance: {body.address[:64]}")

    async def reset_state(request: web.Request, server: Server, body: _State) -> web.Response:
        if not may(request, "compute:all-projects"):
            raise Fault(403, "Policy doesn't allow os_compute_api:os-admin-actions:reset_state.")
        state = VmState.ACTIVE if body.state == "active" else VmState.ERROR
        async with cloud.store.write() as connection:
            await servers.change(connection, server.id, cloud.clock(), vm_state=state, task_state=None)
        return web.Response(status=202)

    async def old_console(_request: web.Request, _server: Server, body: _OldConsole) -> web.Response:
        raise Fault(400, f"Unavailable console type {body.type}.")

    def refused(name: str, why: str) -> Act:
        async def act(_request: web.Request, server: Server, _body: object) -> web.Response:
            raise Fault(409, f"Cannot '{name}' instance {server.id}: {why}.")

        return act

    return {
        **{name: refused(name, why) for name, why in NOT_HERE.items()},
        "addSecurityGroup": add_group,
        "removeSecurityGroup": remove_group,
        "removeFixedIp": remove_fixed_ip,
        "os-resetState": reset_state,
        "os-getVNCConsole": old_console,
        "os-getSPICEConsole": old_console,
        "os-getSerialConsole": old_console,
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
