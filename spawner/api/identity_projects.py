"""Keystone v3: projects. Admins make, change and delete them; everybody else sees the one they are in."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from aiohttp import web
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import revocation
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY, answer, may, needs, takes, truth
from spawner.errors import NotFound
from spawner.identity import DOMAIN
from spawner.store.tables import IMAGES, PROJECTS, ROLES, SERVERS, VOLUMES

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class _Project(msgspec.Struct):
    """What a client may say of a project; there is one domain, and projects do not nest."""

    name: Name
    description: str | None = None
    enabled: bool = True
    domain_id: str | None = None
    parent_id: str | None = None
    is_domain: bool = False


class _NewProject(msgspec.Struct):
    project: _Project


class _Changes(msgspec.Struct):
    name: Name | None = None
    description: str | None = None
    enabled: bool | None = None
    domain_id: str | None = None


class _ChangeProject(msgspec.Struct):
    project: _Changes


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of projects."""
    service = _Projects(cloud)
    read, manage = needs("identity:read"), needs("identity:manage")
    base = "/identity/v3"
    return [
        web.get(f"{base}/auth/projects", service.own_projects),
        web.get(f"{base}/users/{{id}}/projects", read(service.projects_of_user)),
        web.get(f"{base}/projects", read(service.listed)),
        web.post(f"{base}/projects", manage(service.create)),
        web.get(f"{base}/projects/{{id}}", read(service.show)),
        web.patch(f"{base}/projects/{{id}}", manage(service.change)),
        web.delete(f"{base}/projects/{{id}}", manage(service.delete)),
    ]


class _Projects:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def _of(self, user_id: str) -> web.Response:
        query = select(PROJECTS).join(ROLES, ROLES.c.project_id == PROJECTS.c.id)
        query = query.where(ROLES.c.user_id == user_id).distinct().order_by(PROJECTS.c.name)
        async with self._cloud.store.read() as connection:
            rows = (await connection.execute(query)).all()
        return answer({"projects": [self._view(row) for row in rows], "links": {}})

    async def own_projects(self, request: web.Request) -> web.Response:
        return await self._of(request[IDENTITY].user_id)

    async def projects_of_user(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        if wanted != request[IDENTITY].user_id and not may(request, "identity:list-all"):
            raise NotFound("User", wanted)
        return await self._of(wanted)

    async def listed(self, request: web.Request) -> web.Response:
        query = select(PROJECTS).order_by(PROJECTS.c.name)
        if not may(request, "identity:list-all"):
            query = query.where(PROJECTS.c.id == request[IDENTITY].project_id)
        if "name" in request.query:
            query = query.where(PROJECTS.c.name == request.query["name"])
        if "enabled" in request.query:
            query = query.where(PROJECTS.c.enabled == truth(request.query["enabled"]))
        if request.query.get("domain_id", DOMAIN["id"]) != DOMAIN["id"] or "tags" in request.query:
            return answer({"projects": [], "links": {}})
        async with self._cloud.store.read() as connection:
            rows = (await connection.execute(query)).all()
        return answer({"projects": [self._view(row) for row in rows], "links": {}})

    async def _get(self, connection: AsyncConnection, request: web.Request) -> Any:
        wanted = request.match_info["id"]
        row = (await connection.execute(select(PROJECTS).where(PROJECTS.c.id == wanted))).first()
        if row is None or (row.id != request[IDENTITY].project_id and not may(request, "identity:list-all")):
            raise NotFound("Project", wanted)
        return row

    async def show(self, request: web.Request) -> web.Response:
        async with self._cloud.store.read() as connection:
            return answer({"project": self._view(await self._get(connection, request))})

    @takes(_NewProject)
    async def create(self, _request: web.Request, form: _NewProject) -> web.Response:
        wish = form.project
        if wish.is_domain or {wish.domain_id, wish.parent_id} - {None, DOMAIN["id"]}:
            raise Fault(400, "There is one domain here, default, and projects do not nest.")
        project_id = self._cloud.new_id().replace("-", "")
        async with self._cloud.store.write() as connection:
            await _check_name(connection, wish.name)
            values = {"id": project_id, "name": wish.name, "enabled": wish.enabled}
            await connection.execute(
                insert(PROJECTS).values(
                    description=wish.description or "", created_at=self._cloud.clock(), **values
                )
            )
            row = (await connection.execute(select(PROJECTS).where(PROJECTS.c.id == project_id))).one()
        return answer({"project": self._view(row)}, 201)

    @takes(_ChangeProject)
    async def change(self, request: web.Request, form: _ChangeProject) -> web.Response:
        wish, now = form.project, self._cloud.clock()
        if wish.domain_id not in {None, DOMAIN["id"]}:
            raise Fault(400, "A project stays in its domain.")
        given = {
            name: value
            for name in ("name", "description", "enabled")
            if (value := getattr(wish, name)) is not None
        }
        async with self._cloud.store.write() as connection:
            row = await self._get(connection, request)
            if given.get("name", row.name) != row.name:
                await _check_name(connection, given["name"])
            if given.get("enabled") is False:
                _refuse_own(request, row.id, "disabled")
                await revocation.revoke(connection, revocation.of_project(row.id), now)
            await connection.execute(
                update(PROJECTS).where(PROJECTS.c.id == row.id).values(updated_at=now, **given)
            )
        return await self.show(request)

    async def delete(self, request: web.Request) -> web.Response:
        """Not as Keystone, which orphans what is in a project: one with servers, volumes or images stays."""
        async with self._cloud.store.write() as connection:
            row = await self._get(connection, request)
            _refuse_own(request, row.id, "deleted")
            for what, table, column in (
                ("servers", SERVERS, SERVERS.c.project_id),
                ("volumes", VOLUMES, VOLUMES.c.project_id),
                ("images", IMAGES, IMAGES.c.owner),
            ):
                query = select(table.c.id).where(column == row.id)
                if table is SERVERS:
                    query = query.where(SERVERS.c.vm_state != "deleted")
                if found := len((await connection.execute(query)).all()):
                    raise Fault(409, f"Project {row.name} still has {found} {what}: delete those first.")
            await revocation.revoke(connection, revocation.of_project(row.id), self._cloud.clock())
            await connection.execute(delete(PROJECTS).where(PROJECTS.c.id == row.id))
        return web.Response(status=204)

    def _view(self, row: Any) -> dict[str, Any]:
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


async def _check_name(connection: AsyncConnection, name: str) -> None:
    query = select(PROJECTS.c.id).where(PROJECTS.c.name == name)
    if (await connection.execute(query)).first() is not None:
        raise Fault(
            409,
            "Conflict occurred attempting to store project - it is not permitted to have two projects with"
            f" the same name in the same domain : {name}.",
        )


def _refuse_own(request: web.Request, project_id: str, what: str) -> None:
    """Nobody saws off the branch that they sit on."""
    if project_id == request[IDENTITY].project_id:
        raise Fault(403, f"The project that you are signed in to cannot be {what}: do it from another one.")
