"""Cinder's microversions: which one a request asks for, and the version documents."""

from __future__ import annotations

import functools
import re

from aiohttp import web

from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import Handler, answer, link

HEADER = "OpenStack-API-Version"
MINIMUM, MAXIMUM = (3, 0), (3, 67)


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of the version documents; none of them needs a token."""
    documents = {
        "/volume": (300, {"versions": [_version(cloud)]}),
        "/volume/": (300, {"versions": [_version(cloud)]}),
        "/volume/v3": (200, {"versions": [_version(cloud)]}),
        "/volume/v3/": (200, {"versions": [_version(cloud)]}),
    }
    return [web.get(path, _always(*document)) for path, document in documents.items()]


def _always(status: int, document: object) -> Handler:
    async def handler(_request: web.Request) -> web.StreamResponse:
        return answer(document, status)

    return handler


def with_version(handler: Handler) -> Handler:
    """Say in the answer which microversion it was made with. Raises Fault 406 for one that is not served."""

    @functools.wraps(handler)
    async def versioned(request: web.Request) -> web.StreamResponse:
        version = _requested(request.headers.get(HEADER, ""))
        response = await handler(request)
        response.headers[HEADER] = f"volume {version[0]}.{version[1]}"
        response.headers["Vary"] = HEADER
        return response

    return versioned


def _requested(header: str) -> tuple[int, int]:
    for entry in header.split(","):
        service, _, number = entry.strip().partition(" ")
        if service.lower() != "volume":
            continue
        if number.strip() == "latest":
            return MAXIMUM
        if not (match := re.fullmatch(r"(\d{1,4})\.(\d{1,4})", number.strip())):
            raise Fault(400, f"API Version String {number[:20]} is of invalid format.")
        version = (int(match[1]), int(match[2]))
        if not MINIMUM <= version <= MAXIMUM:
            raise Fault(406, f"Version {number} is not supported by the API. Minimum is 3.0, maximum 3.67.")
        return version
    return MINIMUM


def _version(cloud: Cloud) -> dict[str, object]:
    return {
        "id": "v3.0",
        "status": "CURRENT",
        "version": f"{MAXIMUM[0]}.{MAXIMUM[1]}",
        "min_version": f"{MINIMUM[0]}.{MINIMUM[1]}",
        "updated": "2021-10-27T00:00:00Z",
        "links": [link(f"{cloud.url}/volume/v3/")],
        "media-types": [
            {"base": "application/json", "type": "application/vnd.openstack.volume+json;version=3"}
        ],
    }
