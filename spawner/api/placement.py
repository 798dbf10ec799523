"""Placement: resource providers, inventories, usages, allocations, for reading."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from spawner import placement
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import answer, needs
from spawner.placement import Provider


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of Placement."""
    service = _Placement(cloud)
    read = needs("placement:read")
    one = "/placement/resource_providers/{id}"
    return [
        web.get("/placement/resource_providers", read(service.listed)),
        web.get(one, read(service.show)),
        web.get(f"{one}/inventories", read(service.inventories)),
        web.get(f"{one}/usages", read(service.usages)),
        web.get(f"{one}/traits", read(service.traits)),
        web.get("/placement/allocations/{consumer}", read(service.allocations)),
        web.get("/placement/resource_classes", read(service.classes)),
        web.get("/placement/traits", read(service.all_traits)),
    ]


class _Placement:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def _all(self) -> tuple[Provider, ...]:
        async with self._cloud.store.read() as connection:
            return await placement.providers(connection)

    async def _get(self, request: web.Request) -> Provider:
        wanted = request.match_info["id"]
        for provider in await self._all():
            if provider.id == wanted:
                return provider
        raise Fault(404, f"No resource provider with uuid {wanted[:64]} found.")

    async def listed(self, request: web.Request) -> web.Response:
        name, wanted = request.query.get("name"), request.query.get("uuid")
        rows = [
            _view(provider)
            for provider in await self._all()
            if name in {None, provider.name} and wanted in {None, provider.id}
        ]
        return answer({"resource_providers": rows})

    async def show(self, request: web.Request) -> web.Response:
        return answer(_view(await self._get(request)))

    async def inventories(self, request: web.Request) -> web.Response:
        provider = await self._get(request)
        rows = {
            name: {
                "total": inventory.total,
                "reserved": inventory.reserved,
                "min_unit": inventory.min_unit,
                "max_unit": inventory.total if inventory.max_unit is None else inventory.max_unit,
                "step_size": inventory.step_size,
                "allocation_ratio": inventory.allocation_ratio,
            }
            for name, inventory in provider.inventories.items()
        }
        return answer({"inventories": rows, "resource_provider_generation": provider.generation})

    async def usages(self, request: web.Request) -> web.Response:
        provider = await self._get(request)
        used = {name: provider.used.get(name, 0) for name in provider.inventories}
        return answer({"usages": used, "resource_provider_generation": provider.generation})

    async def traits(self, request: web.Request) -> web.Response:
        provider = await self._get(request)
        return answer(
            {"traits": sorted(provider.traits), "resource_provider_generation": provider.generation}
        )

    async def classes(self, _request: web.Request) -> web.Response:
        names = sorted({name for provider in await self._all() for name in provider.inventories})
        rows = [{"name": name, "links": []} for name in names]
        return answer({"resource_classes": rows})

    async def all_traits(self, _request: web.Request) -> web.Response:
        return answer({"traits": sorted({name for each in await self._all() for name in each.traits})})

    async def allocations(self, request: web.Request) -> web.Response:
        async with self._cloud.store.read() as connection:
            found = await placement.allocations_of(connection, request.match_info["consumer"])
            generations = {each.id: each.generation for each in await placement.providers(connection)}
        rows = {
            provider_id: {"resources": resources, "generation": generations[provider_id]}
            for provider_id, resources in found.items()
        }
        return answer({"allocations": rows})


def _view(provider: Provider) -> dict[str, Any]:
    base = f"/placement/resource_providers/{provider.id}"
    return {
        "uuid": provider.id,
        "name": provider.name,
        "generation": provider.generation,
        "root_provider_uuid": provider.id,
        "parent_provider_uuid": None,
        "links": [
            {"rel": "self", "href": base},
            *({"rel": rel, "href": f"{base}/{rel}"} for rel in ("inventories", "usages", "traits")),
        ],
    }
