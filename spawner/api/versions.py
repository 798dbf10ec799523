"""Version documents: how clients find out what is served. Source: openstack-api.md (ablation table)."""

from __future__ import annotations

from aiohttp import web

from spawner.api import microversion
from spawner.api.cloud import Cloud
from spawner.api.requests import answer, link

_UPDATED = "2013-07-23T11:33:21Z"


PATHS = frozenset(
    f"/{path}{slash}"
    for path in (
        "identity",
        "identity/v3",
        "compute",
        "compute/v2.1",
        "image",
        "network",
        "placement",
        "volume",
        "volume/v3",
    )
    for slash in ("", "/")
) | {"/image/versions"}


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of the version documents; none of them needs a token."""
    documents = {
        "/identity": (300, {"versions": {"values": [_identity(cloud)]}}),
        "/identity/": (300, {"versions": {"values": [_identity(cloud)]}}),
        "/identity/v3": (200, {"version": _identity(cloud)}),
        "/identity/v3/": (200, {"version": _identity(cloud)}),
        "/compute": (200, {"versions": [_compute(cloud)]}),
        "/compute/": (200, {"versions": [_compute(cloud)]}),
        "/compute/v2.1": (200, {"version": _compute(cloud)}),
        "/compute/v2.1/": (200, {"version": _compute(cloud)}),
        "/image": (300, {"versions": _image(cloud)}),
        "/image/": (300, {"versions": _image(cloud)}),
        "/image/versions": (200, {"versions": _image(cloud)}),
        "/network": (200, {"versions": [_network(cloud)]}),
        "/network/": (200, {"versions": [_network(cloud)]}),
        "/placement": (200, {"versions": [_placement(cloud)]}),
        "/placement/": (200, {"versions": [_placement(cloud)]}),
    }
    return [web.get(path, _always(status, document)) for path, (status, document) in documents.items()]


def _always(status: int, document: object):  # type: ignore[no-untyped-def]  # a handler, typed where it is used
    async def handler(_request: web.Request) -> web.Response:
        return answer(document, status)

    return handler


def _identity(cloud: Cloud) -> dict[str, object]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [link(f"{cloud.url}/identity/v3/")],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }


def _compute(cloud: Cloud) -> dict[str, object]:
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": microversion.text(microversion.MAXIMUM),
        "min_version": microversion.text(microversion.MINIMUM),
        "updated": _UPDATED,
        "links": [link(f"{cloud.url}/compute/v2.1/")],
        "media-types": [
            {"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}
        ],
    }


def _image(cloud: Cloud) -> list[dict[str, object]]:
    links = [link(f"{cloud.url}/image/v2/")]
    return [
        {"id": f"v2.{minor}", "status": "CURRENT" if minor == 9 else "SUPPORTED", "links": links}
        for minor in range(9, -1, -1)
    ]


def _network(cloud: Cloud) -> dict[str, object]:
    return {"id": "v2.0", "status": "CURRENT", "links": [link(f"{cloud.url}/network/v2.0/")]}


def _placement(cloud: Cloud) -> dict[str, object]:
    return {
        "id": "v1.0",
        "status": "CURRENT",
        "max_version": "1.39",
        "min_version": "1.0",
        "links": [link(f"{cloud.url}/placement/")],
    }
