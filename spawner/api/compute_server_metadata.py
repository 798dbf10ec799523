"""Nova: the metadata and the tags of a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from aiohttp import web

from spawner.api import new_server, quotas
from spawner.api.addressed_server import addressed, change
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import answer, needs, takes
from spawner.store.servers import Server

Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=60, pattern="^[^,/]*$")]


class _Metadata(msgspec.Struct, forbid_unknown_fields=True):
    metadata: new_server.Metadata


class _Meta(msgspec.Struct, forbid_unknown_fields=True):
    meta: new_server.Metadata


class _Tags(msgspec.Struct, forbid_unknown_fields=True):
    tags: Annotated[list[Tag], msgspec.Meta(max_length=50)]


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of what users write on a server."""
    service = _Labels(cloud)
    read, write = needs("compute:read"), needs("compute:server")
    one = "/compute/v2.1/servers/{id}"
    return [
        web.get(f"{one}/metadata", read(service.metadata)),
        web.post(f"{one}/metadata", write(service.add_metadata)),
        web.put(f"{one}/metadata", write(service.replace_metadata)),
        web.put(f"{one}/metadata/{{key}}", write(service.set_meta)),
        web.delete(f"{one}/metadata/{{key}}", write(service.remove_meta)),
        web.get(f"{one}/tags", read(service.tags)),
        web.put(f"{one}/tags", write(service.replace_tags)),
        web.put(f"{one}/tags/{{tag}}", write(service.add_tag)),
        web.delete(f"{one}/tags/{{tag}}", write(service.remove_tag)),
    ]


class _Labels:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def metadata(self, request: web.Request) -> web.Response:
        return answer({"metadata": dict((await addressed(request, self._cloud)).metadata)})

    async def _check_metadata(self, server: Server, metadata: Mapping[str, str]) -> None:
        async with self._cloud.store.read() as connection:
            await quotas.check_metadata(connection, server.project_id, len(metadata))

    @takes(_Metadata)
    async def add_metadata(self, request: web.Request, form: _Metadata) -> web.Response:
        server = await addressed(request, self._cloud)
        merged = {**server.metadata, **form.metadata}
        await self._check_metadata(server, merged)
        await change(self._cloud, server, metadata=merged)
        return answer({"metadata": merged})

    @takes(_Metadata)
    async def replace_metadata(self, request: web.Request, form: _Metadata) -> web.Response:
        server = await addressed(request, self._cloud)
        await self._check_metadata(server, form.metadata)
        await change(self._cloud, server, metadata=form.metadata)
        return answer({"metadata": form.metadata})

    @takes(_Meta)
    async def set_meta(self, request: web.Request, form: _Meta) -> web.Response:
        server, given = await addressed(request, self._cloud), form.meta
        if list(given) != [request.match_info["key"]]:
            raise Fault(400, "Request body and URI mismatch")
        await self._check_metadata(server, {**server.metadata, **given})
        await change(self._cloud, server, metadata={**server.metadata, **given})
        return answer({"meta": given})

    async def remove_meta(self, request: web.Request) -> web.Response:
        server = await addressed(request, self._cloud)
        name = request.match_info["key"]
        if name not in server.metadata:
            raise Fault(404, "Metadata item was not found")
        await change(
            self._cloud,
            server,
            metadata={key: value for key, value in server.metadata.items() if key != name},
        )
        return web.Response(status=204)

    async def tags(self, request: web.Request) -> web.Response:
        return answer({"tags": list((await addressed(request, self._cloud)).tags)})

    @takes(_Tags)
    async def replace_tags(self, request: web.Request, form: _Tags) -> web.Response:
        server = await addressed(request, self._cloud)
        tags = list(dict.fromkeys(form.tags))
        await change(self._cloud, server, tags=tags)
        return answer({"tags": tags})

    async def add_tag(self, request: web.Request) -> web.Response:
        server = await addressed(request, self._cloud)
        tag = request.match_info["tag"]
        if tag in server.tags:
            return web.Response(status=204)
        await change(self._cloud, server, tags=[*server.tags, tag])
        return web.Response(status=201)

    async def remove_tag(self, request: web.Request) -> web.Response:
        server = await addressed(request, self._cloud)
        tag = request.match_info["tag"]
        if tag not in server.tags:
            raise Fault(404, f"Instance {server.id} has no tag '{tag}'")
        await change(self._cloud, server, tags=[each for each in server.tags if each != tag])
        return web.Response(status=204)
