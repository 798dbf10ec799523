"""Whose an image is, and who else may see it: everybody, or the projects that it is shared with."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY
from spawner.store.tables import IMAGE_MEMBERS, IMAGES


def is_own(request: web.Request, image: Any) -> bool:
    """Whether an image is the caller's project's, or the caller an admin."""
    identity = request[IDENTITY]
    return bool(image.owner == identity.project_id) or identity.is_admin


def is_visible(request: web.Request, image: Any, shared: dict[str, str], status: str = "all") -> bool:
    """Whether the caller sees an image; `shared` is of `shared_with`, `status` says which of that counts."""
    if image.visibility in {"public", "community"} or is_own(request, image):
        return True
    return image.visibility == "shared" and image.id in shared and status in {"all", shared[image.id]}


async def shared_with(connection: AsyncConnection, project_id: str) -> dict[str, str]:
    """Image -> what a project says to its being shared with it: pending, accepted or rejected."""
    query = select(IMAGE_MEMBERS).where(IMAGE_MEMBERS.c.member_id == project_id)
    return {row.image_id: row.status for row in await connection.execute(query)}


async def get(connection: AsyncConnection, request: web.Request, *, to_change: bool = False) -> Any:
    """The image of the path. Raises Fault 404 for one that the caller does not see, 403 for one to change."""
    wanted = request.match_info["id"]
    row = (await connection.execute(select(IMAGES).where(IMAGES.c.id == wanted))).first()
    shared = await shared_with(connection, request[IDENTITY].project_id)
    if row is None or not is_visible(request, row, shared):
        raise Fault(404, f"No image found with ID {wanted[:64]}")
    if to_change and not is_own(request, row):
        raise Fault(403, f"You are not permitted to change image {wanted}.")
    return row
