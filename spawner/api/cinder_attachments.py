"""Cinder v3: the attachments of volumes, for reading; Nova makes and ends them."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from sqlalchemy import select

from spawner.api import volume_version
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY, answer, iso, may, needs, page
from spawner.store.tables import VOLUME_ATTACHMENTS, VOLUMES


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of attachments."""
    service = _Attachments(cloud)
    read, write = needs("volume:read"), needs("volume:write")
    base = "/volume/v3/attachments"
    return [
        web.route(method, path, volume_version.with_version(handler))
        for method, path, handler in (
            ("GET", base, read(service.attachments)),
            ("GET", f"{base}/detail", read(service.attachments)),
            ("GET", f"{base}/{{id}}", read(service.attachment)),
            ("DELETE", f"{base}/{{id}}", write(service.remove_attachment)),
        )
    ]


class _Attachments:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def _places(self, request: web.Request) -> list[tuple[Any, Any]]:
        """Each attachment of the caller's volumes, with its volume."""
        own = None if may(request, "volume:all-projects") else request[IDENTITY].project_id
        query = select(VOLUME_ATTACHMENTS).order_by(VOLUME_ATTACHMENTS.c.created_at.desc())
        async with self._cloud.store.read() as connection:
            rows = {row.id: row for row in await connection.execute(select(VOLUMES))}
            places = (await connection.execute(query)).all()
        return [
            (place, rows[place.volume_id])
            for place in places
            if own in {None, rows[place.volume_id].project_id}
        ]

    async def attachments(self, request: web.Request) -> web.Response:
        found = [
            _attachment(place, volume)
            for place, volume in await self._places(request)
            if request.query.get("volume_id", place.volume_id) == place.volume_id
            and request.query.get("instance_id", place.server_id) == place.server_id
            and request.query.get("status", "attached") == "attached"
        ]
        rows, _more = page(request, found, lambda each: str(each["id"]))
        return answer({"attachments": rows})

    async def _attachment(self, request: web.Request) -> tuple[Any, Any]:
        for place, volume in await self._places(request):
            if place.id == request.match_info["id"]:
                return place, volume
        wanted = request.match_info["id"][:64]
        raise Fault(404, f"Volume attachment could not be found with filter: attachment_id = {wanted}.")

    async def attachment(self, request: web.Request) -> web.Response:
        return answer({"attachment": _attachment(*await self._attachment(request))})

    async def remove_attachment(self, request: web.Request) -> web.Response:
        """As Cinder since CVE-2023-2088: what a server uses is taken out of it through Nova."""
        place, _volume = await self._attachment(request)
        raise Fault(
            409,
            "Detach volume using the Compute API: the attachment is used by the server"
            f" {place.server_id} (openstack server remove volume).",
        )


def _attachment(place: Any, volume: Any) -> dict[str, Any]:
    return {
        "id": place.id,
        "volume_id": place.volume_id,
        "instance": place.server_id,
        "status": {"attaching": "attaching", "detaching": "detaching"}.get(volume.status, "attached"),
        "attach_mode": "rw",
        "attached_at": iso(place.created_at, micro=True),
        "detached_at": None,
        "connection_info": {},
    }
