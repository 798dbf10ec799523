"""The command `guestling`: finds the sub-command, lets it read its arguments and run.

Each sub-command is a module of this package with `add_arguments(parser)` and `run(arguments) -> int`;
only the one that was asked for is imported, so that `guestling --version` stays under 0.15 s.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import NamedTuple

from guestling.parser import Parser
from guestling.version import VERSION


class Command(NamedTuple):
    """A sub-command: its name, the module that holds it, one line of help."""

    name: str
    module: str
    help: str


COMMANDS: tuple[Command, ...] = (
    Command("api", "guestling.api", "serve the OpenStack APIs: a small cloud in one process"),
    Command("boot", "guestling.boot", "boot an image, follow the agent, show its result"),
    Command("drive", "guestling.drive", "build, show, verify, compare and convert config drives"),
    Command("demo", "guestling.demo", "boot a guest end to end and show what happens"),
    Command("explain", "guestling.explain", "say where a key or a change of a guest came from"),
    Command("image", "guestling.image", "build images, list them, show what they are made of"),
    Command("lint", "guestling.lint", "check user data: faults with lines, old keys, sizes"),
    Command("metadata", "guestling.metadata", "show what a guest would read, without a server"),
    Command("plan", "guestling.plan", "show what user data would change, without booting"),
    Command("serve", "guestling.serve", "serve instance metadata over HTTP"),
    Command("server", "guestling.server", "make, list, show, delete servers of the cloud of `guestling api`"),
)


def _overview() -> str:
    width = max((len(command.name) for command in COMMANDS), default=0)
    return "commands:\n" + "\n".join(f"  {command.name:<{width}}  {command.help}" for command in COMMANDS)


def _top_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="guestling",
        description="The OpenStack guest boot path: metadata, config drives, guests.",
        epilog=_overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"guestling {VERSION}")
    parser.add_argument(
        "command", metavar="COMMAND", choices=[command.name for command in COMMANDS], help="see below"
    )
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one sub-command. Returns 0 done, 1 the thing asked for failed, 2 usage or input error."""
    top = _top_parser().parse_args(argv)
    command = next(command for command in COMMANDS if command.name == top.command)
    module = importlib.import_module(command.module)
    parser = Parser(prog=f"guestling {command.name}", description=module.__doc__)
    module.add_arguments(parser)
    try:
        return int(module.run(parser.parse_args(top.arguments)))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not an error of ours.
        sys.stderr.close()
        return 1


if __name__ == "__main__":
    sys.exit(main())
