"""Nova: the volumes of a server (os-volume_attachments). Source: Compute API reference."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from aiohttp import web
from sqlalchemy import select, update

from spawner.api.addressed_server import addressed
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.microversion import Version
from spawner.api.requests import MICROVERSION, answer, caller, needs, page, takes
from spawner.store.servers import Server
from spawner.store.tables import DEVICE_SLOTS, VOLUME_ATTACHMENTS

Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=60, pattern="^[^,/]*$")]


class _Attachment(msgspec.Struct, forbid_unknown_fields=True, rename={"volume_id": "volumeId"}):
    volume_id: str
    device: str | None = None
    tag: Tag | None = None
    id: str | None = None
    server_id: str | None = msgspec.field(default=None, name="serverId")
    delete_on_termination: bool | None = None


class _Attach(msgspec.Struct, forbid_unknown_fields=True, rename={"attachment": "volumeAttachment"}):
    attachment: _Attachment


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of a server's volumes."""
    service = _Attachments(cloud)
    read, write = needs("compute:read"), needs("compute:server")
    base = "/compute/v2.1/servers/{id}/os-volume_attachments"
    return [
        web.get(base, read(service.listed)),
        web.post(base, write(service.attach)),
        web.get(f"{base}/{{volume}}", read(service.show)),
        web.put(f"{base}/{{volume}}", write(service.update)),
        web.delete(f"{base}/{{volume}}", write(service.detach)),
    ]


class _Attachments:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def _rows(self, server: Server) -> list[tuple[Any, str]]:
        """Each attachment with its tag."""
        query = (
            select(VOLUME_ATTACHMENTS)
            .where(VOLUME_ATTACHMENTS.c.server_id == server.id)
            .order_by(VOLUME_ATTACHMENTS.c.created_at, VOLUME_ATTACHMENTS.c.id)
        )
        tags = select(DEVICE_SLOTS).where(DEVICE_SLOTS.c.server_id == server.id)
        async with self._cloud.store.read() as connection:
            tag_of = {row.owner_id: row.tag for row in await connection.execute(tags)}
            return [(row, tag_of.get(row.volume_id, "")) for row in await connection.execute(query)]

    async def listed(self, request: web.Request) -> web.Response:
        server = await addressed(request, self._cloud)
        found = [_view(row, tag, request[MICROVERSION]) for row, tag in await self._rows(server)]
        rows, _more = page(request, found, lambda each: str(each["volumeId"]))
        return answer({"volumeAttachments": rows})

    async def _row(self, request: web.Request, server: Server) -> tuple[Any, str]:
        wanted = request.match_info["volume"]
        for row, tag in await self._rows(server):
            if row.volume_id == wanted:
                return row, tag
        raise Fault(404, f"Volume {wanted[:64]} is not attached to instance {server.id}.")

    async def show(self, request: web.Request) -> web.Response:
        row, tag = await self._row(request, await addressed(request, self._cloud))
        return answer({"volumeAttachment": _view(row, tag, request[MICROVERSION])})

    @takes(_Attach)
    async def attach(self, request: web.Request, form: _Attach) -> web.Response:
        server = await addressed(request, self._cloud)
        wish = form.attachment
        if wish.tag is not None and request[MICROVERSION] < (2, 49):
            raise Fault(400, "Additional properties are not allowed ('tag' was unexpected)")
        if wish.delete_on_termination is not None and request[MICROVERSION] < (2, 79):
            raise Fault(400, "Additional properties are not allowed ('delete_on_termination' was unexpected)")
        row = await self._cloud.volumes.attach(
            server,
            wish.volume_id,
            caller(request),
            tag=wish.tag or "",
            delete_with=bool(wish.delete_on_termination),
        )
        return answer({"volumeAttachment": _view(row, wish.tag or "", request[MICROVERSION])})

    @takes(_Attach)
    async def update(self, request: web.Request, form: _Attach) -> web.Response:
        """Change whether the volume goes with the server; a swap for another volume is not served."""
        server = await addressed(request, self._cloud)
        row, _tag = await self._row(request, server)
        wish = form.attachment
        if wish.volume_id != row.volume_id:
            raise Fault(
                409, "A volume cannot be swapped for another one here: detach it and attach the other."
            )
        if wish.delete_on_termination is not None:
            async with self._cloud.store.write() as connection:
                await connection.execute(
                    update(VOLUME_ATTACHMENTS)
                    .where(VOLUME_ATTACHMENTS.c.id == row.id)
                    .values(delete_on_termination=wish.delete_on_termination)
                )
        return web.Response(status=202)

    async def detach(self, request: web.Request) -> web.Response:
        server = await addressed(request, self._cloud)
        await self._cloud.volumes.begin_detach(server, request.match_info["volume"], caller(request))
        return web.Response(status=202)


def _view(row: Any, tag: str, version: Version) -> dict[str, Any]:
    document: dict[str, Any] = {
        "volumeId": row.volume_id,
        "serverId": row.server_id,
        "device": row.device,
    }
    if version < (2, 89):
        document["id"] = row.volume_id
    else:
        document.update(attachment_id=row.id, bdm_uuid=row.id)
    if version >= (2, 70):
        document["tag"] = tag or None
    if version >= (2, 79):
        document["delete_on_termination"] = row.delete_on_termination
    return document
