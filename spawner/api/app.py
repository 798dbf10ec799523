"""The aiohttp application: every service behind one listener, and what all of them have in common.

Each request gets an id, a checked token, Nova's microversion, and faults in the form of its service. No
traceback and no byte of the request leaves the process in an error.
"""

from __future__ import annotations

import logging

import msgspec
from aiohttp import web

from spawner.api import (
    application_credentials,
    cinder_attachments,
    compute_flavors,
    compute_keypairs,
    compute_misc,
    compute_server_history,
    compute_server_metadata,
    compute_servers,
    compute_usage,
    faults,
    guest_access,
    identity,
    identity_projects,
    identity_roles,
    identity_users,
    image,
    image_members,
    interfaces,
    metrics,
    microversion,
    network,
    network_floating_ips,
    openapi,
    placement,
    quota_sets,
    versions,
    volume,
    volume_attachments,
    volume_misc,
    volume_version,
)
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.openapi import SERVICES
from spawner.api.requests import IDENTITY, MICROVERSION, REQUEST_ID, Handler
from spawner.errors import SpawnerError
from spawner.identity import NotAuthenticated
from spawner.page import app as page
from spawner.page.app import PREFIX
from spawner.page.lint import Lint, nothing
from spawner.revocation import believed

LOG = logging.getLogger(__name__)
BODY_LIMIT = 1024 * 1024
# What is told without a token: how to get one, and which versions there are.
OPEN_PATHS = frozenset({"/identity/v3/auth/tokens", openapi.PATH, metrics.PATH, *versions.PATHS})


def make_app(cloud: Cloud, lint: Lint = nothing) -> web.Application:
    """The application, with the page below /page.

    Image uploads are streamed and have their own limit; other bodies have 1 MiB.
    """
    app = web.Application(middlewares=[_make_middleware(cloud)], client_max_size=BODY_LIMIT)
    for service in (
        versions,
        identity,
        identity_projects,
        identity_users,
        identity_roles,
        application_credentials,
        compute_servers,
        compute_server_metadata,
        compute_server_history,
        compute_flavors,
        compute_keypairs,
        compute_misc,
        compute_usage,
        image,
        image_members,
        network,
        network_floating_ips,
        placement,
        metrics,
        interfaces,
        guest_access,
        volume,
        volume_version,
        volume_misc,
        cinder_attachments,
        quota_sets,
        volume_attachments,
    ):
        app.add_routes(service.routes(cloud))
    _add_document(app, cloud)
    app.add_subapp(PREFIX, page.make_app(cloud, lint))
    app.router.add_get("/", _to_page)
    return app


async def _to_page(_request: web.Request) -> web.Response:
    """A browser at the root is shown the page."""
    return web.Response(status=303, headers={"Location": f"{PREFIX}/servers"})


def _add_document(app: web.Application, cloud: Cloud) -> None:
    """Serve what the router holds as an OpenAPI document; it tells nothing that clients do not know."""
    content = msgspec.json.encode(
        openapi.document(openapi.routes_of(app), cloud.url, microversion.text(microversion.MAXIMUM))
    )

    async def show(_request: web.Request) -> web.Response:
        return web.Response(body=content, content_type="application/json")

    app.router.add_get(openapi.PATH, show)


def _make_middleware(cloud: Cloud):  # type: ignore[no-untyped-def]  # aiohttp's decorator gives the type
    @web.middleware
    async def common(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/" or request.path.startswith(f"{PREFIX}/"):
            return await handler(request)  # the page has sessions and faults of its own
        request[REQUEST_ID] = f"req-{cloud.new_id()}"
        service = request.path.strip("/").partition("/")[0]
        extra = {"x-openstack-request-id": request[REQUEST_ID], "x-compute-request-id": request[REQUEST_ID]}
        try:
            if service == "compute":
                request[MICROVERSION] = microversion.requested(request.headers)
                extra.update(microversion.headers_of(request[MICROVERSION]))
            await _authenticate(request, cloud)
            response = await handler(request)
        except Exception as error:  # noqa: BLE001  # the outermost edge: it becomes a fault of the service
            response = _answer(service, _fault_of(error, request), request[REQUEST_ID])
            if isinstance(error, web.HTTPMethodNotAllowed):
                response.headers["Allow"] = error.headers["Allow"]
        for name, value in extra.items():
            response.headers.setdefault(name, value)
        return response

    return common


def _fault_of(error: Exception, request: web.Request) -> Fault:
    """The fault that an exception is to a client; a bug is a 500 with a request id and nothing else."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, web.HTTPException):
        return Fault(error.status, error.reason)
    if isinstance(error, SpawnerError):
        fault = faults.fault_of(error)
        if fault.code < 500:
            return fault
    LOG.error("%s", request[REQUEST_ID], exc_info=error)
    return Fault(500, f"Unexpected API Error. The log has the reason under {request[REQUEST_ID]}.")


async def _authenticate(request: web.Request, cloud: Cloud) -> None:
    """Set the caller's identity where a token is given; a missing one matters only to routes that need it."""
    token = request.headers.get("X-Auth-Token", "")
    if token:
        request[IDENTITY] = await believed(cloud.store, cloud.tokens, token)
        return
    if request.path not in OPEN_PATHS:
        if request.path.strip("/").partition("/")[0] not in SERVICES:
            raise Fault(404, "The resource could not be found.")
        raise NotAuthenticated


def _answer(service: str, fault: Fault, request_id: str) -> web.Response:
    how = 'Basic realm="guestling"' if service == "metrics" else "Keystone uri='/identity'"
    headers = {**fault.headers, **({"WWW-Authenticate": how} if fault.code == 401 else {})}
    return web.json_response(faults.body(service, fault, request_id), status=fault.code, headers=headers)
