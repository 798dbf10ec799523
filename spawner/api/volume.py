"""Cinder v3: volumes.

Source: Block Storage API v3 reference; the paths are those of microversion 3.67, without a project in them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import volumes
from spawner.api import quotas, volume_version
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import (
    IDENTITY,
    Handler,
    answer,
    caller,
    iso,
    link,
    may,
    needs,
    page,
    takes,
    truth,
)
from spawner.api.volume_misc import TYPE
from spawner.store.tables import VOLUMES
from spawner.volumes import NewVolume

BASE = "/volume/v3"
SIZE_LIMIT_GIB = 10_000
SORT_KEYS = ("created_at", "updated_at", "name", "size_gib", "status", "id")


Text = Annotated[str, msgspec.Meta(max_length=255)]
Metadata = dict[
    Annotated[str, msgspec.Meta(min_length=1, max_length=255)], Annotated[str, msgspec.Meta(max_length=255)]
]


class _NewVolume(
    msgspec.Struct,
    rename={"image_ref": "imageRef", "source": "source_volid", "consistency_group": "consistencygroup_id"},
):
    size: Annotated[int, msgspec.Meta(ge=1, le=SIZE_LIMIT_GIB)] | str | None = None
    name: Text | None = None
    description: Text | None = None
    metadata: Metadata | None = None
    image_ref: str | None = None
    source: str | None = None
    snapshot_id: str | None = None
    volume_type: str | None = None
    availability_zone: str | None = None
    consistency_group: str | None = None


class _CreateVolume(msgspec.Struct):
    volume: _NewVolume


class _Changes(msgspec.Struct):
    name: Text | None = None
    description: Text | None = None
    metadata: Metadata | None = None


class _UpdateVolume(msgspec.Struct, forbid_unknown_fields=True):
    volume: _Changes


class _Metadata(msgspec.Struct, forbid_unknown_fields=True):
    metadata: Metadata


class _Extend(msgspec.Struct, forbid_unknown_fields=True):
    new_size: Annotated[int, msgspec.Meta(ge=1, le=SIZE_LIMIT_GIB)]


class _Status(msgspec.Struct):
    status: Literal["available", "error", "in-use", "creating", "deleting", "maintenance"]


class _Bootable(msgspec.Struct, forbid_unknown_fields=True):
    bootable: bool | str


class _Action(
    msgspec.Struct,
    forbid_unknown_fields=True,
    rename={
        "extend": "os-extend",
        "reset_status": "os-reset_status",
        "set_bootable": "os-set_bootable",
        "force_delete": "os-force_delete",
    },
):
    """One of these is asked for."""

    extend: _Extend | msgspec.UnsetType = msgspec.UNSET
    reset_status: _Status | msgspec.UnsetType = msgspec.UNSET
    set_bootable: _Bootable | msgspec.UnsetType = msgspec.UNSET
    force_delete: dict[str, str] | msgspec.UnsetType | None = msgspec.UNSET


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of Cinder."""
    service = _Volumes(cloud)
    read, write = needs("volume:read"), needs("volume:write")
    table: tuple[tuple[str, str, Handler], ...] = (
        ("GET", "/volumes", read(service.list_short)),
        ("GET", "/volumes/detail", read(service.list_detail)),
        ("POST", "/volumes", write(service.create)),
        ("GET", "/volumes/{id}", read(service.show)),
        ("PUT", "/volumes/{id}", write(service.update)),
        ("DELETE", "/volumes/{id}", write(service.delete)),
        ("POST", "/volumes/{id}/action", write(service.action)),
        ("GET", "/volumes/{id}/metadata", read(service.metadata)),
        ("POST", "/volumes/{id}/metadata", write(service.add_metadata)),
        ("PUT", "/volumes/{id}/metadata", write(service.replace_metadata)),
        ("DELETE", "/volumes/{id}/metadata/{key}", write(service.remove_metadata)),
    )
    return [
        web.route(method, f"{BASE}{path}", volume_version.with_version(handler))
        for method, path, handler in table
    ]


class _Volumes:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._actions = {
            "extend": self._extend,
            "reset_status": self._reset_status,
            "set_bootable": self._set_bootable,
            "force_delete": self._force_delete,
        }

    # --- reading ----------------------------------------------------------------------------------------

    def _own(self, request: web.Request) -> str | None:
        """The project whose volumes a caller may name; None: any."""
        return None if may(request, "volume:all-projects") else request[IDENTITY].project_id

    async def _get(self, request: web.Request) -> Any:
        async with self._cloud.store.read() as connection:
            return await volumes.get(connection, request.match_info["id"], self._own(request))

    async def _listed(self, request: web.Request) -> tuple[list[Any], str]:
        query = request.query
        everyone = truth(query.get("all_tenants", "")) and may(request, "volume:all-projects")
        rows_query = select(VOLUMES).order_by(VOLUMES.c.created_at.desc(), VOLUMES.c.id)
        if not everyone:
            rows_query = rows_query.where(VOLUMES.c.project_id == request[IDENTITY].project_id)
        elif query.get("project_id"):
            rows_query = rows_query.where(VOLUMES.c.project_id == query["project_id"])
        async with self._cloud.store.read() as connection:
            rows = (await connection.execute(rows_query)).all()
        chosen = [row for row in rows if _matches(row, request)]
        _sort(chosen, query.get("sort", ""))
        return page(request, chosen, lambda row: str(row.id))

    async def list_short(self, request: web.Request) -> web.Response:
        found, more = await self._listed(request)
        rows = [{"id": row.id, "name": row.name, "links": self._links(row)} for row in found]
        return answer({"volumes": rows, **self._next(more, "")})

    async def list_detail(self, request: web.Request) -> web.Response:
        found, more = await self._listed(request)
        async with self._cloud.store.read() as connection:
            rows = [await self._view(connection, request, row) for row in found]
        return answer({"volumes": rows, **self._next(more, "/detail")})

    def _next(self, more: str, path: str) -> dict[str, Any]:
        href = f"{self._cloud.url}/volume/v3/volumes{path}?{more}"
        return {"volumes_links": [link(href, "next")]} if more else {}

    def _links(self, row: Any) -> list[dict[str, str]]:
        return [
            link(f"{self._cloud.url}/volume/v3/volumes/{row.id}"),
            link(f"{self._cloud.url}/volume/volumes/{row.id}", "bookmark"),
        ]

    async def show(self, request: web.Request) -> web.Response:
        return await self._shown(request, request.match_info["id"])

    async def _shown(self, request: web.Request, volume_id: str, status: int = 200) -> web.Response:
        async with self._cloud.store.read() as connection:
            row = await volumes.get(connection, volume_id, self._own(request))
            return answer({"volume": await self._view(connection, request, row)}, status)

    async def _view(self, connection: AsyncConnection, request: web.Request, row: Any) -> dict[str, Any]:
        place = await volumes.attachment(connection, row.id)
        document: dict[str, Any] = {
            "id": row.id,
            "name": row.name,
            "description": row.description,
            "status": row.status,
            "size": row.size_gib,
            "availability_zone": "nova",
            "volume_type": TYPE["name"],
            "snapshot_id": None,
            "source_volid": row.source_volume_id,
            "metadata": _metadata(row),
            "bootable": "true" if row.bootable else "false",
            "encrypted": False,
            "multiattach": False,
            "replication_status": None,
            "consistencygroup_id": None,
            "user_id": row.user_id,
            "created_at": iso(row.created_at, micro=True),
            "updated_at": iso(row.updated_at, micro=True),
            "attachments": [_place(place)] if place is not None else [],
            "links": self._links(row),
            "os-vol-tenant-attr:tenant_id": row.project_id,
        }
        if row.image_metadata:
            document["volume_image_metadata"] = dict(row.image_metadata)
        if request[IDENTITY].is_admin:
            document["os-vol-host-attr:host"] = "files"
            document["os-vol-mig-status-attr:migstat"] = None
            document["os-vol-mig-status-attr:name_id"] = None
        return document

    # --- changing ---------------------------------------------------------------------------------------

    @takes(_CreateVolume)
    async def create(self, request: web.Request, form: _CreateVolume) -> web.Response:
        wish = form.volume
        async with self._cloud.store.read() as connection:
            size_gib = await self._size(connection, request, wish)
            await quotas.check_volumes(connection, request[IDENTITY].project_id, size_gib, 1)
        volume_id = await self._cloud.volumes.create(
            NewVolume(
                size_gib=size_gib,
                name=wish.name or "",
                description=wish.description,
                metadata=wish.metadata,
                image_id=wish.image_ref,
                source_volume_id=wish.source,
            ),
            caller(request),
        )
        return await self._shown(request, volume_id, 202)

    async def _size(self, connection: AsyncConnection, request: web.Request, wish: _NewVolume) -> int:
        """The size in GiB. Raises Fault 400 for what cannot be asked for."""
        if wish.snapshot_id:
            raise Fault(404, f"Snapshot {wish.snapshot_id[:64]} could not be found.")
        if wish.image_ref and wish.source:
            raise Fault(400, "Invalid input received: imageRef and source_volid exclude each other.")
        if wish.volume_type not in {None, "", "__DEFAULT__", TYPE["name"], TYPE["id"]}:
            raise Fault(404, f"Volume type {str(wish.volume_type)[:64]} could not be found.")
        least = 1
        if wish.source:
            least = (await volumes.get(connection, wish.source, request[IDENTITY].project_id)).size_gib
        size = wish.size if wish.size not in {None, ""} else (least if wish.source else None)
        if not str(size).isdigit() or not least <= int(str(size)) <= SIZE_LIMIT_GIB:
            raise Fault(
                400,
                f"Invalid input received: Volume size '{str(size)[:20]}' must be an integer"
                f" from {least} to {SIZE_LIMIT_GIB} (GiB).",
            )
        return int(str(size))

    @takes(_UpdateVolume)
    async def update(self, request: web.Request, form: _UpdateVolume) -> web.Response:
        row = await self._get(request)
        changes = form.volume
        given = {
            name: value for name in ("name", "description") if (value := getattr(changes, name)) is not None
        }
        if changes.metadata is not None:
            given["metadata"] = {**_metadata(row), **changes.metadata}
        if given:
            await self._save(row.id, **given)
        return await self._shown(request, row.id)

    async def _save(self, volume_id: str, **values: object) -> None:
        async with self._cloud.store.write() as connection:
            await connection.execute(
                update(VOLUMES)
                .where(VOLUMES.c.id == volume_id)
                .values(updated_at=self._cloud.clock(), **values)
            )

    async def delete(self, request: web.Request) -> web.Response:
        await self._cloud.volumes.delete(request.match_info["id"], self._own(request))
        return web.Response(status=202)

    @takes(_Action)
    async def action(self, request: web.Request, form: _Action) -> web.Response:
        row = await self._get(request)
        asked = [name for name in form.__struct_fields__ if getattr(form, name) is not msgspec.UNSET]
        if len(asked) != 1:
            raise Fault(400, f"One action is needed, of: {', '.join(form.__struct_encode_fields__)}.")
        return await self._actions[asked[0]](request, row, form)

    async def _extend(self, request: web.Request, row: Any, form: _Action) -> web.Response:
        assert form.extend is not msgspec.UNSET  # noqa: S101  # the table says so
        size_gib = form.extend.new_size
        if size_gib <= row.size_gib:
            raise Fault(
                400,
                f"Invalid input received: New size for extend must be greater than current size"
                f" ({row.size_gib} GiB), it is {size_gib}.",
            )
        async with self._cloud.store.read() as connection:
            await quotas.check_volumes(connection, row.project_id, size_gib - row.size_gib, 0)
        await self._cloud.volumes.extend(row.id, size_gib, caller(request), self._own(request))
        return web.Response(status=202)

    async def _reset_status(self, request: web.Request, row: Any, form: _Action) -> web.Response:
        if not may(request, "volume:all-projects"):
            raise Fault(403, "Policy doesn't allow volume_extension:volume_admin_actions:reset_status.")
        assert form.reset_status is not msgspec.UNSET  # noqa: S101  # the table says so
        await self._save(row.id, status=form.reset_status.status)
        return web.Response(status=202)

    async def _set_bootable(self, _request: web.Request, row: Any, form: _Action) -> web.Response:
        assert form.set_bootable is not msgspec.UNSET  # noqa: S101  # the table says so
        await self._save(row.id, bootable=truth(str(form.set_bootable.bootable)))
        return web.Response(status=200)

    async def _force_delete(self, request: web.Request, row: Any, _form: _Action) -> web.Response:
        if not may(request, "volume:all-projects"):
            raise Fault(403, "Policy doesn't allow volume_extension:volume_admin_actions:force_delete.")
        await self._cloud.volumes.delete(row.id, None)
        return web.Response(status=202)

    async def metadata(self, request: web.Request) -> web.Response:
        return answer({"metadata": _metadata(await self._get(request))})

    @takes(_Metadata)
    async def add_metadata(self, request: web.Request, form: _Metadata) -> web.Response:
        row = await self._get(request)
        merged = {**_metadata(row), **form.metadata}
        await self._save(row.id, metadata=merged)
        return answer({"metadata": merged})

    @takes(_Metadata)
    async def replace_metadata(self, request: web.Request, form: _Metadata) -> web.Response:
        row = await self._get(request)
        await self._save(row.id, metadata=form.metadata)
        return answer({"metadata": form.metadata})

    async def remove_metadata(self, request: web.Request) -> web.Response:
        row = await self._get(request)
        key = request.match_info["key"]
        if key not in _metadata(row):
            raise Fault(404, f"Metadata item {key[:64]} was not found.")
        await self._save(
            row.id, metadata={name: value for name, value in _metadata(row).items() if name != key}
        )
        return web.Response(status=200)


def _metadata(row: Any) -> dict[str, str]:
    """The column, whose name is also an attribute of every row's class."""
    return dict(row._mapping["metadata"])


def _place(place: Any) -> dict[str, Any]:
    return {
        "id": place.volume_id,
        "attachment_id": place.id,
        "volume_id": place.volume_id,
        "server_id": place.server_id,
        "host_name": None,
        "device": place.device,
        "attached_at": iso(place.created_at, micro=True),
    }


def _matches(row: Any, request: web.Request) -> bool:
    query = request.query
    if "name" in query and row.name != query["name"]:
        return False
    if "name~" in query and query["name~"] not in row.name:
        return False
    if "bootable" in query and row.bootable != truth(query["bootable"]):
        return False
    return bool(query.get("status", row.status) == row.status)


def _sort(rows: list[Any], text: str) -> None:
    """By `key:direction,...`; the last key first, for the sort is stable. Raises Fault 400."""
    for entry in reversed([part for part in text.split(",") if part]):
        key, _, direction = entry.partition(":")
        key = {"size": "size_gib"}.get(key, key)
        if key not in SORT_KEYS or direction not in {"", "asc", "desc"}:
            raise Fault(400, f"Invalid input received: sort {entry[:40]!r} is not KEY:asc or KEY:desc.")
        rows.sort(key=lambda row: _comparable(row, key), reverse=direction != "asc")


def _comparable(row: Any, key: str) -> tuple[bool, Any]:
    value = getattr(row, key)
    return (value is not None, value if value is not None else 0)
