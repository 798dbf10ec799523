"""The command line: take the words of the test interface out, find the command, import only that one.

What a boot runs (`--all-stages`, `init`, `modules`) is recognised by its words alone; argparse is imported
for everything else. Source: guest-agent.md 5.1, 8.
"""

from __future__ import annotations

import os
import sys

from boot_stages.value import Value
from boot_stages.version import VERSION
from guest_agent.machine import Machine, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

USAGE_ERROR = 2


class Command(Value):
    """A command: its module has `add_arguments(parser)` and `run(arguments, machine) -> int`."""

    name: str
    module: str
    help: str


COMMANDS = (
    Command("init", "stage", "run the local or the network stage"),
    Command("modules", "stage", "run the config or the final stage"),
    Command("single", "single", "run one module"),
    Command("status", "status", "say how the boot went"),
    Command("query", "query", "print instance data"),
    Command("schema", "schema", "check a cloud-config or network config"),
    Command("clean", "clean", "make this machine forget that it was ever booted"),
    Command("analyze", "analyze", "show where the time of a boot went"),
    Command("collect-logs", "collect_logs", "pack logs and state for somebody who helps"),
    Command("features", "features", "list what this agent can do"),
    Command("devel", "devel", "what the agent makes of files, without a boot"),
    Command("explain", "explain", "say where a key, or a change of the guest, came from"),
)
# Commands of their own name, which `python -m guest_agent NAME` reaches as well.
OWN_COMMANDS = (
    Command("cloud-id", "cloud_id", "print the cloud's id"),
    Command("cloud-init-per", "cloud_init_per", "run a command once, once an instance, or always"),
    Command("ds-identify", "ds_identify", "say whether there is a source of instance data"),
)

# The words that units and init scripts use, and the stages they mean.
BOOT_WORDS: dict[tuple[str, ...], str] = {
    ("--all-stages",): "all",
    ("init", "--local"): "init-local",
    ("init",): "init",
    ("modules", "--mode=config"): "modules-config",
    ("modules", "--mode", "config"): "modules-config",
    ("modules", "--mode=final"): "modules-final",
    ("modules", "--mode", "final"): "modules-final",
}

# Options of the test interface that take a value, and how it is read.
_SETTINGS: dict[str, tuple[str, Callable[[str], object]]] = {
    "--root": ("root", str),
    "--commands": ("commands", str),
    "--replies": ("replies", str),
    "--have": ("have", lambda text: tuple(word for word in text.split(",") if word)),
    "--http": ("http", str),
    "--epoch": ("epoch_s", float),
    "--uptime": ("uptime_s", float),
    "--seed-random": ("random_seed", int),
}


class UsageError(Exception):
    """The command line cannot be followed."""


def take_settings(words: Sequence[str], environment: dict[str, str]) -> tuple[Settings, list[str]]:
    """The test interface's options, wherever they stand before `--`, and the other words.

    Raises UsageError.
    """
    given: dict[str, object] = {}
    if environment.get("AGENT_ROOT"):
        given["root"] = environment["AGENT_ROOT"]
    rest: list[str] = []
    pending = list(words)
    while pending:
        word = pending.pop(0)
        if word == "--":
            return Settings(**given), [*rest, word, *pending]  # type: ignore[arg-type]  # read by the table
        name, equals, value = word.partition("=")
        if name not in _SETTINGS:
            rest.append(word)
            continue
        if not equals:
            if not pending:
                raise UsageError(f"argument {name}: expected one argument")
            value = pending.pop(0)
        field, read = _SETTINGS[name]
        try:
            given[field] = read(value)
        except ValueError:
            raise UsageError(f"argument {name}: invalid value: {value!r}") from None
    if given.get("commands", "") not in {"", "run", "record"}:
        raise UsageError("argument --commands: use run or record")
    return Settings(**given), rest  # type: ignore[arg-type]  # read by the table above


def main(program: str = "cloud-init", words: Sequence[str] | None = None) -> int:
    """Run a command of ours (with the process's own words by default); its exit status.

    Never raises but SystemExit.
    """
    try:
        settings, rest = take_settings(sys.argv[1:] if words is None else words, dict(os.environ))
        machine = Machine(settings)
    except (UsageError, OSError, ValueError) as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return USAGE_ERROR
    try:
        return _dispatch(program, rest, machine)
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python must not complain while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        machine.close()


def _dispatch(program: str, words: list[str], machine: Machine) -> int:
    if words[:2] == ["devel", "net-convert"]:
        from guest_agent.commands.devel import net_convert

        return net_convert(words[2:], machine)
    if program not in {command.name for command in OWN_COMMANDS}:
        stage = BOOT_WORDS.get(tuple(words))
        if stage is not None:
            from guest_agent.commands.stage import run_stage

            return run_stage(machine, stage)
        own = next((command for command in OWN_COMMANDS if words and words[0] == command.name), None)
    else:
        own = next(command for command in OWN_COMMANDS if command.name == program)
        words = [program, *words]
    if own is not None:
        return _run_own(own, words[1:], machine)
    return _run_parsed(words, machine)


def _run_own(command: Command, words: list[str], machine: Machine) -> int:
    import importlib

    run: Callable[[list[str], Machine], int] = importlib.import_module(
        f"guest_agent.commands.{command.module}"
    ).main
    return run(words, machine)


def _run_parsed(words: list[str], machine: Machine) -> int:
    import argparse
    import importlib

    parser = argparse.ArgumentParser(prog="cloud-init", description="Set up this guest as its cloud asks.")
    parser.add_argument("-v", "--version", action="version", version=f"cloud-init {VERSION}")
    parser.add_argument("-d", "--debug", action="store_true", help="show debug records on stderr")
    parser.add_argument("--force", action="store_true", help="go on without a datasource")
    parser.add_argument("--all-stages", action="store_true", help="run all stages, handing over by sockets")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    # Only the command that was named needs its arguments (and its imports).
    named = next((word for word in words if any(word == command.name for command in COMMANDS)), "")
    modules = {}
    for command in COMMANDS:
        sub = commands.add_parser(command.name, help=command.help, description=command.help)
        if command.name == named:
            modules[named] = importlib.import_module(f"guest_agent.commands.{command.module}")
            modules[named].add_arguments(sub)
    arguments = parser.parse_args(words)
    if arguments.all_stages:
        from guest_agent.commands.stage import run_stage

        return run_stage(machine, "all", is_verbose=arguments.debug, force=arguments.force)
    if not arguments.command:
        print("cloud-init: error: a subcommand is required", file=sys.stderr)
        parser.print_help(sys.stderr)
        return USAGE_ERROR
    run: Callable[[argparse.Namespace, Machine], int] = modules[arguments.command].run
    return run(arguments, machine)
