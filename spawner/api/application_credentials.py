"""Keystone v3: application credentials, secrets of a user's for one project."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from aiohttp import web
from sqlalchemy import select

from spawner import identity as people
from spawner import revocation
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY, answer, iso, needs, takes
from spawner.errors import NotFound
from spawner.identity import Identity
from spawner.store.tables import APPLICATION_CREDENTIALS


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
    """The routes of application credentials."""
    service = _Credentials(cloud)
    base = "/identity/v3"
    return [
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


class _Credentials:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

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
        """Its tokens go with it, as with Keystone: whoever stole it is out at once."""
        self._refuse_credentials(request[IDENTITY])
        user_id, wanted = self._own(request), request.match_info["credential"]
        async with self._cloud.store.write() as connection:
            gone = await connection.execute(
                APPLICATION_CREDENTIALS.delete().where(
                    APPLICATION_CREDENTIALS.c.id == wanted, APPLICATION_CREDENTIALS.c.user_id == user_id
                )
            )
            if gone.rowcount:
                await revocation.revoke(connection, revocation.of_credential(wanted), self._cloud.clock())
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
