"""Nova: what was done to a server and how it went; ours: everything that happened to it and in its guest."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from sqlalchemy import select

from spawner.api.addressed_server import addressed
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import answer, iso, needs
from spawner.store import events
from spawner.store.servers import Server
from spawner.store.tables import ACTIONS


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of a server's history, which is only read."""
    service = _History(cloud)
    read = needs("compute:read")
    one = "/compute/v2.1/servers/{id}"
    return [
        web.get(f"{one}/os-instance-actions", read(service.instance_actions)),
        web.get(f"{one}/os-instance-actions/{{request}}", read(service.instance_action)),
        web.get(f"{one}/x-events", read(service.events)),
    ]


class _History:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def _action_rows(self, server: Server) -> list[Any]:
        query = select(ACTIONS).where(ACTIONS.c.server_id == server.id).order_by(ACTIONS.c.started_at.desc())
        async with self._cloud.store.read() as connection:
            return list((await connection.execute(query)).all())

    async def instance_actions(self, request: web.Request) -> web.Response:
        server = await addressed(request, self._cloud)
        rows = [_instance_action(row) for row in await self._action_rows(server)]
        return answer({"instanceActions": rows})

    async def instance_action(self, request: web.Request) -> web.Response:
        server = await addressed(request, self._cloud)
        wanted = request.match_info["request"]
        for row in await self._action_rows(server):
            if row.request_id == wanted:
                event = {
                    "event": f"compute_{row.action}_instance",
                    "start_time": iso(row.started_at, micro=True),
                    "finish_time": iso(row.finished_at, micro=True),
                    "result": row.result,
                    "traceback": None,
                    "hostId": "",
                }
                return answer({"instanceAction": {**_instance_action(row), "events": [event]}})
        raise Fault(404, f"Action for request_id {wanted[:64]} on instance {server.id} not found.")

    async def events(self, request: web.Request) -> web.Response:
        """Ours: everything that happened to a server and in its guest, after the event number `after`."""
        server = await addressed(request, self._cloud)
        after = request.query.get("after", "0")
        if not after.isdigit():
            raise Fault(400, "Invalid input for query parameters after: an event number is needed.")
        async with self._cloud.store.read() as connection:
            found = await events.after(connection, int(after), server.id)
        rows = [
            {"number": each.number, "time": iso(each.time), "type": each.type, "payload": each.payload}
            for each in found
        ]
        return answer({"events": rows})


def _instance_action(row: Any) -> dict[str, Any]:
    return {
        "action": row.action,
        "instance_uuid": row.server_id,
        "message": row.message,
        "project_id": row.project_id,
        "request_id": row.request_id,
        "start_time": iso(row.started_at, micro=True),
        "updated_at": iso(row.finished_at or row.started_at, micro=True),
        "user_id": row.user_id,
    }
