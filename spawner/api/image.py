"""Glance v2: images, their properties, tags and bytes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from sqlalchemy import delete, insert, select, update

from spawner.api import image_access
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY, answer, iso, may, needs, page, wrong_field
from spawner.images import ImageRefused
from spawner.store.tables import IMAGES, SERVERS

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CHUNK = 1 << 18
MEMBER_STATUSES = frozenset({"pending", "accepted", "rejected", "all"})
READ_ONLY = frozenset(
    {
        "status",
        "created_at",
        "updated_at",
        "size",
        "virtual_size",
        "checksum",
        "os_hash_algo",
        "os_hash_value",
        "self",
        "file",
        "schema",
        "owner",
        "direct_url",
        "locations",
    }
)


class _Fields(msgspec.Struct):
    """What a client may set of an image besides its properties, by type."""

    name: Annotated[str, msgspec.Meta(max_length=255)] | None = None
    visibility: Literal["private", "shared", "community", "public"] = "private"
    protected: bool = False
    disk_format: Literal["raw", "qcow2", "iso", "vmdk", "vhd", "aki", "ari", "ami"] | None = None
    container_format: Literal["bare", "aki", "ari", "ami", "ova", "ovf", "docker"] | None = None
    min_disk: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0
    min_ram: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0
    tags: list[Annotated[str, msgspec.Meta(max_length=255)]] = []


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of Glance."""
    service = _Images(cloud)
    read, write = needs("image:read"), needs("image:write")
    base = "/image/v2/images"
    one = f"{base}/{{id}}"
    return [
        web.get(base, read(service.listed)),
        web.post(base, write(service.create)),
        web.get(one, read(service.show)),
        web.patch(one, write(service.patch)),
        web.delete(one, write(service.delete)),
        web.put(f"{one}/file", write(service.upload)),
        web.get(f"{one}/file", read(service.download)),
        web.put(f"{one}/tags/{{tag}}", write(service.add_tag)),
        web.delete(f"{one}/tags/{{tag}}", write(service.remove_tag)),
        web.get("/image/v2/schemas/{name}", read(service.schema)),
        web.get("/image/v2/info/import", read(service.import_info)),
    ]


# Fields of the table that a client may set; every other name is a property.
SETTABLE = _Fields.__struct_fields__


class _Images:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    # --- reading ----------------------------------------------------------------------------------------

    async def _get(self, request: web.Request, *, to_change: bool = False) -> Any:
        async with self._cloud.store.read() as connection:
            return await image_access.get(connection, request, to_change=to_change)

    async def listed(self, request: web.Request) -> web.Response:
        async with self._cloud.store.read() as connection:
            rows = (
                await connection.execute(select(IMAGES).order_by(IMAGES.c.created_at.desc(), IMAGES.c.id))
            ).all()
            shared = await image_access.shared_with(connection, request[IDENTITY].project_id)
        # As Glance: what is shared with a project is in its lists when it said yes, or asks for the rest.
        status = request.query.get("member_status", "accepted")
        if status not in MEMBER_STATUSES:
            raise Fault(400, f"Invalid status: {status[:40]}")
        seen = [row for row in rows if image_access.is_visible(request, row, shared, status)]
        chosen = [row for row in seen if _matches(row, request)]
        found, more = page(request, chosen, lambda row: str(row.id))
        document: dict[str, Any] = {
            "images": [_view(row) for row in found],
            "first": "/v2/images",
            "schema": "/v2/schemas/images",
        }
        if more:
            document["next"] = f"/v2/images?{more}"
        return answer(document)

    async def show(self, request: web.Request) -> web.Response:
        return answer(_view(await self._get(request)))

    async def schema(self, request: web.Request) -> web.Response:
        return answer({"name": request.match_info["name"], "properties": {}, "additionalProperties": True})

    async def import_info(self, _request: web.Request) -> web.Response:
        methods = {"description": "Import methods available.", "type": "array", "value": []}
        return answer({"import-methods": methods})

    # --- changing ---------------------------------------------------------------------------------------

    async def create(self, request: web.Request) -> web.Response:
        wish = _document(await request.read(), dict)
        image_id = str(wish.pop("id", "") or self._cloud.new_id())
        if not UUID.fullmatch(image_id):
            raise Fault(400, "Invalid image id format")
        fields, properties = _split(wish)
        self._check(request, fields)
        now = self._cloud.clock()
        async with self._cloud.store.write() as connection:
            taken = select(IMAGES.c.id).where(IMAGES.c.id == image_id)
            if (await connection.execute(taken)).first() is not None:
                raise Fault(409, f"Image ID {image_id} already exists!")
            await connection.execute(
                insert(IMAGES).values(
                    id=image_id,
                    status="queued",
                    owner=request[IDENTITY].project_id,
                    properties=properties,
                    created_at=now,
                    updated_at=now,
                    **{"tags": [], **fields},
                )
            )
            row = (await connection.execute(select(IMAGES).where(IMAGES.c.id == image_id))).one()
        return answer(_view(row), 201, {"Location": f"{self._cloud.url}/image/v2/images/{image_id}"})

    def _check(self, request: web.Request, fields: dict[str, Any]) -> None:
        try:
            msgspec.convert(fields, _Fields)
        except msgspec.ValidationError as error:
            raise Fault(400, wrong_field(str(error))) from error
        if fields.get("visibility") == "public" and not may(request, "image:publicize"):
            raise Fault(403, "You are not authorized to complete publicize_image action.")

    async def patch(self, request: web.Request) -> web.Response:
        row = await self._get(request, to_change=True)
        flat = {**{name: getattr(row, name) for name in SETTABLE}, **row.properties}
        for change in _document(await request.read(), list):
            _apply(flat, change)
        fields, properties = _split(flat)
        self._check(request, {name: fields[name] for name in fields if fields[name] != getattr(row, name)})
        await self._save(row.id, properties=properties, **fields)
        return answer(_view(await self._get(request)))

    async def _save(self, image_id: str, **values: object) -> None:
        async with self._cloud.store.write() as connection:
            await connection.execute(
                update(IMAGES).where(IMAGES.c.id == image_id).values(updated_at=self._cloud.clock(), **values)
            )

    async def delete(self, request: web.Request) -> web.Response:
        row = await self._get(request, to_change=True)
        if row.protected:
            raise Fault(403, f"Image {row.id} is protected and cannot be deleted.")
        async with self._cloud.store.write() as connection:
            used = select(SERVERS.c.id).where(SERVERS.c.image_id == row.id, SERVERS.c.vm_state != "deleted")
            if (await connection.execute(used)).first() is not None:
                raise Fault(409, f"Image {row.id} could not be deleted because it is in use.")
            await connection.execute(delete(IMAGES).where(IMAGES.c.id == row.id))
        self._cloud.images.remove(row.id)
        return web.Response(status=204)

    async def add_tag(self, request: web.Request) -> web.Response:
        row = await self._get(request, to_change=True)
        await self._save(row.id, tags=sorted({*row.tags, request.match_info["tag"]}))
        return web.Response(status=204)

    async def remove_tag(self, request: web.Request) -> web.Response:
        row = await self._get(request, to_change=True)
        tag = request.match_info["tag"]
        if tag not in row.tags:
            raise Fault(404, "Tag not found.")
        await self._save(row.id, tags=[each for each in row.tags if each != tag])
        return web.Response(status=204)

    # --- bytes ------------------------------------------------------------------------------------------

    async def upload(self, request: web.Request) -> web.Response:
        row = await self._get(request, to_change=True)
        if row.status != "queued":
            raise Fault(409, f"Image status transition from {row.status} to saving is not allowed")
        if not row.disk_format or not row.container_format:
            raise Fault(400, "Properties disk_format, container_format must be set prior to saving data.")
        await self._save(row.id, status="saving")
        try:
            taken = await self._cloud.images.receive(row.id, row.disk_format, _chunks(request))
        except BaseException as error:
            await self._save(row.id, status="queued")
            if isinstance(error, ImageRefused):
                raise Fault(415, str(error)) from error
            raise
        await self._save(row.id, **taken.columns())
        return web.Response(status=204)

    async def download(self, request: web.Request) -> web.StreamResponse:
        row = await self._get(request)
        if row.status != "active":
            return web.Response(status=204)
        headers = {"Content-Type": "application/octet-stream", "Content-MD5": row.checksum}
        return web.FileResponse(self._cloud.images.path(row.id), headers=headers, chunk_size=CHUNK)


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_chunked(CHUNK):
        yield chunk


def _document(content: bytes, kind: type) -> Any:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Fault(400, f"Malformed JSON in request body: {error}") from error


def _split(flat: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """What a flat image document sets: fields of the table, and properties (texts)."""
    fields = {name: value for name, value in flat.items() if name in SETTABLE}
    properties = {}
    for name, value in flat.items():
        if name in READ_ONLY:
            raise Fault(403, f"Attribute '{name}' is read-only.")
        if name not in SETTABLE and value is not None:
            properties[name] = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return fields, properties


def _apply(flat: dict[str, Any], change: Any) -> None:
    """One operation of a JSON patch on a flat document; only the top level can be changed."""
    if not isinstance(change, dict) or change.get("op") not in {"add", "replace", "remove"}:
        raise Fault(400, "Operations must be JSON objects with the op add, replace or remove.")
    name = str(change.get("path", "")).removeprefix("/").replace("~1", "/").replace("~0", "~")
    if name in READ_ONLY:
        raise Fault(403, f"Attribute '{name}' is read-only.")
    if change["op"] == "add":
        flat[name] = change.get("value")
        return
    if name not in flat:
        raise Fault(409, f"Property {name[:64]} does not exist.")
    if change["op"] == "replace":
        flat[name] = change.get("value")
    elif name in SETTABLE:
        raise Fault(403, f"Property {name} may not be removed.")
    else:
        del flat[name]


def _matches(row: Any, request: web.Request) -> bool:
    for name, value in request.query.items():
        if name in {"limit", "marker", "sort_key", "sort_dir", "sort", "member_status", "os_hidden"}:
            continue
        chosen = value[3:].split(",") if value.startswith("in:") else [value]
        if name == "tag":
            found = value in row.tags
        elif name == "visibility" and value == "all":
            found = True
        elif name in row._fields:  # a named tuple's own names
            found = str(getattr(row, name)) in chosen
        else:
            found = str(row.properties.get(name)) in chosen
        if not found:
            return False
    return True


def _view(row: Any) -> dict[str, Any]:
    return {
        **row.properties,
        "id": row.id,
        "name": row.name,
        "status": row.status,
        "visibility": row.visibility,
        "owner": row.owner,
        "protected": row.protected,
        "os_hidden": False,
        "disk_format": row.disk_format,
        "container_format": row.container_format,
        "min_disk": row.min_disk,
        "min_ram": row.min_ram,
        "size": row.size,
        "virtual_size": row.virtual_size,
        "checksum": row.checksum,
        "os_hash_algo": row.os_hash_algo,
        "os_hash_value": row.os_hash_value,
        "tags": row.tags,
        "created_at": iso(row.created_at),
        "updated_at": iso(row.updated_at),
        "self": f"/v2/images/{row.id}",
        "file": f"/v2/images/{row.id}/file",
        "schema": "/v2/schemas/image",
    }
