"""Nova: how long projects had how much (os-simple-tenant-usage). Source: Compute API reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from sqlalchemy import select

from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY, answer, iso, may, needs
from spawner.store.tables import SERVERS

HOUR_S = 3600.0
PERIOD_S = 4 * 7 * 24 * HOUR_S


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of usage."""
    service = _Usage(cloud)
    base = "/compute/v2.1/os-simple-tenant-usage"
    return [
        web.get(base, needs("compute:quota")(service.listed)),
        web.get(f"{base}/{{project}}", needs("compute:read")(service.show)),
    ]


class _Usage:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def _period(self, request: web.Request) -> tuple[float, float]:
        now = self._cloud.clock()
        end = _moment(request.query, "end", now)
        start = _moment(request.query, "start", end - PERIOD_S)
        if start >= end:
            raise Fault(400, "Invalid start time. The start time cannot occur after the end time.")
        return start, min(end, now)

    async def _of(self, start: float, end: float, project: str | None) -> dict[str, list[Any]]:
        """Project -> its servers that ran within a time, those that are deleted too."""
        query = select(SERVERS).where(SERVERS.c.launched_at.is_not(None), SERVERS.c.launched_at < end)
        query = query.where(SERVERS.c.terminated_at.is_(None) | (SERVERS.c.terminated_at > start))
        if project is not None:
            query = query.where(SERVERS.c.project_id == project)
        found: dict[str, list[Any]] = {}
        async with self._cloud.store.read() as connection:
            for row in await connection.execute(query.order_by(SERVERS.c.launched_at)):
                found.setdefault(row.project_id, []).append(row)
        return found

    async def listed(self, request: web.Request) -> web.Response:
        start, end = self._period(request)
        is_detailed = request.query.get("detailed", "0").lower() in {"1", "true"}
        rows = [
            _usage(project, rows, start, end, is_detailed=is_detailed)
            for project, rows in sorted((await self._of(start, end, None)).items())
        ]
        return answer({"tenant_usages": rows})

    async def show(self, request: web.Request) -> web.Response:
        project = request.match_info["project"]
        if project != request[IDENTITY].project_id and not may(request, "compute:all-projects"):
            raise Fault(403, "Policy doesn't allow os_compute_api:os-simple-tenant-usage:show.")
        start, end = self._period(request)
        rows = (await self._of(start, end, project)).get(project, [])
        return answer({"tenant_usage": _usage(project, rows, start, end, is_detailed=True) if rows else {}})


def _usage(
    project: str, rows: Sequence[Any], start: float, end: float, *, is_detailed: bool
) -> dict[str, Any]:
    servers = [_server(row, start, end) for row in rows]
    document = {
        "tenant_id": project,
        "start": iso(start, micro=True),
        "stop": iso(end, micro=True),
        "total_hours": sum(each["hours"] for each in servers),
        "total_vcpus_usage": sum(each["hours"] * each["vcpus"] for each in servers),
        "total_memory_mb_usage": sum(each["hours"] * each["memory_mb"] for each in servers),
        "total_local_gb_usage": sum(each["hours"] * each["local_gb"] for each in servers),
    }
    return {**document, "server_usages": servers} if is_detailed else document


def _server(row: Any, start: float, end: float) -> dict[str, Any]:
    ended = row.terminated_at
    hours = max(0.0, min(ended or end, end) - max(row.launched_at, start)) / HOUR_S
    return {
        "instance_id": row.id,
        "name": row.name,
        "tenant_id": row.project_id,
        "hours": hours,
        "flavor": row.flavor["name"],
        "vcpus": row.flavor["vcpus"],
        "memory_mb": row.flavor["ram_mib"],
        "local_gb": row.flavor["disk_gib"] + row.flavor["ephemeral_gib"],
        "started_at": iso(row.launched_at, micro=True),
        "ended_at": iso(ended, micro=True),
        "state": "terminated" if ended else row.vm_state,
        "uptime": int((ended or end) - row.launched_at),
    }


def _moment(query: Mapping[str, str], name: str, default: float) -> float:
    if not query.get(name):
        return default
    try:
        moment = datetime.fromisoformat(query[name])
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise Fault(400, f"Invalid input for query parameters {name}. Value: {query[name][:40]}.") from None
