"""Glance v2: the projects that an image is shared with. Source: Image API v2, glance.api.v2.image_members."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner.api import image_access
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY, answer, iso, needs, takes
from spawner.store.tables import IMAGE_MEMBERS

# As Glance's image_member_quota.
MOST = 128


class _NewMember(msgspec.Struct, forbid_unknown_fields=True):
    member: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class _Status(msgspec.Struct, forbid_unknown_fields=True):
    status: Literal["pending", "accepted", "rejected"]
    # openstacksdk says it here too; the path decides.
    member: str | None = None


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of an image's members."""
    service = _Members(cloud)
    read, write = needs("image:read"), needs("image:write")
    base = "/image/v2/images/{id}/members"
    one = f"{base}/{{member}}"
    return [
        web.get(base, read(service.listed)),
        web.post(base, write(service.add)),
        web.get(one, read(service.show)),
        web.put(one, write(service.answer)),
        web.delete(one, write(service.remove)),
    ]


class _Members:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def listed(self, request: web.Request) -> web.Response:
        async with self._cloud.store.read() as connection:
            image = await _shared_image(connection, request)
            rows = await _rows(connection, request, image)
        return answer({"members": [_view(row) for row in rows], "schema": "/v2/schemas/members"})

    async def show(self, request: web.Request) -> web.Response:
        async with self._cloud.store.read() as connection:
            image = await _shared_image(connection, request)
            return answer(_view(await _row(connection, request, image)))

    @takes(_NewMember)
    async def add(self, request: web.Request, form: _NewMember) -> web.Response:
        now = self._cloud.clock()
        async with self._cloud.store.write() as connection:
            image = await _shared_image(connection, request, to_change=True)
            members = {row.member_id for row in await _rows(connection, request, image)}
            if form.member in members:
                text = f"Member {form.member} is duplicated for image {image.id}"
                raise Fault(409, text)
            if len(members) >= MOST:
                raise Fault(
                    413,
                    "The limit has been exceeded on the number of allowed image members for this image."
                    f" Attempted: {len(members) + 1}, Maximum: {MOST}",
                )
            values = {"image_id": image.id, "member_id": form.member, "created_at": now, "updated_at": now}
            await connection.execute(insert(IMAGE_MEMBERS).values(**values))
            row = (await connection.execute(_one(image.id, form.member))).one()
        return answer(_view(row))

    @takes(_Status)
    async def answer(self, request: web.Request, form: _Status) -> web.Response:
        """What a project says to an image that is shared with it; the owner cannot say it for the project."""
        async with self._cloud.store.write() as connection:
            image = await _shared_image(connection, request)
            row = await _row(connection, request, image)
            identity = request[IDENTITY]
            if row.member_id != identity.project_id and not identity.is_admin:
                raise Fault(403, "You are not authorized to complete modify_member action.")
            await connection.execute(
                IMAGE_MEMBERS.update()
                .where(IMAGE_MEMBERS.c.image_id == image.id, IMAGE_MEMBERS.c.member_id == row.member_id)
                .values(status=form.status, updated_at=self._cloud.clock())
            )
            row = (await connection.execute(_one(image.id, row.member_id))).one()
        return answer(_view(row))

    async def remove(self, request: web.Request) -> web.Response:
        async with self._cloud.store.write() as connection:
            image = await _shared_image(connection, request, to_change=True)
            row = await _row(connection, request, image)
            await connection.execute(
                IMAGE_MEMBERS.delete().where(
                    IMAGE_MEMBERS.c.image_id == image.id, IMAGE_MEMBERS.c.member_id == row.member_id
                )
            )
        return web.Response(status=204)


async def _shared_image(connection: AsyncConnection, request: web.Request, *, to_change: bool = False) -> Any:
    """The image of the path. Raises Fault 404, 403 for one that is not shared with projects by name."""
    image = await image_access.get(connection, request, to_change=to_change)
    if image.visibility != "shared":
        raise Fault(403, "Only shared images have members.")
    return image


def _one(image_id: str, member_id: str) -> Any:
    return select(IMAGE_MEMBERS).where(
        IMAGE_MEMBERS.c.image_id == image_id, IMAGE_MEMBERS.c.member_id == member_id
    )


async def _rows(connection: AsyncConnection, request: web.Request, image: Any) -> list[Any]:
    """The members of an image that the caller may know of: all for its owner, else the own project."""
    query = select(IMAGE_MEMBERS).where(IMAGE_MEMBERS.c.image_id == image.id)
    if not image_access.is_own(request, image):
        query = query.where(IMAGE_MEMBERS.c.member_id == request[IDENTITY].project_id)
    ordered = query.order_by(IMAGE_MEMBERS.c.created_at, IMAGE_MEMBERS.c.member_id)
    return list((await connection.execute(ordered)).all())


async def _row(connection: AsyncConnection, request: web.Request, image: Any) -> Any:
    """The member of the path. Raises Fault 404."""
    wanted = request.match_info["member"]
    for row in await _rows(connection, request, image):
        if row.member_id == wanted:
            return row
    raise Fault(404, f"{wanted[:64]} not found in the member list of the image {image.id}.")


def _view(row: Any) -> dict[str, Any]:
    return {
        "image_id": row.image_id,
        "member_id": row.member_id,
        "status": row.status,
        "created_at": iso(row.created_at),
        "updated_at": iso(row.updated_at),
        "schema": "/v2/schemas/member",
    }
