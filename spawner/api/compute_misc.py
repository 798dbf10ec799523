"""Nova: zones, limits, quotas, hypervisors, services, server groups."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web
from sqlalchemy import delete, insert, select, update

from spawner import placement
from spawner.api import quotas
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY, MICROVERSION, answer, iso, needs, takes
from spawner.store import servers
from spawner.store.tables import HOSTS, SERVER_GROUPS, SERVERS

POLICIES = ("affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity")


class _Rules(msgspec.Struct):
    max_server_per_host: int | str = 1


class _NewGroup(msgspec.Struct):
    name: str
    policy: str | None = None
    policies: list[str] = []
    rules: _Rules | None = None


class _CreateGroup(msgspec.Struct):
    server_group: _NewGroup


class _ServiceChange(msgspec.Struct):
    status: str | None = None
    disabled_reason: str | None = None
    forced_down: bool | None = None


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of all that is not a server, a flavor or a key."""
    service = _Misc(cloud)
    read = needs("compute:read")
    admin = needs("compute:hypervisors")
    base = "/compute/v2.1"
    return [
        web.get(f"{base}/os-availability-zone", read(service.zones)),
        web.get(f"{base}/os-availability-zone/detail", admin(service.zones_detail)),
        web.get(f"{base}/limits", read(service.limits)),
        web.get(f"{base}/os-hypervisors", admin(service.hypervisors)),
        web.get(f"{base}/os-hypervisors/detail", admin(service.hypervisors)),
        web.get(f"{base}/os-hypervisors/statistics", admin(service.statistics)),
        web.get(f"{base}/os-hypervisors/{{id}}", admin(service.hypervisor)),
        web.get(f"{base}/os-services", admin(service.services)),
        web.put(f"{base}/os-services/{{id}}", needs("compute:service")(service.change_service)),
        web.get(f"{base}/os-server-groups", read(service.groups)),
        web.post(f"{base}/os-server-groups", needs("compute:server-group")(service.add_group)),
        web.get(f"{base}/os-server-groups/{{id}}", read(service.group)),
        web.delete(f"{base}/os-server-groups/{{id}}", needs("compute:server-group")(service.remove_group)),
        web.get(f"{base}/extensions", read(service.extensions)),
        web.get(f"{base}/os-aggregates", admin(service.aggregates)),
        web.get(f"{base}/os-migrations", admin(service.migrations)),
    ]


class _Misc:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    # --- zones, hosts -----------------------------------------------------------------------------------

    async def _hosts(self) -> list[Any]:
        async with self._cloud.store.read() as connection:
            return list((await connection.execute(select(HOSTS).order_by(HOSTS.c.name))).all())

    async def zones(self, _request: web.Request) -> web.Response:
        zones = sorted({row.zone for row in await self._hosts()}) or ["nova"]
        rows = [{"zoneName": zone, "zoneState": {"available": True}, "hosts": None} for zone in zones]
        return answer({"availabilityZoneInfo": rows})

    async def zones_detail(self, _request: web.Request) -> web.Response:
        hosts = await self._hosts()
        rows = [
            {
                "zoneName": zone,
                "zoneState": {"available": True},
                "hosts": {
                    row.name: {
                        "nova-compute": {"available": True, "active": not row.disabled, "updated_at": None}
                    }
                    for row in hosts
                    if row.zone == zone
                },
            }
            for zone in sorted({row.zone for row in hosts})
        ]
        return answer({"availabilityZoneInfo": rows})

    async def _views(self, request: web.Request) -> list[dict[str, Any]]:
        async with self._cloud.store.read() as connection:
            providers = {each.name: each for each in await placement.providers(connection)}
            placed = await servers.placed(connection)
        return [
            _hypervisor(request, row, providers[row.name], placed.get(row.name, 0))
            for row in await self._hosts()
        ]

    async def hypervisors(self, request: web.Request) -> web.Response:
        rows = await self._views(request)
        pattern = request.query.get("hypervisor_hostname_pattern", "")
        rows = [row for row in rows if pattern in row["hypervisor_hostname"]]
        if not request.path.endswith("/detail"):
            names = ("id", "hypervisor_hostname", "state", "status")
            rows = [{name: row[name] for name in names} for row in rows]
        return answer({"hypervisors": rows})

    async def hypervisor(self, request: web.Request) -> web.Response:
        for row in await self._views(request):
            if str(row["id"]) == request.match_info["id"]:
                return answer({"hypervisor": {**row, "uptime": None, "servers": []}})
        raise Fault(404, f"Compute host {request.match_info['id'][:64]} could not be found.")

    async def statistics(self, request: web.Request) -> web.Response:
        rows = await self._views(request)
        names = (
            "vcpus",
            "vcpus_used",
            "memory_mb",
            "memory_mb_used",
            "local_gb",
            "local_gb_used",
            "running_vms",
            "free_ram_mb",
            "free_disk_gb",
        )
        sums: dict[str, Any] = {name: sum(row.get(name, 0) for row in rows) for name in names}
        return answer({"hypervisor_statistics": {"count": len(rows), "current_workload": 0, **sums}})

    async def services(self, request: web.Request) -> web.Response:
        wanted = request.query
        rows = [_service(request, row) for row in await self._hosts()]
        chosen = [
            row
            for row in rows
            if wanted.get("host", row["host"]) == row["host"]
            and wanted.get("binary", row["binary"]) == row["binary"]
        ]
        return answer({"services": chosen})

    @takes(_ServiceChange)
    async def change_service(self, request: web.Request, change: _ServiceChange) -> web.Response:
        wanted = request.match_info["id"]
        async with self._cloud.store.write() as connection:
            values = {
                "disabled": change.status == "disabled",
                "disabled_reason": change.disabled_reason or "",
            }
            if change.forced_down is not None and change.status is None:
                raise Fault(400, "A host is down when it is down: forced_down cannot be set here.")
            done = await connection.execute(update(HOSTS).where(HOSTS.c.id == wanted).values(**values))
            if done.rowcount == 0:
                raise Fault(404, f"Service {wanted[:64]} not found.")
            row = (await connection.execute(select(HOSTS).where(HOSTS.c.id == wanted))).one()
        return answer({"service": _service(request, row)})

    async def extensions(self, _request: web.Request) -> web.Response:
        return answer({"extensions": []})

    async def aggregates(self, _request: web.Request) -> web.Response:
        return answer({"aggregates": []})

    async def migrations(self, _request: web.Request) -> web.Response:
        """Servers stay on their host."""
        return answer({"migrations": []})

    # --- limits -----------------------------------------------------------------------------------------

    async def limits(self, request: web.Request) -> web.Response:
        project = request[IDENTITY].project_id
        async with self._cloud.store.read() as connection:
            used = await quotas.used_of_compute(connection, project)
            allowed = await quotas.limits(connection, "compute", project)
        absolute = {
            "maxTotalInstances": allowed["instances"],
            "maxTotalCores": allowed["cores"],
            "maxTotalRAMSize": allowed["ram"],
            "maxTotalKeypairs": allowed["key_pairs"],
            "maxServerMeta": allowed["metadata_items"],
            "maxServerGroups": allowed["server_groups"],
            "maxServerGroupMembers": allowed["server_group_members"],
            "totalInstancesUsed": used["instances"],
            "totalCoresUsed": used["cores"],
            "totalRAMUsed": used["ram"],
            "totalServerGroupsUsed": used["server_groups"],
        }
        if request[MICROVERSION] < (2, 57):
            absolute["maxPersonality"] = allowed["injected_files"]
            absolute["maxPersonalitySize"] = allowed["injected_file_content_bytes"]
        return answer({"limits": {"rate": [], "absolute": absolute}})

    # --- server groups ----------------------------------------------------------------------------------

    async def _group_rows(self, request: web.Request) -> list[dict[str, Any]]:
        own = request[IDENTITY].project_id
        async with self._cloud.store.read() as connection:
            rows = (
                await connection.execute(select(SERVER_GROUPS).where(SERVER_GROUPS.c.project_id == own))
            ).all()
            query = select(SERVERS.c.id, SERVERS.c.group_id).where(
                SERVERS.c.group_id.is_not(None), SERVERS.c.vm_state != "deleted"
            )
            members: dict[str, list[str]] = {}
            for server_id, group_id in await connection.execute(query):
                members.setdefault(group_id, []).append(server_id)
        return [_group(request, row, members.get(row.id, [])) for row in rows]

    async def groups(self, request: web.Request) -> web.Response:
        return answer({"server_groups": await self._group_rows(request)})

    async def group(self, request: web.Request) -> web.Response:
        for row in await self._group_rows(request):
            if row["id"] == request.match_info["id"]:
                return answer({"server_group": row})
        raise Fault(404, f"Instance group {request.match_info['id'][:64]} could not be found.")

    @takes(_CreateGroup)
    async def add_group(self, request: web.Request, form: _CreateGroup) -> web.Response:
        wish = form.server_group
        policy = wish.policy or (wish.policies[0] if wish.policies else "")
        if policy not in POLICIES:
            raise Fault(400, f"Invalid input for field/attribute policy. Use one of {', '.join(POLICIES)}.")
        most = str(wish.rules.max_server_per_host) if wish.rules else "1"
        if not most.isdigit() or int(most) < 1:
            raise Fault(
                400, "Invalid input for field/attribute max_server_per_host: a number from 1 is needed."
            )
        row = {
            "id": self._cloud.new_id(),
            "project_id": request[IDENTITY].project_id,
            "user_id": request[IDENTITY].user_id,
            "name": wish.name,
            "policy": policy,
            "max_server_per_host": int(most),
            "created_at": self._cloud.clock(),
        }
        async with self._cloud.store.write() as connection:
            await quotas.check_server_groups(connection, request[IDENTITY].project_id)
            await connection.execute(insert(SERVER_GROUPS).values(**row))
        rows = await self._group_rows(request)
        return answer({"server_group": next(each for each in rows if each["id"] == row["id"])})

    async def remove_group(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        async with self._cloud.store.write() as connection:
            done = await connection.execute(
                delete(SERVER_GROUPS).where(
                    SERVER_GROUPS.c.id == wanted, SERVER_GROUPS.c.project_id == request[IDENTITY].project_id
                )
            )
        if done.rowcount == 0:
            raise Fault(404, f"Instance group {wanted[:64]} could not be found.")
        return web.Response(status=204)


def _hypervisor(request: web.Request, row: Any, provider: placement.Provider, guests: int) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": row.id if request[MICROVERSION] >= (2, 53) else 1,
        "hypervisor_hostname": row.name,
        "hypervisor_type": "fake" if row.driver == "fake" else "QEMU",
        "hypervisor_version": 7002000,
        "host_ip": "127.0.0.1",
        "state": "up",
        "status": "disabled" if row.disabled else "enabled",
        "service": {"id": row.id, "host": row.name, "disabled_reason": row.disabled_reason or None},
    }
    if request[MICROVERSION] >= (2, 88):
        document["uptime"] = None
    else:
        total = {name: inventory.total for name, inventory in provider.inventories.items()}
        used = provider.used
        document.update(
            vcpus=total.get("VCPU", 0),
            vcpus_used=used.get("VCPU", 0),
            memory_mb=total.get("MEMORY_MB", 0),
            memory_mb_used=used.get("MEMORY_MB", 0),
            free_ram_mb=total.get("MEMORY_MB", 0) - used.get("MEMORY_MB", 0),
            local_gb=total.get("DISK_GB", 0),
            local_gb_used=used.get("DISK_GB", 0),
            free_disk_gb=total.get("DISK_GB", 0) - used.get("DISK_GB", 0),
            running_vms=guests,
            current_workload=0,
            disk_available_least=None,
            cpu_info={},
        )
    return document


def _service(request: web.Request, row: Any) -> dict[str, Any]:
    return {
        "id": row.id if request[MICROVERSION] >= (2, 53) else 1,
        "binary": "nova-compute",
        "host": row.name,
        "zone": row.zone,
        "status": "disabled" if row.disabled else "enabled",
        "state": "up",
        "updated_at": iso(row.updated_at or row.created_at, micro=True),
        "disabled_reason": row.disabled_reason or None,
        "forced_down": False,
    }


def _group(request: web.Request, row: Any, members: list[str]) -> dict[str, Any]:
    document: dict[str, Any] = {"id": row.id, "name": row.name, "members": members}
    if request[MICROVERSION] >= (2, 64):
        rules = {"max_server_per_host": row.max_server_per_host} if row.max_server_per_host != 1 else {}
        document.update(policy=row.policy, rules=rules)
    else:
        document.update(policies=[row.policy], metadata={})
    if request[MICROVERSION] >= (2, 13):
        document.update(project_id=row.project_id, user_id=row.user_id)
    return document
