"""Faults as each service words them. A handler raises `Fault`; the middleware gives it the service's body."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from spawner.errors import Conflict, FloatingIpRefused, InvalidSpec, NotEnough, NotFound, SpawnerError
from spawner.identity import NotAuthenticated
from spawner.images import ImageRefused
from spawner.sign_ins import TooManyAttempts

# As nova.api.openstack.wsgi.Fault has them; every other status, 406 among them, is a `computeFault`.
_COMPUTE_NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}
_NEUTRON_TYPES = {
    400: "BadRequest",
    401: "HTTPUnauthorized",
    403: "PolicyNotAuthorized",
    404: "NotFound",
    409: "Conflict",
}


class Fault(Exception):
    """An answer that is an error: HTTP status, the words for the client, Neutron's type, headers."""

    def __init__(
        self,
        code: int,
        message: str,
        kind: str = "",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.kind = kind
        self.headers = headers


def fault_of(error: SpawnerError) -> Fault:
    """The fault that an error of the spawner is to a client."""
    if isinstance(error, NotFound):
        kind = str(error).partition(" ")[0] + "NotFound"
        return Fault(404, str(error), kind)
    if isinstance(error, (Conflict, NotEnough)):
        return Fault(409, str(error))
    if isinstance(error, NotAuthenticated):
        return Fault(401, str(error))
    if isinstance(error, TooManyAttempts):
        return Fault(429, str(error), headers={"Retry-After": str(error.retry_after_s)})
    if isinstance(error, (InvalidSpec, ImageRefused, FloatingIpRefused)):
        return Fault(400, str(error))
    return Fault(500, "The request failed. The log of the service has the reason under this request id.")


def body(service: str, fault: Fault, request_id: str) -> dict[str, Any]:
    """The JSON body of a fault in the form of a service."""
    title = HTTPStatus(fault.code).phrase
    if service == "network":
        kind = fault.kind or _NEUTRON_TYPES.get(fault.code, "NeutronException")
        return {"NeutronError": {"type": kind, "message": fault.message, "detail": ""}}
    if service == "identity":
        return {"error": {"code": fault.code, "message": fault.message, "title": title}}
    if service == "placement":
        detail = {"status": fault.code, "title": title, "detail": fault.message, "request_id": request_id}
        return {"errors": [detail]}
    if service == "image":
        return {"message": fault.message, "code": f"{fault.code} {title}", "title": title}
    name = _COMPUTE_NAMES.get(fault.code, "computeFault")
    return {name: {"code": fault.code, "message": fault.message}}
