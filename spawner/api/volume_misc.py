"""Cinder v3: the one type of volumes, limits, zones, and what this cloud has none of."""

from __future__ import annotations

from aiohttp import web

from spawner.api import quotas, volume_version
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY, Handler, answer, declare, needs

TYPE = {
    "id": "6f5e1e2e-2f5b-5b56-9d2f-6c0f5b8f5a11",
    "name": "qcow2",
    "description": "One qcow2 file on the host",
    "is_public": True,
    "os-volume-type-access:is_public": True,
    "extra_specs": {},
    "qos_specs_id": None,
}
# Path -> word of a list, what Cinder calls the limit, and its words when none are left: here always.
NONE_OF = {
    "snapshots": ("snapshots", "SnapshotLimitExceeded", "Maximum number of snapshots allowed (0) exceeded"),
    "backups": ("backups", "BackupLimitExceeded", "Maximum number of backups allowed (0) exceeded"),
}
# Lists that clients ask for, which are always empty.
EMPTY = ("volume-transfers", "groups", "qos-specs", "messages")
EMPTY_WORDS = {"volume-transfers": "transfers", "qos-specs": "qos_specs"}


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The routes of types, limits and zones."""
    service = _Misc(cloud)
    read, write = needs("volume:read"), needs("volume:write")
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/types", read(service.types)),
        ("GET", "/types/{id}", read(service.type)),
        ("GET", "/limits", read(service.limits)),
        ("GET", "/os-availability-zone", read(service.zones)),
    ]
    for path, (word, kind, text) in NONE_OF.items():
        table += [
            ("GET", f"/{path}", read(_nothing(word))),
            ("GET", f"/{path}/detail", read(_nothing(word))),
            ("GET", f"/{path}/{{id}}", read(_missing(word))),
            ("POST", f"/{path}", write(declare(_over(f"{kind}: {text}"), dict))),
        ]
    for path in EMPTY:
        word = EMPTY_WORDS.get(path, path)
        table += [("GET", f"/{path}", read(_nothing(word))), ("GET", f"/{path}/detail", read(_nothing(word)))]
    return [
        web.route(method, f"/volume/v3{path}", volume_version.with_version(handler))
        for method, path, handler in table
    ]


def _nothing(word: str) -> Handler:
    async def handler(_request: web.Request) -> web.StreamResponse:
        return answer({word: []})

    return handler


def _missing(word: str) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        raise Fault(404, f"{word[:-1].capitalize()} {request.match_info['id'][:64]} could not be found.")

    return handler


def _over(text: str) -> Handler:
    """The quota of these is 0, and the answer is what Cinder says to one more."""

    async def handler(_request: web.Request) -> web.StreamResponse:
        raise Fault(413, text, headers={"Retry-After": "0"})

    return handler


class _Misc:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def types(self, _request: web.Request) -> web.Response:
        return answer({"volume_types": [TYPE]})

    async def type(self, request: web.Request) -> web.Response:
        if request.match_info["id"] not in {TYPE["id"], "default"}:
            raise Fault(404, f"Volume type {request.match_info['id'][:64]} could not be found.")
        return answer({"volume_type": TYPE})

    async def limits(self, request: web.Request) -> web.Response:
        async with self._cloud.store.read() as connection:
            used = await quotas.used_of_volume(connection, request[IDENTITY].project_id)
            allowed = await quotas.limits(connection, "volume", request[IDENTITY].project_id)
        absolute = {
            "maxTotalVolumes": allowed["volumes"],
            "maxTotalVolumeGigabytes": allowed["gigabytes"],
            "maxTotalSnapshots": allowed["snapshots"],
            "maxTotalBackups": allowed["backups"],
            "maxTotalBackupGigabytes": allowed["backup_gigabytes"],
            "totalVolumesUsed": used["volumes"],
            "totalGigabytesUsed": used["gigabytes"],
            "totalSnapshotsUsed": 0,
            "totalBackupsUsed": 0,
            "totalBackupGigabytesUsed": 0,
        }
        return answer({"limits": {"rate": [], "absolute": absolute}})

    async def zones(self, _request: web.Request) -> web.Response:
        return answer({"availabilityZoneInfo": [{"zoneName": "nova", "zoneState": {"available": True}}]})
