"""Nova: flavors and their extra specs."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from aiohttp import web
from sqlalchemy import delete, insert, select, update

from spawner.api import new_server
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY, MICROVERSION, answer, link, needs, page, takes
from spawner.store.tables import FLAVOR_ACCESS, FLAVORS


class _NewFlavor(
    msgspec.Struct,
    rename={
        "public": "os-flavor-access:is_public",
        "ephemeral": "OS-FLV-EXT-DATA:ephemeral",
    },
):
    name: str
    vcpus: int | str
    ram: int | str
    disk: int | str
    id: str | None = None
    swap: int | str = 0
    ephemeral: int | str = 0
    public: bool = True
    rxtx_factor: float | str = 1.0
    description: str | None = None


class _CreateFlavor(msgspec.Struct):
    flavor: _NewFlavor


class _ExtraSpecs(msgspec.Struct):
    extra_specs: dict[str, str]


class _Description(msgspec.Struct, forbid_unknown_fields=True):
    description: Annotated[str, msgspec.Meta(max_length=65535)] | None


class _UpdateFlavor(msgspec.Struct, forbid_unknown_fields=True):
    flavor: _Description


class _Tenant(msgspec.Struct, forbid_unknown_fields=True):
    tenant: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class _ChangeAccess(
    msgspec.Struct,
    forbid_unknown_fields=True,
    rename={"add": "addTenantAccess", "remove": "removeTenantAccess"},
):
    add: _Tenant | None = None
    remove: _Tenant | None = None


_YES, _NO = frozenset({"true", "1", "yes", "t"}), frozenset({"false", "0", "no", "f"})


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of flavors."""
    service = _Flavors(cloud)
    read, write = needs("compute:read"), needs("compute:flavor")
    base = "/compute/v2.1/flavors"
    return [
        web.get(base, read(service.list_short)),
        web.post(base, write(service.create)),
        web.get(f"{base}/detail", read(service.list_detail)),
        web.get(f"{base}/{{id}}", read(service.show)),
        web.put(f"{base}/{{id}}", write(service.update)),
        web.delete(f"{base}/{{id}}", write(service.delete)),
        web.get(f"{base}/{{id}}/os-flavor-access", write(service.access)),
        web.post(f"{base}/{{id}}/action", write(service.change_access)),
        web.get(f"{base}/{{id}}/os-extra_specs", read(service.extra_specs)),
        web.post(f"{base}/{{id}}/os-extra_specs", write(service.add_extra_specs)),
        web.delete(f"{base}/{{id}}/os-extra_specs/{{key}}", write(service.remove_extra_spec)),
    ]


class _Flavors:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def _get(self, request: web.Request) -> Any:
        wanted = request.match_info["id"]
        async with self._cloud.store.read() as connection:
            row = (await connection.execute(select(FLAVORS).where(FLAVORS.c.id == wanted))).first()
            if row is None or not await new_server.may_use(connection, row, request[IDENTITY]):
                raise Fault(404, f"Flavor {wanted[:64]} could not be found.")
        return row

    async def _listed(self, request: web.Request) -> list[Any]:
        query = select(FLAVORS).order_by(FLAVORS.c.ram_mib, FLAVORS.c.id)
        for name, column in (("minRam", FLAVORS.c.ram_mib), ("minDisk", FLAVORS.c.disk_gib)):
            if name in request.query:
                if not request.query[name].isdigit():
                    raise Fault(400, f"Invalid {name} filter [{request.query[name][:20]}]")
                query = query.where(column >= int(request.query[name]))
        wanted = request.query.get("is_public", "true").lower()
        if wanted in _YES:
            query = query.where(FLAVORS.c.is_public)
        elif wanted in _NO:
            query = query.where(FLAVORS.c.is_public.is_(False))
        elif wanted != "none":
            raise Fault(400, f"Invalid is_public filter [{wanted[:20]}]")
        async with self._cloud.store.read() as connection:
            rows = [
                row
                for row in (await connection.execute(query)).all()
                if await new_server.may_use(connection, row, request[IDENTITY])
            ]
        return page(request, rows, lambda row: str(row.id))[0]

    async def list_short(self, request: web.Request) -> web.Response:
        rows = [
            {"id": row.id, "name": row.name, "links": self._links(row)} for row in await self._listed(request)
        ]
        return answer({"flavors": rows})

    async def list_detail(self, request: web.Request) -> web.Response:
        return answer({"flavors": [self._view(request, row) for row in await self._listed(request)]})

    async def show(self, request: web.Request) -> web.Response:
        return answer({"flavor": self._view(request, await self._get(request))})

    def _links(self, row: Any) -> list[dict[str, str]]:
        return [
            link(f"{self._cloud.url}/compute/v2.1/flavors/{row.id}"),
            link(f"{self._cloud.url}/compute/flavors/{row.id}", "bookmark"),
        ]

    def _view(self, request: web.Request, row: Any) -> dict[str, Any]:
        document = {
            "id": row.id,
            "name": row.name,
            "vcpus": row.vcpus,
            "ram": row.ram_mib,
            "disk": row.disk_gib,
            "swap": row.swap_mib or ("" if request[MICROVERSION] < (2, 75) else 0),
            "rxtx_factor": 1.0,
            "OS-FLV-EXT-DATA:ephemeral": row.ephemeral_gib,
            "OS-FLV-DISABLED:disabled": False,
            "os-flavor-access:is_public": row.is_public,
            "links": self._links(row),
        }
        if request[MICROVERSION] >= (2, 55):
            document["description"] = row.description
        if request[MICROVERSION] >= (2, 61):
            document["extra_specs"] = row.extra_specs
        return document

    @takes(_CreateFlavor)
    async def create(self, request: web.Request, form: _CreateFlavor) -> web.Response:
        wish = form.flavor
        numbers = {
            name: _number(name, getattr(wish, name), least)
            for name, least in (("vcpus", 1), ("ram", 1), ("disk", 0), ("swap", 0), ("ephemeral", 0))
        }
        flavor_id = wish.id if wish.id and wish.id != "auto" else self._cloud.new_id()
        async with self._cloud.store.write() as connection:
            taken = select(FLAVORS.c.id).where((FLAVORS.c.id == flavor_id) | (FLAVORS.c.name == wish.name))
            if (await connection.execute(taken)).first() is not None:
                raise Fault(409, f"Flavor with name {wish.name[:64]} already exists.")
            await connection.execute(
                insert(FLAVORS).values(
                    id=flavor_id,
                    name=wish.name,
                    vcpus=numbers["vcpus"],
                    ram_mib=numbers["ram"],
                    disk_gib=numbers["disk"],
                    swap_mib=numbers["swap"],
                    ephemeral_gib=numbers["ephemeral"],
                    is_public=wish.public,
                    description=wish.description,
                    extra_specs={},
                    created_at=self._cloud.clock(),
                )
            )
            row = (await connection.execute(select(FLAVORS).where(FLAVORS.c.id == flavor_id))).one()
        return answer({"flavor": self._view(request, row)})

    async def delete(self, request: web.Request) -> web.Response:
        row = await self._get(request)
        async with self._cloud.store.write() as connection:
            await connection.execute(delete(FLAVORS).where(FLAVORS.c.id == row.id))
        return web.Response(status=202)

    @takes(_UpdateFlavor)
    async def update(self, request: web.Request, form: _UpdateFlavor) -> web.Response:
        if request[MICROVERSION] < (2, 55):
            raise Fault(404, "The resource could not be found.")
        row = await self._get(request)
        async with self._cloud.store.write() as connection:
            values = {"description": form.flavor.description}
            await connection.execute(update(FLAVORS).where(FLAVORS.c.id == row.id).values(**values))
        return await self.show(request)

    # --- who may use one that is not for everybody ------------------------------------------------------

    async def _access(self, row: Any) -> web.Response:
        query = select(FLAVOR_ACCESS).where(FLAVOR_ACCESS.c.flavor_id == row.id)
        async with self._cloud.store.read() as connection:
            found = (await connection.execute(query.order_by(FLAVOR_ACCESS.c.project_id))).all()
        rows = [{"flavor_id": each.flavor_id, "tenant_id": each.project_id} for each in found]
        return answer({"flavor_access": rows})

    async def access(self, request: web.Request) -> web.Response:
        row = await self._get(request)
        if row.is_public:
            raise Fault(404, "Access list not available for public flavors.")
        return await self._access(row)

    @takes(_ChangeAccess)
    async def change_access(self, request: web.Request, form: _ChangeAccess) -> web.Response:
        row = await self._get(request)
        given = form.add or form.remove
        if given is None or (form.add is not None and form.remove is not None):
            raise Fault(400, "One action is needed, of: addTenantAccess, removeTenantAccess.")
        if row.is_public:
            raise Fault(409, "Can not add or remove access: the flavor is for everybody.")
        pair = {"flavor_id": row.id, "project_id": given.tenant}
        mine = (FLAVOR_ACCESS.c.flavor_id == row.id) & (FLAVOR_ACCESS.c.project_id == given.tenant)
        async with self._cloud.store.write() as connection:
            is_there = (await connection.execute(select(FLAVOR_ACCESS).where(mine))).first() is not None
            if given is form.remove and not is_there:
                raise Fault(404, f"Flavor access not found for {row.id} / {given.tenant} combination.")
            if given is form.add and is_there:
                raise Fault(409, f"Flavor access already exists for {row.id} / {given.tenant} combination.")
            change = insert(FLAVOR_ACCESS).values(**pair) if given is form.add else None
            await connection.execute(delete(FLAVOR_ACCESS).where(mine) if change is None else change)
        return await self._access(row)

    async def extra_specs(self, request: web.Request) -> web.Response:
        return answer({"extra_specs": (await self._get(request)).extra_specs})

    @takes(_ExtraSpecs)
    async def add_extra_specs(self, request: web.Request, form: _ExtraSpecs) -> web.Response:
        row = await self._get(request)
        await self._save(row, {**row.extra_specs, **form.extra_specs})
        return answer({"extra_specs": form.extra_specs})

    async def remove_extra_spec(self, request: web.Request) -> web.Response:
        row = await self._get(request)
        key = request.match_info["key"]
        if key not in row.extra_specs:
            raise Fault(404, f"Flavor {row.id} has no extra specs with key {key[:64]}.")
        await self._save(row, {name: value for name, value in row.extra_specs.items() if name != key})
        return web.Response(status=200)

    async def _save(self, row: Any, specs: dict[str, str]) -> None:
        async with self._cloud.store.write() as connection:
            await connection.execute(update(FLAVORS).where(FLAVORS.c.id == row.id).values(extra_specs=specs))


def _number(name: str, value: int | str, least: int) -> int:
    """A number that clients send as text or number. Raises Fault 400 that names it."""
    text = str(value or 0)
    if not text.isdigit() or not least <= int(text) <= 2**31 - 1:
        raise Fault(400, f"Invalid input for field/attribute {name}: a whole number from {least} is needed.")
    return int(text)
