"""`cloud-init analyze`: where the time of a boot went, read from the events in the log.

Source: guest-agent.md 5.6.
"""

from __future__ import annotations

import sys

from boot_stages.plain_json import write_indented
from guest_agent.log import DEFAULT_LOG_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from guest_agent.boot_records import Event
    from guest_agent.machine import Machine

FORMAT = "%I%D @%Es +%ds"
EXPLANATION = """\
The total time elapsed since completing an event is printed after the "@" character.
The time the event takes is printed after the "+" character.
"""
FRAME = "-- Boot Record {number:02d} --"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `analyze`."""
    commands = parser.add_subparsers(dest="analyze_command", metavar="COMMAND", required=True)
    texts = {
        "blame": "steps by the time they took",
        "show": "steps in order",
        "dump": "events as JSON",
        "boot": "kernel, userspace and agent",
        "plot": "steps as an SVG picture",
    }
    for name, text in texts.items():
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("-i", "--infile", default=DEFAULT_LOG_FILE, metavar="LOG")
        sub.add_argument("-o", "--outfile", default="-", metavar="FILE")
        if name == "show":
            sub.add_argument("-f", "--format", default=FORMAT, dest="line_format")


def run(arguments: argparse.Namespace, machine: Machine) -> int:
    """Print the analysis; 1 when there is nothing to analyse."""
    from guest_agent import boot_records

    name = arguments.infile
    try:
        text = _read(name, machine)
    except OSError:
        print(f"Cannot open file {name}", file=sys.stderr)
        return 1
    if not text:
        print(f"Empty file {name}", file=sys.stderr)
        return 1
    events = boot_records.parse(text)
    if arguments.analyze_command == "boot":
        from guest_agent.boot_times import shown

        found = shown(machine, events)
        return _put(found.text, arguments.outfile) or (0 if found.is_known else 1)
    if arguments.analyze_command == "plot":
        from guest_agent.boot_plot import svg

        return _put(svg(boot_records.records(events)), arguments.outfile)
    shown_by = {"dump": _dump, "blame": _blame}
    if arguments.analyze_command in shown_by:
        return _put(shown_by[arguments.analyze_command](events), arguments.outfile)
    return _put(_show(events, arguments.line_format), arguments.outfile)


def _read(name: str, machine: Machine) -> str:
    if name == "-":
        return sys.stdin.read()
    from guest_agent.devel import read_named

    return read_named(name if name != DEFAULT_LOG_FILE else machine.path(name), machine.root).decode(
        "utf-8", "replace"
    )


def _put(text: str, outfile: str) -> int:
    """To stdout or a file; 1 when the file cannot be written."""
    if outfile == "-":
        sys.stdout.write(text)
        return 0
    try:
        with open(outfile, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        print(f"Cannot open file {outfile}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _dump(events: list[Event]) -> str:
    return write_indented([event.to_json() for event in events]) + "\n"


def _show(events: list[Event], line_format: str) -> str:
    from guest_agent import boot_records

    lines: list[str] = []
    records = boot_records.records(events)
    for number, record in enumerate(records, 1):
        lines += [FRAME.format(number=number), EXPLANATION]
        for stage in record.stages:
            lines.append(f"Starting stage: {stage.name}")
            lines += [step.shown(line_format, record.start_s) for step in stage.steps]
            lines.append(f"Finished stage: ({stage.name}) {stage.took_s:08.5f} seconds")
            lines.append("")
        lines += [f"Total Time: {record.took_s:.5f} seconds", ""]
    return "\n".join([*lines, f"{len(records)} boot records analyzed", ""])


def _blame(events: list[Event]) -> str:
    from guest_agent import boot_records

    lines: list[str] = []
    records = boot_records.records(events)
    for number, record in enumerate(records, 1):
        lines.append(FRAME.format(number=number))
        steps = [step for stage in record.stages for step in stage.steps]
        longest_first = sorted(steps, key=lambda step: step.took_s, reverse=True)
        lines += [f"     {step.took_s:08.5f}s ({step.name})" for step in longest_first]
        lines.append("")
    return "\n".join([*lines, f"{len(records)} boot records analyzed", ""])
