"""Keystone v3: users. Admins make, change and delete them; everybody else sees and re-keys themselves."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from aiohttp import web
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import identity as people
from spawner import revocation
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY, answer, may, needs, takes, truth
from spawner.errors import NotFound
from spawner.identity import DOMAIN, NotAuthenticated
from spawner.store.tables import PROJECTS, USER_DETAILS, USERS

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Password = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]


class _User(msgspec.Struct):
    name: Name
    password: Password | None = None
    default_project_id: str | None = None
    description: str | None = None
    email: Annotated[str, msgspec.Meta(max_length=255)] | None = None
    enabled: bool = True
    domain_id: str | None = None


class _NewUser(msgspec.Struct):
    user: _User


class _Changes(msgspec.Struct):
    name: Name | None = None
    password: Password | None = None
    default_project_id: str | None = None
    description: str | None = None
    email: Annotated[str, msgspec.Meta(max_length=255)] | None = None
    enabled: bool | None = None


class _ChangeUser(msgspec.Struct):
    user: _Changes


class _Passwords(msgspec.Struct):
    password: Password
    original_password: str


class _ChangePassword(msgspec.Struct):
    user: _Passwords


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of users."""
    service = _Users(cloud)
    read, manage = needs("identity:read"), needs("identity:manage")
    base = "/identity/v3/users"
    return [
        web.get(base, read(service.listed)),
        web.post(base, manage(service.create)),
        web.get(f"{base}/{{id}}", read(service.show)),
        web.patch(f"{base}/{{id}}", manage(service.change)),
        web.delete(f"{base}/{{id}}", manage(service.delete)),
        web.post(f"{base}/{{id}}/password", needs("identity:password")(service.change_password)),
    ]


_ROWS = select(USERS, USER_DETAILS.c.description, USER_DETAILS.c.email).join(
    USER_DETAILS, USER_DETAILS.c.user_id == USERS.c.id, isouter=True
)


class _Users:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def listed(self, request: web.Request) -> web.Response:
        query = _ROWS.order_by(USERS.c.name)
        if not may(request, "identity:list-all"):
            query = query.where(USERS.c.id == request[IDENTITY].user_id)
        if "name" in request.query:
            query = query.where(USERS.c.name == request.query["name"])
        if "enabled" in request.query:
            query = query.where(USERS.c.enabled == truth(request.query["enabled"]))
        if request.query.get("domain_id", DOMAIN["id"]) != DOMAIN["id"]:
            return answer({"users": [], "links": {}})
        async with self._cloud.store.read() as connection:
            rows = (await connection.execute(query)).all()
        return answer({"users": [self._view(row) for row in rows], "links": {}})

    async def _get(self, connection: AsyncConnection, request: web.Request) -> Any:
        wanted = request.match_info["id"]
        row = (await connection.execute(_ROWS.where(USERS.c.id == wanted))).first()
        if row is None or (row.id != request[IDENTITY].user_id and not may(request, "identity:list-all")):
            raise NotFound("User", wanted)
        return row

    async def show(self, request: web.Request) -> web.Response:
        async with self._cloud.store.read() as connection:
            return answer({"user": self._view(await self._get(connection, request))})

    @takes(_NewUser)
    async def create(self, _request: web.Request, form: _NewUser) -> web.Response:
        wish, now = form.user, self._cloud.clock()
        if wish.domain_id not in {None, DOMAIN["id"]}:
            raise Fault(400, "There is one domain here, default.")
        user_id = self._cloud.new_id().replace("-", "")
        # A user without a password cannot sign in: nobody knows these bytes.
        password = wish.password or self._cloud.random(32).hex()
        async with self._cloud.store.write() as connection:
            await _check_name(connection, wish.name)
            await _check_project(connection, wish.default_project_id)
            await people.add_user(
                connection,
                user_id,
                wish.name,
                password,
                self._cloud.random(people.SALT_BYTES),
                wish.default_project_id,
                now,
            )
            await connection.execute(update(USERS).where(USERS.c.id == user_id).values(enabled=wish.enabled))
            await _describe(connection, user_id, wish.description or "", wish.email)
            row = (await connection.execute(_ROWS.where(USERS.c.id == user_id))).one()
        return answer({"user": self._view(row)}, 201)

    @takes(_ChangeUser)
    async def change(self, request: web.Request, form: _ChangeUser) -> web.Response:
        wish, now = form.user, self._cloud.clock()
        async with self._cloud.store.write() as connection:
            row = await self._get(connection, request)
            if wish.name not in {None, row.name}:
                await _check_name(connection, str(wish.name))
            await _check_project(connection, wish.default_project_id)
            if wish.enabled is False:
                _refuse_own(request, row.id, "disabled")
            values = {
                name: value
                for name in ("name", "default_project_id", "enabled")
                if (value := getattr(wish, name)) is not None
            }
            if wish.password is not None:
                values["password_hash"] = self._hash(wish.password)
            if wish.password is not None or wish.enabled is False:
                await revocation.revoke(connection, revocation.of_user(row.id), now)
            await connection.execute(
                update(USERS).where(USERS.c.id == row.id).values(updated_at=now, **values)
            )
            description = row.description if wish.description is None else wish.description
            await _describe(
                connection, row.id, description or "", row.email if wish.email is None else wish.email
            )
        return await self.show(request)

    async def delete(self, request: web.Request) -> web.Response:
        async with self._cloud.store.write() as connection:
            row = await self._get(connection, request)
            _refuse_own(request, row.id, "deleted")
            await revocation.revoke(connection, revocation.of_user(row.id), self._cloud.clock())
            await connection.execute(delete(USERS).where(USERS.c.id == row.id))
        return web.Response(status=204)

    @takes(_ChangePassword)
    async def change_password(self, request: web.Request, form: _ChangePassword) -> web.Response:
        """A user's own, who must know the present one; every token from before is void then."""
        wish, now = form.user, self._cloud.clock()
        wanted = request.match_info["id"]
        if wanted != request[IDENTITY].user_id:
            raise NotFound("User", wanted)
        if people.APPLICATION_CREDENTIAL in request[IDENTITY].methods:
            raise Fault(403, "A password is not changed with an application credential.")
        async with self._cloud.store.write() as connection:
            row = await self._get(connection, request)
            with self._cloud.sign_ins.attempt(request.remote or "", row.id, now):
                if not people.is_secret(wish.original_password, row.password_hash):
                    raise NotAuthenticated
            if wish.original_password == wish.password:
                raise Fault(400, "The new password must not be the present one.")
            await connection.execute(
                update(USERS)
                .where(USERS.c.id == row.id)
                .values(updated_at=now, password_hash=self._hash(wish.password))
            )
            await revocation.revoke(connection, revocation.of_user(row.id), now)
        return web.Response(status=204)

    def _hash(self, password: str) -> str:
        return people.hash_secret(password, self._cloud.random(people.SALT_BYTES))

    def _view(self, row: Any) -> dict[str, Any]:
        return {
            "id": row.id,
            "name": row.name,
            "default_project_id": row.default_project_id,
            "domain_id": DOMAIN["id"],
            "enabled": row.enabled,
            "password_expires_at": None,
            "description": row.description or "",
            "email": row.email,
            "options": {},
            "links": {"self": f"{self._cloud.url}/identity/v3/users/{row.id}"},
        }


async def _describe(connection: AsyncConnection, user_id: str, description: str, email: str | None) -> None:
    await connection.execute(delete(USER_DETAILS).where(USER_DETAILS.c.user_id == user_id))
    await connection.execute(
        insert(USER_DETAILS).values(user_id=user_id, description=description, email=email)
    )


async def _check_name(connection: AsyncConnection, name: str) -> None:
    if (await connection.execute(select(USERS.c.id).where(USERS.c.name == name))).first() is not None:
        raise Fault(
            409, f"Conflict occurred attempting to store user - Duplicate entry found with name {name}."
        )


async def _check_project(connection: AsyncConnection, project_id: str | None) -> None:
    """Raise Fault 400 for a default project that is not there."""
    if project_id is not None:
        query = select(PROJECTS.c.id).where(PROJECTS.c.id == project_id)
        if (await connection.execute(query)).first() is None:
            raise Fault(
                400, f"Invalid input for field/attribute default_project_id: {project_id[:64]} is not there."
            )


def _refuse_own(request: web.Request, user_id: str, what: str) -> None:
    """Nobody saws off the branch that they sit on."""
    if user_id == request[IDENTITY].user_id:
        raise Fault(403, f"Your own user cannot be {what}: another admin can do that.")
