"""`cloud-init devel`: what the agent makes of files, without a boot. Source: guest-agent.md 5.7, 8."""

from __future__ import annotations

import sys

from guest_agent import devel
from guest_agent.commands import hotplug

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from guest_agent.devel import Answer
    from guest_agent.machine import Machine

    Add = Callable[[argparse.ArgumentParser], None]
    Run = Callable[[argparse.Namespace, str], Answer]

# Commands that are a function of their arguments and the root.
PLAIN: dict[str, tuple[Add, Run, str]] = {
    "merge": (devel.add_merge, devel.run_merge, "merge files as parts, or as configuration"),
    "userdata": (devel.add_userdata, devel.run_userdata, "the final parts of user data"),
    "render": (devel.add_render, devel.run_render, "render a template with instance data"),
    "make-mime": (devel.add_make_mime, devel.run_make_mime, "pack files into one MIME document"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command each."""
    commands = parser.add_subparsers(dest="devel_command", metavar="COMMAND", required=True)
    for name, (add, _run, text) in PLAIN.items():
        add(commands.add_parser(name, help=text, description=text))
    # Listed here for --help; its own parser in guest_agent.network.convert is called before this one.
    commands.add_parser("net-convert", help="a network document as files of a renderer")
    hotplug.add_arguments(commands.add_parser("hotplug-hook", help="what udev runs when a NIC comes or goes"))


def run(arguments: argparse.Namespace, machine: Machine) -> int:
    """Run it and print its answer."""
    name = arguments.devel_command
    if name == "hotplug-hook":
        return hotplug.run(arguments, machine)
    arguments.http = machine.settings.http or None
    answer = devel.answer(PLAIN[name][1], arguments, machine.root)
    sys.stdout.write(answer.out)
    sys.stderr.write(answer.err)
    return answer.status


def net_convert(words: list[str], machine: Machine) -> int:
    """`devel net-convert`: it has a parser of its own."""
    from pathlib import Path

    from guest_agent.network import convert

    return convert.main(words, Path(machine.root), lambda name: machine.commands.which(name) is not None)
