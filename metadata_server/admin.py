"""The admin interface on its own unix socket: documents, passwords, reports, health, metrics (X-3, MS-D15).

Never on a guest listener. The socket is 0600, and the peer must be root or the user the server runs as.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Protocol
from uuid import UUID

from aiohttp import web

from instance_metadata.errors import Fault, InvalidInstance
from instance_metadata.fields import Json, as_json, is_json
from instance_metadata.instance import parse
from metadata_server.errors import DamagedStore, StoreUnavailable
from metadata_server.http import NOT_FOUND, Request, Response, error
from metadata_server.services import Services

MAX_DOCUMENT_BYTES = 1 << 20
JSON_TYPE = "application/json"
_PEER = struct.Struct("3i")


class Documents(Protocol):
    """Where instance documents are kept: a directory, or a store. Methods may raise StoreUnavailable."""

    async def read(self, uuid: str) -> Json:
        """The document as it was given, None when there is none."""

    async def write(self, uuid: str, document: Json) -> None:
        """Add or replace a document; it is served soon after."""

    async def delete(self, uuid: str) -> bool:
        """Remove a document; False when there was none. Takes effect at once."""

    def all_faults(self) -> tuple[Fault, ...]:
        """What is wrong with documents that are not served, or served in an older version."""


class Admin:
    """Answers one admin request at a time; `answer` knows no sockets."""

    def __init__(self, services: Services, documents: Documents) -> None:
        self._services = services
        self._documents = documents

    async def handle(self, raw: web.BaseRequest) -> web.StreamResponse:
        """aiohttp's handler."""
        if not _is_trusted(raw):
            return _translated(error(403))
        body = await raw.content.read(MAX_DOCUMENT_BYTES + 1)
        if len(body) > MAX_DOCUMENT_BYTES:
            return _translated(error(413))
        return _translated(await self.answer(Request(raw.method, raw.raw_path, body=body)))

    async def answer(self, request: Request) -> Response:
        """`/healthz`, `/metrics`, `/instances[/UUID[/password|/reports|/rebuild]]`."""
        parts = tuple(request.target.partition("?")[0].strip("/").split("/"))
        if request.method == "GET" and parts in _PLAIN:
            return _PLAIN[parts](self)
        if parts[0] != "instances" or len(parts) not in (2, 3) or not _is_uuid(parts[1]):
            return NOT_FOUND
        action = _ACTIONS.get((request.method, *parts[2:]))
        if action is None:
            return error(405)
        try:
            return await action(self, parts[1].lower(), request)
        except InvalidInstance as refused:
            return _json(400, {"faults": [str(fault) for fault in refused.faults]})
        except (StoreUnavailable, DamagedStore) as trouble:
            return _json(503, {"error": str(trouble)})

    def health(self) -> Response:
        """Served instances, and every document that is not: 200 as long as the server answers (BAD-2)."""
        faults = self._documents.all_faults()
        return _json(
            200,
            {
                "status": "degraded" if faults else "ok",
                "instances": len(self._services.instances),
                "faults": [str(fault) for fault in faults],
            },
        )

    def metrics(self) -> Response:
        from metadata_server import metrics  # its library is as large as the rest of us: only who asks pays

        return Response(200, metrics.exposition(self._services), metrics.CONTENT_TYPE)

    def list(self) -> Response:
        return _json(200, {"instances": sorted(self._services.instances)})

    async def get(self, uuid: str, _: Request) -> Response:
        document = await self._documents.read(uuid)
        return NOT_FOUND if document is None else _json(200, document)

    async def put(self, uuid: str, request: Request) -> Response:
        return await self._write(uuid, _read_json(request.body))

    async def patch(self, uuid: str, request: Request) -> Response:
        document = await self._documents.read(uuid)
        if document is None:
            return NOT_FOUND
        return await self._write(uuid, merge_patch(document, _read_json(request.body)))

    async def delete(self, uuid: str, _: Request) -> Response:
        if not await self._documents.delete(uuid):
            return NOT_FOUND
        await self._services.passwords.clear(uuid)
        self._services.reports.pop(uuid, None)
        return Response(204)

    async def password(self, uuid: str, _: Request) -> Response:
        stored = await self._services.passwords.read(uuid)
        return Response(200, stored) if stored else NOT_FOUND

    async def rebuild(self, uuid: str, _: Request) -> Response:
        """The instance gets a new disk: its old password means nothing (OS-15)."""
        await self._services.passwords.clear(uuid)
        return Response(204)

    async def reports(self, uuid: str, _: Request) -> Response:
        kept = self._services.reports.get(uuid, [])
        return _json(200, {"reports": [json.loads(record) for record in kept]})

    async def _write(self, uuid: str, document: Json) -> Response:
        instance = parse(document, uuid)
        if instance.uuid != uuid:
            wrong = Fault(uuid, None, "uuid", "differs from the request's", "Use one of them in both places")
            raise InvalidInstance([wrong])
        await self._documents.write(uuid, document)
        return _json(200, {"warnings": [str(warning) for warning in instance.warnings]})


_PLAIN: dict[tuple[str, ...], Callable[[Admin], Response]] = {
    ("healthz",): Admin.health,
    ("metrics",): Admin.metrics,
    ("instances",): Admin.list,
}
_ACTIONS: dict[tuple[str, ...], Callable[[Admin, str, Request], Awaitable[Response]]] = {
    ("GET",): Admin.get,
    ("PUT",): Admin.put,
    ("PATCH",): Admin.patch,
    ("DELETE",): Admin.delete,
    ("GET", "password"): Admin.password,
    ("DELETE", "password"): Admin.rebuild,
    ("POST", "rebuild"): Admin.rebuild,
    ("GET", "reports"): Admin.reports,
}


def merge_patch(document: Json, patch: Json) -> Json:
    """RFC 7396: null removes, maps are merged, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def _read_json(body: bytes) -> Json:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as failure:
        raise InvalidInstance([Fault("request", None, "", "not JSON", "Send a JSON document")]) from failure
    if not is_json(value):
        raise InvalidInstance([Fault("request", None, "", "not strict JSON", "Leave NaN and Infinity out")])
    return as_json(value)


def _json(status: int, document: object) -> Response:
    return Response(status, json.dumps(document).encode() + b"\n", JSON_TYPE)


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _is_trusted(raw: web.BaseRequest) -> bool:
    """Root, or the user the server runs as, by the kernel's word."""
    found: socket.socket | None = None if raw.transport is None else raw.transport.get_extra_info("socket")
    if found is None or found.family != socket.AF_UNIX:
        return False
    _, uid, _ = _PEER.unpack(found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return uid in (0, os.geteuid())


def _translated(response: Response) -> web.Response:
    made = web.Response(status=response.status, body=response.body, headers=dict(response.headers))
    made.headers["Server"] = "guestling"
    if response.status != 204:
        made.headers["Content-Type"] = response.content_type
    return made
