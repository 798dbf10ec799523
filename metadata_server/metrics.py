"""The counters of a server in Prometheus' text format; only on the admin socket (MS-D15)."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from metadata_server.services import Services

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Counters(Collector):
    """Reads the counters when asked; counting itself costs a dictionary entry a request."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        answered = CounterMetricFamily(
            "guestling_metadata_responses", "Answers sent, by status.", labels=["status"]
        )
        for status, count in sorted(self._services.answered.items()):
            answered.add_metric([str(status)], count)
        yield answered
        refused = CounterMetricFamily(
            "guestling_metadata_refused", "Connections ended without a request.", labels=["why"]
        )
        for status, count in sorted(self._services.refused.items()):
            refused.add_metric([str(status) if status else "too_many"], count)
        yield refused
        events = CounterMetricFamily("guestling_metadata_events", "What else happened.", labels=["event"])
        for event, count in sorted(self._services.events.items()):
            events.add_metric([event], count)
        yield events
        yield GaugeMetricFamily(
            "guestling_metadata_instances", "Instances known.", value=len(self._services.instances)
        )


def exposition(services: Services) -> bytes:
    """All metrics as text."""
    registry = CollectorRegistry()
    registry.register(_Counters(services))
    return generate_latest(registry)
