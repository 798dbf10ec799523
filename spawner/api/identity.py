"""Keystone v3: tokens, and what there is to use them for: catalogue, regions, domains."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import identity as people
from spawner import revocation
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY, answer, iso, link, needs, takes
from spawner.errors import NotFound
from spawner.identity import DOMAIN, Identity
from spawner.store.tables import APPLICATION_CREDENTIALS, USERS


class _Domain(msgspec.Struct):
    id: str | None = None
    name: str | None = None


class _Project(msgspec.Struct):
    id: str | None = None
    name: str | None = None
    domain: _Domain | None = None


class _User(msgspec.Struct):
    id: str | None = None
    name: str | None = None
    domain: _Domain | None = None
    password: str = ""


class _Password(msgspec.Struct):
    user: _User


class _Token(msgspec.Struct):
    id: str


class _Credential(msgspec.Struct):
    secret: str
    id: str | None = None
    name: str | None = None
    user: _User | None = None


class _Methods(msgspec.Struct):
    methods: list[str]
    password: _Password | None = None
    token: _Token | None = None
    application_credential: _Credential | None = None


class _Scope(msgspec.Struct):
    project: _Project | None = None


class _Auth(msgspec.Struct):
    identity: _Methods
    scope: _Scope | str | None = None


class _AuthBody(msgspec.Struct):
    auth: _Auth


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of Keystone."""
    service = _Identity(cloud)
    base = "/identity/v3"
    return [
        web.post(f"{base}/auth/tokens", service.issue),
        web.get(f"{base}/auth/tokens", service.validate, allow_head=True),
        web.delete(f"{base}/auth/tokens", service.revoke),
        web.get(f"{base}/auth/catalog", service.catalog),
        web.get(f"{base}/domains", needs("identity:read")(service.domains)),
        web.get(f"{base}/domains/{{id}}", needs("identity:read")(service.domain)),
        web.get(f"{base}/services", needs("identity:read")(service.services)),
        web.get(f"{base}/endpoints", needs("identity:read")(service.endpoints)),
        web.get(f"{base}/regions", needs("identity:read")(service.regions)),
        web.get(f"{base}/regions/{{id}}", needs("identity:read")(service.region)),
    ]


CATALOG = (
    ("identity", "keystone", "/identity/v3"),
    ("compute", "nova", "/compute/v2.1"),
    ("image", "glance", "/image"),
    ("network", "neutron", "/network"),
    ("placement", "placement", "/placement"),
    ("block-storage", "cinder", "/volume/v3"),
)


def catalog(cloud: Cloud) -> list[dict[str, Any]]:
    """The service catalogue: ids are stable, because clients cache them."""
    return [
        {
            "type": kind,
            "name": name,
            "id": f"{kind}-service",
            "endpoints": [
                {
                    "id": f"{kind}-{interface}",
                    "interface": interface,
                    "region": cloud.region,
                    "region_id": cloud.region,
                    "url": f"{cloud.url}{path}",
                }
                for interface in ("public", "internal", "admin")
            ],
        }
        for kind, name, path in CATALOG
    ]


class _Identity:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    @takes(_AuthBody)
    async def issue(self, request: web.Request, form: _AuthBody) -> web.Response:
        auth = form.auth
        async with self._cloud.store.read() as connection:
            identity = await self._prove(connection, auth, request.remote or "")
        token = self._cloud.tokens.mint(identity)
        no_catalog = "nocatalog" in request.query
        return answer(
            self._token(identity, no_catalog), 201, {"X-Subject-Token": token, "Vary": "X-Auth-Token"}
        )

    async def _prove(self, connection: AsyncConnection, auth: _Auth, address: str) -> Identity:
        scope = auth.scope.project if isinstance(auth.scope, _Scope) else None
        project = (scope.id or scope.name) if scope else None
        is_id = bool(scope and scope.id)
        now = self._cloud.clock()
        if auth.identity.password is not None:
            user = auth.identity.password.user
            with self._cloud.sign_ins.attempt(address, user.id or user.name or "", now):
                return await people.by_password(
                    connection,
                    user=user.id or user.name or "",
                    user_is_id=user.id is not None,
                    password=user.password,
                    project=project,
                    project_is_id=is_id,
                    now=now,
                )
        if auth.identity.application_credential is not None:
            credential = auth.identity.application_credential
            credential_id = credential.id or await self._credential_id(connection, credential)
            with self._cloud.sign_ins.attempt(address, credential_id, now):
                return await people.by_application_credential(
                    connection, credential_id, credential.secret, now
                )
        if auth.identity.token is not None:
            token = auth.identity.token.id
            identity = await revocation.believed(self._cloud.store, self._cloud.tokens, token)
            return await people.rescoped(connection, identity, project, project_is_id=is_id, now=now)
        methods = ", ".join(auth.identity.methods)
        raise Fault(
            400, f"No credentials for the methods {methods}. Use password, token or application_credential."
        )

    async def _credential_id(self, connection: AsyncConnection, credential: _Credential) -> str:
        user = credential.user or _User()
        query = select(APPLICATION_CREDENTIALS.c.id).join(
            USERS, USERS.c.id == APPLICATION_CREDENTIALS.c.user_id
        )
        query = query.where(
            APPLICATION_CREDENTIALS.c.name == credential.name,
            USERS.c.id == user.id if user.id else USERS.c.name == user.name,
        )
        return str((await connection.execute(query)).scalar() or "")

    def _token(self, identity: Identity, no_catalog: bool) -> dict[str, Any]:
        document: dict[str, Any] = {
            "methods": list(identity.methods),
            "user": {
                "id": identity.user_id,
                "name": identity.user_name,
                "domain": DOMAIN,
                "password_expires_at": None,
            },
            "project": {"id": identity.project_id, "name": identity.project_name, "domain": DOMAIN},
            "is_domain": False,
            "roles": [{"id": role, "name": role} for role in identity.roles],
            "issued_at": iso(identity.issued_at, micro=True) + "Z",  # type: ignore[operator]  # a time is given
            "expires_at": iso(identity.expires_at, micro=True) + "Z",  # type: ignore[operator]
            "audit_ids": [],
        }
        if not no_catalog:
            document["catalog"] = catalog(self._cloud)
        return {"token": document}

    async def _subject(self, request: web.Request, action: str) -> tuple[str, Identity]:
        """The token that a request is about: the caller's own user's, or anybody's for an admin."""
        subject = request.headers.get("X-Subject-Token", "")
        try:
            identity = await revocation.believed(self._cloud.store, self._cloud.tokens, subject)
        except people.NotAuthenticated:
            raise Fault(404, "Could not find token.") from None
        own = request[IDENTITY]
        if identity.user_id != own.user_id and not own.is_admin:
            raise Fault(403, f"You are not authorized to perform the requested action: identity:{action}.")
        return subject, identity

    async def revoke(self, request: web.Request) -> web.Response:
        """From now on this token is worth nothing, until it would have expired and after restarts too."""
        subject, _identity = await self._subject(request, "revoke_token")
        async with self._cloud.store.write() as connection:
            await revocation.revoke(connection, revocation.of_token(subject), self._cloud.clock())
        return web.Response(status=204)

    async def validate(self, request: web.Request) -> web.Response:
        subject, identity = await self._subject(request, "validate_token")
        return answer(
            self._token(identity, "nocatalog" in request.query), headers={"X-Subject-Token": subject}
        )

    async def catalog(self, _request: web.Request) -> web.Response:
        return answer({"catalog": catalog(self._cloud), "links": {"self": None}})

    async def domains(self, _request: web.Request) -> web.Response:
        return answer({"domains": [self._domain()], "links": {}})

    async def domain(self, request: web.Request) -> web.Response:
        if request.match_info["id"] != DOMAIN["id"]:
            raise NotFound("Domain", request.match_info["id"])
        return answer({"domain": self._domain()})

    def _domain(self) -> dict[str, Any]:
        return {
            **DOMAIN,
            "enabled": True,
            "description": "The default domain",
            "options": {},
            "links": {"self": link(f"{self._cloud.url}/identity/v3/domains/default")["href"]},
        }

    async def services(self, _request: web.Request) -> web.Response:
        rows = [
            {
                "id": entry["id"],
                "name": entry["name"],
                "type": entry["type"],
                "description": "",
                "enabled": True,
                "links": {},
            }
            for entry in catalog(self._cloud)
        ]
        return answer({"services": rows, "links": {}})

    async def endpoints(self, _request: web.Request) -> web.Response:
        rows = [
            {**endpoint, "service_id": entry["id"], "enabled": True, "links": {}}
            for entry in catalog(self._cloud)
            for endpoint in entry["endpoints"]
        ]
        return answer({"endpoints": rows, "links": {}})

    async def regions(self, _request: web.Request) -> web.Response:
        return answer({"regions": [self._region()], "links": {}})

    async def region(self, request: web.Request) -> web.Response:
        if request.match_info["id"] != self._cloud.region:
            raise NotFound("Region", request.match_info["id"])
        return answer({"region": self._region()})

    def _region(self) -> dict[str, Any]:
        return {"id": self._cloud.region, "description": "", "parent_region_id": None, "links": {}}
