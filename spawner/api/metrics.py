"""`/metrics`: every guest's use and every host's resources in Prometheus' text format, for admins.

A scraper signs in with an application credential as user name and password, because tokens expire.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spawner import identity, placement
from spawner.api import policy
from spawner.api.cloud import Cloud
from spawner.api.faults import Fault
from spawner.api.requests import IDENTITY
from spawner.compute.measure import Measure
from spawner.identity import Identity, NotAuthenticated
from spawner.placement import Provider
from spawner.store import servers
from spawner.store.servers import Server

PATH = "/metrics"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
RULE = "metrics:read"


def routes(cloud: Cloud) -> list[web.RouteDef]:
    """The one route."""

    async def show(request: web.Request) -> web.Response:
        who = request[IDENTITY] if IDENTITY in request else await _by_credential(cloud, request)
        if not policy.allows(RULE, who.roles):
            raise Fault(403, f"Policy doesn't allow {RULE} to be performed.")
        async with cloud.store.read() as connection:
            known = await servers.listed(connection)
            hosts = await placement.providers(connection)
        content = exposition(known, hosts, await cloud.conductor.measures())
        return web.Response(body=content, headers={"Content-Type": CONTENT_TYPE})

    return [web.get(PATH, show)]


async def _by_credential(cloud: Cloud, request: web.Request) -> Identity:
    """Whose application credential (`Authorization: Basic`, id and secret) it is. Raises NotAuthenticated."""
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    try:
        name, _, secret = base64.b64decode(text, validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        raise NotAuthenticated from None
    if scheme.lower() != "basic" or not name:
        raise NotAuthenticated
    async with cloud.store.read() as connection:
        with cloud.sign_ins.attempt(request.remote or "", name, cloud.clock()):
            return await identity.by_application_credential(connection, name, secret, cloud.clock())


def exposition(known: Sequence[Server], hosts: Sequence[Provider], measures: Mapping[str, Measure]) -> bytes:
    """All metrics as text."""
    registry = CollectorRegistry()
    registry.register(_Collector(known, hosts, measures))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(
        self, known: Sequence[Server], hosts: Sequence[Provider], measures: Mapping[str, Measure]
    ) -> None:
        self._known, self._hosts = known, hosts
        self._guests = [(each, measures[each.id]) for each in known if each.id in measures]

    def collect(self) -> Iterator[Metric]:
        yield from self._of_cloud()
        yield from self._of_guests()
        yield from self._transfers("block", "device", "read", "written", "operations")
        yield from self._transfers("network", "interface", "received", "sent", "packets")

    def _of_cloud(self) -> Iterator[Metric]:
        by_status = GaugeMetricFamily("guestling_servers", "Servers, by status.", labels=["status"])
        for status, count in sorted(Counter(each.status for each in self._known).items()):
            by_status.add_metric([status], count)
        yield by_status
        labels = ["host", "resource"]
        total = GaugeMetricFamily("guestling_host_resource_total", "What a host has.", labels=labels)
        used = GaugeMetricFamily("guestling_host_resource_used", "What servers have of it.", labels=labels)
        for host in self._hosts:
            for name, inventory in sorted(host.inventories.items()):
                total.add_metric([host.name, name], inventory.total)
                used.add_metric([host.name, name], host.used.get(name, 0))
        yield from (total, used)

    def _of_guests(self) -> Iterator[Metric]:
        labels = ["server", "name", "project"]
        cpu = CounterMetricFamily(
            "guestling_guest_cpu_seconds", "Time its processors ran.", labels=[*labels, "cpu"]
        )
        memory = GaugeMetricFamily("guestling_guest_memory_bytes", "Memory that it was given.", labels=labels)
        resident = GaugeMetricFamily(
            "guestling_guest_resident_bytes", "Memory that its process really has.", labels=labels
        )
        for server, found in self._guests:
            for number, seconds in found.cpu_s.items():
                cpu.add_metric([*_labels(server), number], seconds)
            memory.add_metric(_labels(server), found.memory_bytes)
            resident.add_metric(_labels(server), found.resident_bytes)
        yield from (cpu, memory, resident)

    def _transfers(self, what: str, label: str, inwards: str, outwards: str, count: str) -> Iterator[Metric]:
        labels = ["server", "name", "project", label, "direction"]
        in_bytes = CounterMetricFamily(f"guestling_guest_{what}_bytes", f"Bytes by {label}.", labels=labels)
        in_count = CounterMetricFamily(
            f"guestling_guest_{what}_{count}", f"{count.capitalize()} by {label}.", labels=labels
        )
        for server, found in self._guests:
            rows = found.blocks if what == "block" else found.networks
            for name, moved in sorted(rows.items()):
                for direction, size, number in (
                    (inwards, moved.bytes_in, moved.count_in),
                    (outwards, moved.bytes_out, moved.count_out),
                ):
                    in_bytes.add_metric([*_labels(server), name, direction], size)
                    in_count.add_metric([*_labels(server), name, direction], number)
        yield from (in_bytes, in_count)


def _labels(server: Server) -> list[str]:
    return [server.id, server.name, server.project_id]
