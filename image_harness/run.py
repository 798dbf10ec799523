"""From "boot this image with that" to an outcome and its report: what `guestling boot` and `demo` call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from image_harness import boot, images, store
from image_harness.narrator import Line, lines
from image_harness.progress import Choice, Chosen, Happening, Preparing, Source
from image_harness.report import Report
from instance_metadata.instance import Instance

Show = Callable[[tuple[Line, ...]], None]


@dataclass(frozen=True)
class Request:
    """What somebody asked for on the command line. `report`: where the report shall lie."""

    image: str
    instance: Instance
    source: Source
    report: Path
    list_changes: bool = False
    stay: bool = False
    deadline_s: float = 300.0


@dataclass(frozen=True)
class Run:
    """What came of it."""

    outcome: boot.Outcome
    report: Path
    summary: dict[str, object]


def run(request: Request, show: Show) -> Run:
    """Get the image, boot it, write the report, and show each happening meanwhile.

    Must be called in the main thread. Raises HarnessError and SpawnerError where no guest could be started.
    """
    report = Report()

    def tell(happening: Happening) -> None:
        show(lines(happening, report.tell(happening)))

    found = images.get(request.image, lambda step: tell(Preparing(step)))
    tell(Chosen(Choice.IMAGE, found.image.name, _facts(found)))
    order = boot.Order(
        image=found.image,
        instance=request.instance,
        source=request.source,
        deadline_s=request.deadline_s,
        list_changes=request.list_changes,
        stay=request.stay,
    )
    outcome = asyncio.run(boot.boot(order, boot.probe_host(found.image), tell))
    report.write(request.report, outcome)
    return Run(outcome, request.report, report.summary(outcome))


def _facts(found: store.Built) -> str:
    image = found.image
    where = "from the cache" if found.cached else "built just now"
    return f"kernel {image.manifest.kernel}, {image.size_bytes / 1e6:.0f} MB, {where}"
