"""Keystone v3: tokens, the catalogue, projects, users, roles, application credentials."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from aiohttp import web
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import identity as people
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY, answer, iso, link, may, needs, takes
from spawner.errors import NotFound
from spawner.identity import DOMAIN, ROLE_ORDER, Identity
from spawner.store.tables import APPLICATION_CREDENTIALS, PROJECTS, ROLES, USERS


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


class _NewCredential(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    secret: str | None = None
    description: str | None = None
    expires_at: str | None = None
    roles: list[dict[str, Any]] | None = None
    unrestricted: bool = False
    access_rules: list[Any] | None = None


class _NewCredentialBody(msgspec.Struct):
    application_credential: _NewCredential


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of Keystone."""
    service = _Identity(cloud)
    base = "/identity/v3"
    return [
        web.post(f"{base}/auth/tokens", service.issue),
        web.get(f"{base}/auth/tokens", service.validate, allow_head=True),
        web.get(f"{base}/auth/catalog", service.catalog),
        web.get(f"{base}/auth/projects", service.own_projects),
        web.get(f"{base}/projects", needs("identity:read")(service.projects)),
        web.get(f"{base}/projects/{{id}}", needs("identity:read")(service.project)),
        web.get(f"{base}/users", needs("identity:read")(service.users)),
        web.get(f"{base}/users/{{id}}", needs("identity:read")(service.user)),
        web.get(f"{base}/users/{{id}}/projects", needs("identity:read")(service.own_projects)),
        web.get(f"{base}/roles", needs("identity:read")(service.roles)),
        web.get(f"{base}/domains", needs("identity:read")(service.domains)),
        web.get(f"{base}/domains/{{id}}", needs("identity:read")(service.domain)),
        web.get(f"{base}/services", needs("identity:read")(service.services)),
        web.get(f"{base}/endpoints", needs("identity:read")(service.endpoints)),
        web.get(f"{base}/users/{{id}}/application_credentials", needs("identity:read")(service.credentials)),
        web.post(
            f"{base}/users/{{id}}/application_credentials",
            needs("identity:application-credential")(service.add_credential),
        ),
        web.get(
            f"{base}/users/{{id}}/application_credentials/{{credential}}",
            needs("identity:read")(service.credential),
        ),
        web.delete(
            f"{base}/users/{{id}}/application_credentials/{{credential}}",
            needs("identity:application-credential")(service.remove_credential),
        ),
    ]


def _moment(text: str, now: float) -> float:
    """Seconds since 1970 of an ISO time, UTC where it names no zone. Raises Fault 400, also for the past."""
    try:
        moment = datetime.fromisoformat(text)
        found = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise Fault(
            400, "Invalid input for field/attribute expires_at: an ISO 8601 time is needed."
        ) from None
    if found <= now:
        raise Fault(400, "Invalid input for field/attribute expires_at: it is in the past.")
    return found


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
            identity = await self._prove(connection, auth)
        token = self._cloud.tokens.mint(identity)
        no_catalog = "nocatalog" in request.query
        return answer(
            self._token(identity, no_catalog), 201, {"X-Subject-Token": token, "Vary": "X-Auth-Token"}
        )

    async def _prove(self, connection: AsyncConnection, auth: _Auth) -> Identity:
        scope = auth.scope.project if isinstance(auth.scope, _Scope) else None
        project = (scope.id or scope.name) if scope else None
        is_id = bool(scope and scope.id)
        now = self._cloud.clock()
        if auth.identity.password is not None:
            user = auth.identity.password.user
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
            return await people.by_application_credential(connection, credential_id, credential.secret, now)
        if auth.identity.token is not None:
            identity = self._cloud.tokens.read(auth.identity.token.id)
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

    async def validate(self, request: web.Request) -> web.Response:
        subject = request.headers.get("X-Subject-Token", "")
        try:
            identity = self._cloud.tokens.read(subject)
        except people.NotAuthenticated:
            raise Fault(404, "Could not find token.") from None
        own = request[IDENTITY]
        if identity.user_id != own.user_id and not own.is_admin:
            raise Fault(
                403, "You are not authorized to perform the requested action: identity:validate_token."
            )
        return answer(
            self._token(identity, "nocatalog" in request.query), headers={"X-Subject-Token": subject}
        )

    async def catalog(self, _request: web.Request) -> web.Response:
        return answer({"catalog": catalog(self._cloud), "links": {"self": None}})

    async def own_projects(self, request: web.Request) -> web.Response:
        query = select(PROJECTS).join(ROLES, ROLES.c.project_id == PROJECTS.c.id)
        query = query.where(ROLES.c.user_id == request[IDENTITY].user_id).distinct()
        async with self._cloud.store.read() as connection:
            rows = (await connection.execute(query)).all()
        return answer({"projects": [self._project(row) for row in rows], "links": {}})

    async def projects(self, request: web.Request) -> web.Response:
        query = select(PROJECTS).order_by(PROJECTS.c.name)
        if not may(request, "identity:list-all"):
            query = query.where(PROJECTS.c.id == request[IDENTITY].project_id)
        if "name" in request.query:
            query = query.where(PROJECTS.c.name == request.query["name"])
        async with self._cloud.store.read() as connection:
            rows = (await connection.execute(query)).all()
        return answer({"projects": [self._project(row) for row in rows], "links": {}})

    async def project(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        async with self._cloud.store.read() as connection:
            row = (await connection.execute(select(PROJECTS).where(PROJECTS.c.id == wanted))).first()
        if row is None or (row.id != request[IDENTITY].project_id and not may(request, "identity:list-all")):
            raise NotFound("Project", wanted)
        return answer({"project": self._project(row)})

    def _project(self, row: Any) -> dict[str, Any]:
        return {
            "id": row.id,
            "name": row.name,
            "description": row.description,
            "enabled": row.enabled,
            "domain_id": DOMAIN["id"],
            "parent_id": DOMAIN["id"],
            "is_domain": False,
            "tags": [],
            "options": {},
            "links": {"self": f"{self._cloud.url}/identity/v3/projects/{row.id}"},
        }

    async def users(self, request: web.Request) -> web.Response:
        query = select(USERS).order_by(USERS.c.name)
        if not may(request, "identity:list-all"):
            query = query.where(USERS.c.id == request[IDENTITY].user_id)
        if "name" in request.query:
            query = query.where(USERS.c.name == request.query["name"])
        async with self._cloud.store.read() as connection:
            rows = (await connection.execute(query)).all()
        return answer({"users": [self._user(row) for row in rows], "links": {}})

    async def user(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        async with self._cloud.store.read() as connection:
            row = (await connection.execute(select(USERS).where(USERS.c.id == wanted))).first()
        if row is None or (row.id != request[IDENTITY].user_id and not may(request, "identity:list-all")):
            raise NotFound("User", wanted)
        return answer({"user": self._user(row)})

    def _user(self, row: Any) -> dict[str, Any]:
        return {
            "id": row.id,
            "name": row.name,
            "default_project_id": row.default_project_id,
            "domain_id": DOMAIN["id"],
            "enabled": row.enabled,
            "password_expires_at": None,
            "description": "",
            "email": None,
            "options": {},
            "links": {"self": f"{self._cloud.url}/identity/v3/users/{row.id}"},
        }

    async def roles(self, _request: web.Request) -> web.Response:
        roles: list[dict[str, Any]] = [
            {
                "id": role,
                "name": role,
                "domain_id": None,
                "description": None,
                "options": {},
                "links": {"self": f"{self._cloud.url}/identity/v3/roles/{role}"},
            }
            for role in ROLE_ORDER
        ]
        return answer({"roles": roles, "links": {}})

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

    # --- application credentials ------------------------------------------------------------------------

    def _own(self, request: web.Request) -> str:
        """The user of the path, who must be the caller."""
        if request.match_info["id"] != request[IDENTITY].user_id:
            raise NotFound("User", request.match_info["id"])
        return request[IDENTITY].user_id

    async def _credentials(self, user_id: str) -> list[Any]:
        query = select(APPLICATION_CREDENTIALS).where(APPLICATION_CREDENTIALS.c.user_id == user_id)
        async with self._cloud.store.read() as connection:
            return list((await connection.execute(query)).all())

    async def credentials(self, request: web.Request) -> web.Response:
        rows = await self._credentials(self._own(request))
        if "name" in request.query:
            rows = [row for row in rows if row.name == request.query["name"]]
        return answer({"application_credentials": [self._credential(row) for row in rows], "links": {}})

    async def credential(self, request: web.Request) -> web.Response:
        wanted = request.match_info["credential"]
        rows = [row for row in await self._credentials(self._own(request)) if row.id == wanted]
        if not rows:
            raise NotFound("Application Credential", wanted)
        return answer({"application_credential": self._credential(rows[0])})

    @takes(_NewCredentialBody)
    async def add_credential(self, request: web.Request, form: _NewCredentialBody) -> web.Response:
        self._own(request)
        wanted = form.application_credential
        identity = request[IDENTITY]
        self._refuse_credentials(identity)
        self._check_credential(wanted, identity)
        secret = wanted.secret or base64.urlsafe_b64encode(self._cloud.random(48)).decode()
        roles = tuple(str(role.get("name") or role.get("id")) for role in wanted.roles or ())
        credential_id = self._cloud.new_id().replace("-", "")
        if any(row.name == wanted.name for row in await self._credentials(identity.user_id)):
            raise Fault(409, f"Conflict occurred attempting to store application_credential - {wanted.name}")
        async with self._cloud.store.write() as connection:
            await people.add_application_credential(
                connection,
                identity,
                credential_id,
                wanted.name,
                secret,
                self._cloud.random(people.SALT_BYTES),
                roles or identity.roles,
                None if wanted.expires_at is None else _moment(wanted.expires_at, self._cloud.clock()),
                self._cloud.clock(),
                wanted.description or "",
            )
        (row,) = [row for row in await self._credentials(identity.user_id) if row.id == credential_id]
        # The one time that the secret is told.
        return answer({"application_credential": {**self._credential(row), "secret": secret}}, 201)

    @staticmethod
    def _refuse_credentials(identity: Identity) -> None:
        """Credentials do not beget credentials: a stolen one must not outlive its own deletion."""
        if people.APPLICATION_CREDENTIAL in identity.methods:
            raise Fault(
                403, "Application credentials are not made or deleted with an application credential."
            )

    @staticmethod
    def _check_credential(wanted: _NewCredential, identity: Identity) -> None:
        if wanted.unrestricted or wanted.access_rules:
            raise Fault(400, "Unrestricted application credentials and access rules are not possible here.")
        for role in wanted.roles or ():
            name = str(role.get("name") or role.get("id"))
            if name not in identity.roles:
                text = (
                    f"Invalid application credential: Could not find role assignment with role: {name[:64]}"
                )
                raise Fault(400, text)

    async def remove_credential(self, request: web.Request) -> web.Response:
        self._refuse_credentials(request[IDENTITY])
        user_id, wanted = self._own(request), request.match_info["credential"]
        async with self._cloud.store.write() as connection:
            gone = await connection.execute(
                APPLICATION_CREDENTIALS.delete().where(
                    APPLICATION_CREDENTIALS.c.id == wanted, APPLICATION_CREDENTIALS.c.user_id == user_id
                )
            )
        if gone.rowcount == 0:
            raise NotFound("Application Credential", wanted)
        return web.Response(status=204)

    def _credential(self, row: Any) -> dict[str, Any]:
        return {
            "id": row.id,
            "name": row.name,
            "description": row.description,
            "project_id": row.project_id,
            "user_id": row.user_id,
            "roles": [{"id": role, "name": role} for role in row.roles],
            "expires_at": None if row.expires_at is None else (iso(row.expires_at, micro=True) or "") + "Z",
            "unrestricted": False,
            "system": None,
            "links": {},
        }
