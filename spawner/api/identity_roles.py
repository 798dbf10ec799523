"""Keystone v3: the three roles, and who has which in which project."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import revocation
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY, answer, may, needs
from spawner.errors import NotFound
from spawner.identity import DOMAIN, ROLE_ORDER, implied
from spawner.store.tables import PROJECTS, ROLES, USERS

GRANT = "/identity/v3/projects/{id}/users/{user}/roles/{role}"


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of roles."""
    service = _Roles(cloud)
    read, manage = needs("identity:read"), needs("identity:manage")
    base = "/identity/v3"
    return [
        web.get(f"{base}/roles", read(service.listed)),
        web.get(f"{base}/roles/{{role}}", read(service.show)),
        web.get(f"{base}/role_assignments", read(service.assignments)),
        web.get(GRANT.rpartition("/")[0], manage(service.of_user)),
        web.get(GRANT, manage(service.check), allow_head=True),
        web.put(GRANT, manage(service.grant)),
        web.delete(GRANT, manage(service.take)),
    ]


class _Roles:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def _view(self, role: str) -> dict[str, Any]:
        return {
            "id": role,
            "name": role,
            "domain_id": None,
            "description": None,
            "options": {},
            "links": {"self": f"{self._cloud.url}/identity/v3/roles/{role}"},
        }

    async def listed(self, request: web.Request) -> web.Response:
        wanted = request.query.get("name")
        # Roles of a domain are others than these.
        names = () if "domain_id" in request.query else ROLE_ORDER
        return answer({"roles": [self._view(role) for role in names if wanted in {None, role}], "links": {}})

    async def show(self, request: web.Request) -> web.Response:
        return answer({"role": self._view(_role(request))})

    # --- one grant --------------------------------------------------------------------------------------

    async def _grant(self, connection: AsyncConnection, request: web.Request) -> tuple[str, str]:
        """User and project of the path. Raises NotFound."""
        for what, table, name in (("Project", PROJECTS, "id"), ("User", USERS, "user")):
            wanted = request.match_info[name]
            if (await connection.execute(select(table.c.id).where(table.c.id == wanted))).first() is None:
                raise NotFound(what, wanted)
        return request.match_info["user"], request.match_info["id"]

    async def _roles(self, connection: AsyncConnection, user_id: str, project_id: str) -> list[str]:
        query = select(ROLES.c.role).where(ROLES.c.user_id == user_id, ROLES.c.project_id == project_id)
        return sorted((await connection.execute(query)).scalars())

    async def of_user(self, request: web.Request) -> web.Response:
        async with self._cloud.store.read() as connection:
            found = await self._roles(connection, *await self._grant(connection, request))
        return answer({"roles": [self._view(role) for role in found], "links": {}})

    async def check(self, request: web.Request) -> web.Response:
        role = _role(request)
        async with self._cloud.store.read() as connection:
            found = await self._roles(connection, *await self._grant(connection, request))
        if role not in found:
            raise NotFound("Role assignment", role)
        return web.Response(status=204)

    async def grant(self, request: web.Request) -> web.Response:
        role = _role(request)
        async with self._cloud.store.write() as connection:
            user_id, project_id = await self._grant(connection, request)
            if role not in await self._roles(connection, user_id, project_id):
                await connection.execute(
                    insert(ROLES).values(user_id=user_id, project_id=project_id, role=role)
                )
        return web.Response(status=204)

    async def take(self, request: web.Request) -> web.Response:
        """What tokens say of roles is void at once: they hold the roles of when they were issued."""
        role = _role(request)
        async with self._cloud.store.write() as connection:
            user_id, project_id = await self._grant(connection, request)
            if user_id == request[IDENTITY].user_id and role == "admin":
                raise Fault(403, "Your own role admin cannot be removed: another admin can do that.")
            done = await connection.execute(
                delete(ROLES).where(
                    ROLES.c.user_id == user_id, ROLES.c.project_id == project_id, ROLES.c.role == role
                )
            )
            if done.rowcount == 0:
                raise NotFound("Role assignment", role)
            key = revocation.of_grant(user_id, project_id)
            await revocation.revoke(connection, key, self._cloud.clock())
        return web.Response(status=204)

    # --- all grants -------------------------------------------------------------------------------------

    async def assignments(self, request: web.Request) -> web.Response:
        """Who has which role where; all for admins, their own for others."""
        query = select(ROLES, USERS.c.name.label("user_name"), PROJECTS.c.name.label("project_name"))
        query = query.join(USERS, USERS.c.id == ROLES.c.user_id)
        query = query.join(PROJECTS, PROJECTS.c.id == ROLES.c.project_id)
        query = query.order_by(PROJECTS.c.name, USERS.c.name, ROLES.c.role)
        wanted = request.query
        if not may(request, "identity:list-all"):
            query = query.where(ROLES.c.user_id == request[IDENTITY].user_id)
        for name, column in (("user.id", ROLES.c.user_id), ("scope.project.id", ROLES.c.project_id)):
            if name in wanted:
                query = query.where(column == wanted[name])
        if {"group.id", "scope.system", "scope.domain.id"} & set(wanted):
            return answer({"role_assignments": [], "links": {}})
        async with self._cloud.store.read() as connection:
            rows = (await connection.execute(query)).all()
        found = [
            _assignment(row, role, named=_is_asked(request, "include_names"))
            for row in rows
            for role in (implied(frozenset({row.role})) if _is_asked(request, "effective") else (row.role,))
            if wanted.get("role.id", role) == role
        ]
        return answer({"role_assignments": found, "links": {}})


def _is_asked(request: web.Request, flag: str) -> bool:
    """Keystone's flags count as set when they are there, unless they say no."""
    return request.query.get(flag, "0").lower() not in {"0", "false", "no"}


def _role(request: web.Request) -> str:
    wanted = request.match_info["role"]
    if wanted not in ROLE_ORDER:
        raise NotFound("Role", wanted)
    return wanted


def _assignment(row: Any, role: str, *, named: bool) -> dict[str, Any]:
    user: dict[str, Any] = {"id": row.user_id}
    project: dict[str, Any] = {"id": row.project_id}
    kind: dict[str, Any] = {"id": role}
    if named:
        user.update(name=row.user_name, domain=DOMAIN)
        project.update(name=row.project_name, domain=DOMAIN)
        kind["name"] = role
    return {"role": kind, "user": user, "scope": {"project": project}, "links": {}}
