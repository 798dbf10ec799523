"""Boot a guest end to end and show what happens: metadata, stages, modules, and what the guest became."""

from __future__ import annotations

import argparse
import uuid

from guestling import output
from guestling.boot import add_source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `guestling demo`."""
    add_source(parser)
    output.add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Exit status 0 when the guest itself reported success and all that was asked for is found in it."""
    from guestling.screen import printer
    from image_harness import run as harness
    from image_harness.demo import instance as demo
    from image_harness.demo.summary import opening, summary
    from image_harness.errors import HarnessError
    from image_harness.progress import Source
    from image_harness.report import new_directory
    from spawner.errors import SpawnerError

    show = printer(arguments.format)
    request = harness.Request(
        image="tiny",
        instance=demo.instance(uuid.uuid4()),
        source=Source(arguments.source),
        report=(arguments.report or new_directory("demo")).absolute(),
        list_changes=True,
    )
    show(opening())
    try:
        done = harness.run(request, show)
    except (HarnessError, SpawnerError) as error:
        output.complain(error)
        return 1
    verdict = summary(done.outcome, done.report)
    show(verdict.lines)
    if arguments.format == "json":
        output.print_json({**done.summary, "claims": verdict.claims, "report": str(done.report)})
    return 0 if verdict.succeeded else 1
