"""Quotas of projects as Nova, Cinder and Neutron show them and let admins change them."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web
from sqlalchemy import select

from spawner.api import quotas, volume_version
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY, MICROVERSION, answer, may, needs, takes, truth
from spawner.store.tables import PROJECTS

Limit = int | str


class _QuotaSet(msgspec.Struct, forbid_unknown_fields=True):
    quota_set: dict[str, Limit | bool | None]


class _Quota(msgspec.Struct, forbid_unknown_fields=True):
    quota: dict[str, Limit | bool | None]


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of quotas, of three services."""
    found = []
    for service, base in (("compute", "/compute/v2.1"), ("volume", "/volume/v3")):
        sets = _QuotaSets(cloud, service)
        read, write = needs(f"{service}:read"), needs(f"{service}:quota")
        one = f"{base}/os-quota-sets/{{project}}"
        table = [
            ("GET", one, read(sets.show)),
            ("GET", f"{one}/defaults", read(sets.defaults)),
            ("GET", f"{one}/detail", read(sets.detail)),
            ("PUT", one, write(sets.change)),
            ("DELETE", one, write(sets.forget)),
            ("GET", f"{base}/os-quota-class-sets/{{name}}", read(sets.of_class)),
        ]
        for method, path, handler in table:
            if service == "volume":
                handler = volume_version.with_version(handler)  # noqa: PLW2901  # one way for both
            found.append(web.route(method, path, handler))
    networks = _NetworkQuotas(cloud)
    read, write = needs("network:read"), needs("network:quota")
    one = "/network/v2.0/quotas/{project}"
    return [
        *found,
        web.get("/network/v2.0/quotas", write(networks.listed)),
        web.get(one, read(networks.show)),
        web.get(f"{one}/default", read(networks.defaults)),
        web.get(f"{one}/details", read(networks.details)),
        web.put(one, write(networks.change)),
        web.delete(one, write(networks.forget)),
    ]


class _Quotas:
    """What is alike for the services: whose quota it is, reading, changing."""

    service: str

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def _project(self, request: web.Request) -> str:
        """The project of the path. Raises Fault 403 for another's, unless for those who may change it."""
        project = request.match_info["project"]
        if project != request[IDENTITY].project_id and not may(request, f"{self.service}:quota"):
            raise Fault(403, "Policy doesn't allow the quota of another project to be shown.")
        return project

    async def _limits(self, project: str) -> dict[str, int]:
        async with self._cloud.store.read() as connection:
            return await quotas.limits(connection, self.service, project)

    async def _used(self, project: str) -> dict[str, int]:
        async with self._cloud.store.read() as connection:
            return await quotas.USED[self.service](connection, project)

    async def _change(self, request: web.Request, given: dict[str, Limit | bool | None]) -> str:
        project = request.match_info["project"]
        force = given.pop("force", None) in {True, "True", "true"}
        wanted = {name: _number(name, value) for name, value in given.items() if value is not None}
        async with self._cloud.store.write() as connection:
            query = select(PROJECTS.c.id).where(PROJECTS.c.id == project)
            if (await connection.execute(query)).first() is None:
                raise Fault(400, f"Project ID {project[:64]} is not a valid project.")
            used = await quotas.USED[self.service](connection, project)
            await quotas.change(connection, self.service, project, wanted, used=used, force=force)
        return project

    async def _forget(self, request: web.Request) -> None:
        async with self._cloud.store.write() as connection:
            await quotas.forget(connection, self.service, request.match_info["project"])


class _QuotaSets(_Quotas):
    """Nova's and Cinder's form."""

    def __init__(self, cloud: Cloud, service: str) -> None:
        super().__init__(cloud)
        self.service = service

    def _shown(self, request: web.Request, found: dict[str, Any]) -> dict[str, Any]:
        """Files in servers have no quota any more since Nova 2.57."""
        if self.service == "compute" and request[MICROVERSION] >= (2, 57):
            return {name: value for name, value in found.items() if name not in quotas.FIXED}
        return found

    async def show(self, request: web.Request) -> web.Response:
        project = self._project(request)
        if truth(request.query.get("usage", "")):
            return await self.detail(request)
        return self._set(request, project, await self._limits(project))

    def _set(self, request: web.Request, project: str, found: dict[str, Any]) -> web.Response:
        return answer({"quota_set": {"id": project, **self._shown(request, found)}})

    async def defaults(self, request: web.Request) -> web.Response:
        return self._set(request, request.match_info["project"], quotas.DEFAULTS[self.service])

    async def of_class(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name != "default":
            raise Fault(404, f"Quota class {name[:64]} could not be found.")
        found = self._shown(request, quotas.DEFAULTS[self.service])
        return answer({"quota_class_set": {"id": name, **found}})

    async def detail(self, request: web.Request) -> web.Response:
        project = self._project(request)
        used = await self._used(project)
        rows = {
            name: {"limit": limit, "in_use": used.get(name, 0), "reserved": 0}
            for name, limit in (await self._limits(project)).items()
        }
        return self._set(request, project, rows)

    @takes(_QuotaSet)
    async def change(self, request: web.Request, form: _QuotaSet) -> web.Response:
        project = await self._change(request, dict(form.quota_set))
        return answer({"quota_set": self._shown(request, await self._limits(project))})

    async def forget(self, request: web.Request) -> web.Response:
        await self._forget(request)
        return web.Response(status=202 if self.service == "compute" else 200)


class _NetworkQuotas(_Quotas):
    """Neutron's form."""

    service = "network"

    async def show(self, request: web.Request) -> web.Response:
        return answer({"quota": await self._limits(self._project(request))})

    async def defaults(self, request: web.Request) -> web.Response:
        self._project(request)
        return answer({"quota": quotas.DEFAULTS["network"]})

    async def details(self, request: web.Request) -> web.Response:
        project = self._project(request)
        used = await self._used(project)
        rows = {
            name: {"limit": limit, "used": used.get(name, 0), "reserved": 0}
            for name, limit in (await self._limits(project)).items()
        }
        return answer({"quota": rows})

    async def listed(self, _request: web.Request) -> web.Response:
        """The quotas of those projects that have others than the defaults, as Neutron lists them."""
        async with self._cloud.store.read() as connection:
            projects = list((await connection.execute(select(PROJECTS.c.id))).scalars())
            found = [(each, await quotas.limits(connection, "network", each)) for each in projects]
        rows = [
            {"project_id": project, "tenant_id": project, **limits}
            for project, limits in found
            if limits != quotas.DEFAULTS["network"]
        ]
        return answer({"quotas": rows})

    @takes(_Quota)
    async def change(self, request: web.Request, form: _Quota) -> web.Response:
        given = dict(form.quota)
        # The client's word for "look at what is used", the other way round than Nova's `force`.
        check = given.pop("check_limit", None)
        given.pop("tenant_id", None), given.pop("project_id", None)
        project = await self._change(request, {**given, "force": not truth(str(check))})
        return answer({"quota": await self._limits(project)})

    async def forget(self, request: web.Request) -> web.Response:
        await self._forget(request)
        return web.Response(status=204)


def _number(name: str, value: Limit | bool) -> int:
    """A limit, which clients send as text or number. Raises Fault 400."""
    text = str(value).strip()
    if isinstance(value, bool) or not text.removeprefix("-").isdecimal() or len(text) > 12:
        raise Fault(400, f"Invalid input for field/attribute {name[:64]}. Value: {text[:20]}.")
    return int(text)
