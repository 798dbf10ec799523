"""Our API as an OpenAPI 3.1 document, made from the route table: what is served cannot differ from it.

Paths and methods are those of the application's router, bodies those that handlers declare (requests.takes),
roles those that they need (requests.needs). Faults have each service's own form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from aiohttp import web

from spawner.api import microversion, server_actions
from spawner.api.requests import BODY_FORM, RULE

PATH = "/openapi.json"
SERVICES = ("identity", "compute", "image", "network", "placement", "volume")
_ACTION_PATH = "/compute/v2.1/servers/{id}/action"
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_REF = "#/components/schemas/{name}"
_TEXT = {"type": "string"}


def _object(**properties: object) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


# Service -> the schema of its faults.
FAULTS: dict[str, dict[str, Any]] = {
    "identity": _object(error=_object(code={"type": "integer"}, message=_TEXT, title=_TEXT)),
    "compute": {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": _object(code={"type": "integer"}, message=_TEXT),
    },
    "volume": {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": _object(code={"type": "integer"}, message=_TEXT),
    },
    "image": _object(message=_TEXT, code=_TEXT, title=_TEXT),
    "network": _object(NeutronError=_object(type=_TEXT, message=_TEXT, detail=_TEXT)),
    "placement": _object(
        errors={"type": "array", "items": _object(status={"type": "integer"}, detail=_TEXT, request_id=_TEXT)}
    ),
}
# Bodies that handlers read by themselves: (method, path) -> media type and schema.
_OTHER_BODIES: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("PUT", "/image/v2/images/{id}/file"): (
        "application/octet-stream",
        {"type": "string", "format": "binary"},
    ),
    ("POST", "/image/v2/images"): ("application/json", {"$ref": _REF.format(name="NewImage")}),
    ("PATCH", "/image/v2/images/{id}"): (
        "application/json-patch+json",
        {"type": "array", "items": {"$ref": _REF.format(name="ImageChange")}},
    ),
}
_OTHER_SCHEMAS: dict[str, dict[str, Any]] = {
    "NewImage": {
        "type": "object",
        "properties": {
            "name": {"type": ["string", "null"]},
            "disk_format": {"type": ["string", "null"]},
            "container_format": {"type": ["string", "null"]},
            "visibility": {"enum": ["private", "shared", "community", "public"]},
            "protected": {"type": "boolean"},
            "min_disk": {"type": "integer", "minimum": 0},
            "min_ram": {"type": "integer", "minimum": 0},
            "tags": {"type": "array", "items": _TEXT},
        },
        "additionalProperties": True,
    },
    "ImageChange": {
        "type": "object",
        "properties": {"op": {"enum": ["add", "replace", "remove"]}, "path": _TEXT, "value": {}},
        "required": ["op", "path"],
    },
}


def document(routes: Iterable[tuple[str, str, object]], url: str, version: str) -> dict[str, Any]:
    """The document of a route table: method, path with `{name}` parts, handler."""
    table = sorted(_served(routes), key=lambda route: (route[1], route[0]))
    bodies, schemas = _bodies(table)
    paths: dict[str, dict[str, Any]] = {}
    for method, path, handler in table:
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, handler, bodies)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "guestling: the OpenStack APIs of a small cloud",
            "version": version,
            "description": "Keystone v3, Nova v2.1 (microversions "
            f"{microversion.text(microversion.MINIMUM)} to {microversion.text(microversion.MAXIMUM)}), "
            "Glance v2, Neutron v2.0, Placement. Sign in with POST /identity/v3/auth/tokens.",
        },
        "servers": [{"url": url}],
        "paths": paths,
        "components": {
            "schemas": {**schemas, **_OTHER_SCHEMAS, **{f"Fault-{name}": FAULTS[name] for name in FAULTS}},
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
        },
    }


def routes_of(app: web.Application) -> Iterator[tuple[str, str, object]]:
    """The route table of an application."""
    for resource in app.router.resources():
        for route in resource:
            yield route.method, resource.canonical, route.handler


def _served(routes: Iterable[tuple[str, str, object]]) -> Iterator[tuple[str, str, object]]:
    """Routes of the services; one that differs by a final slash alone is left out."""
    for method, path, handler in routes:
        if method in _METHODS and path.strip("/").partition("/")[0] in SERVICES and not path.endswith("/"):
            yield method, path, handler


def _bodies(table: list[tuple[str, str, object]]) -> tuple[dict[int, Any], dict[str, Any]]:
    """Handler -> schema of its body, and the schemas that those refer to."""
    forms = {id(handler): form for _m, _p, handler in table if (form := getattr(handler, BODY_FORM, None))}
    actions = server_actions.FORMS
    found, schemas = msgspec.json.schema_components([*forms.values(), *actions.values()], ref_template=_REF)
    by_action = dict(zip(actions, found[len(forms) :], strict=True))
    schemas["ServerAction"] = {
        "oneOf": [
            {"type": "object", "properties": {name: by_action.get(name, {})}, "required": [name]}
            for name in server_actions.NAMES
        ]
    }
    return dict(zip(forms, found, strict=False)), schemas


def _operation(method: str, path: str, handler: object, bodies: Mapping[int, Any]) -> dict[str, Any]:
    service = path.strip("/").partition("/")[0]
    rule = getattr(handler, RULE, None)
    operation: dict[str, Any] = {
        "operationId": f"{method.lower()}-{re.sub(r'[^a-z0-9]+', '-', path.lower()).strip('-')}",
        "tags": [service],
        "responses": _responses(service),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in re.findall(r"{(\w+)}", path)
        ],
    }
    if rule is not None:
        operation["security"] = [{"token": []}]
        operation["x-policy"] = rule
    if service == "compute":
        operation["parameters"].append(
            {"name": microversion.NEW_HEADER, "in": "header", "required": False, "schema": _TEXT}
        )
    media_type, schema = _OTHER_BODIES.get((method, path), ("application/json", bodies.get(id(handler))))
    if path == _ACTION_PATH:
        schema = {"$ref": _REF.format(name="ServerAction")}
    if schema is not None:
        operation["requestBody"] = {"required": True, "content": {media_type: {"schema": schema}}}
    return operation


def _responses(service: str) -> dict[str, Any]:
    """What may come back: success, and faults in the service's form; 5xx is never in order."""
    fault = {"application/json": {"schema": {"$ref": _REF.format(name=f"Fault-{service}")}}}
    return {
        "2XX": {"description": "Done, or accepted"},
        "300": {"description": "A choice of versions"},
        "4XX": {"description": "A fault; nothing was done", "content": fault},
    }
