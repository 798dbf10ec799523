"""`snap`: acknowledge assertions and run snap's commands, on Ubuntu, once snapd has its first snaps.

Commands run one after another, all of them; the module fails at the end and names those that failed.
Source: issue "Boot stages", point 1; the keys are those of cloud-init's schema.
"""

from __future__ import annotations

from boot_stages.actions import GO_ON, RunCommand, RunParts, WriteFile, note, warn
from boot_stages.errors import ModuleFailed
from boot_stages.module import Module
from boot_stages.packages import snap_seeded
from boot_stages.schema import TEXT, Fault, Keys, Kind, Undecodable, key, record, wrong
from boot_stages.value import Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    from boot_stages.actions import Action
    from boot_stages.facts import Facts

    # A text is a line of shell; a tuple is one command word by word.
    SnapCommand = Union[str, tuple[str, ...]]

SNAP = "snap"
_TEXT = {"type": "string"}
_COMMAND = {"oneOf": [_TEXT, {"type": "array", "items": _TEXT}]}
_LIST_OR_MAP = {
    "type": ["object", "array"],
    "additionalItems": False,
    "minItems": 1,
    "minProperties": 1,
}


def _items(value: object, path: str) -> list[tuple[str, object]]:
    """The items with their paths: a list as it stands, a map in the order of its names."""
    if isinstance(value, dict):
        return [(f"{path}.{name}", value[name]) for name in sorted(value, key=str)]
    if isinstance(value, (list, tuple)):
        return [(f"{path}[{index}]", each) for index, each in enumerate(value)]
    raise wrong(path, "a list or a map", value, "Write each item on its own line, after '- '")


def _read_assertions(value: object, path: str, faults: list[Fault]) -> tuple[str, ...]:
    # In the order in which they are written, a map's too: one may need those before it.
    items = list(value.items()) if isinstance(value, dict) else _items(value, path)
    return tuple(TEXT.read(each, str(name), faults) for name, each in items)


def _read_commands(value: object, path: str, _faults: list[Fault]) -> tuple[SnapCommand, ...]:
    commands: list[SnapCommand] = []
    for place, each in _items(value, path):
        if isinstance(each, str):
            commands.append(each)
        elif isinstance(each, (list, tuple)) and any(word is not None for word in each):
            commands.append(_words(each))
        else:
            raise Undecodable(Fault(place, "a text or a list of words is expected", "Write 'snap install x'"))
    return tuple(commands)


def _words(command: list[object] | tuple[object, ...]) -> tuple[str, ...]:
    """The words with `snap` in front; a leading null says that the command is another program's."""
    words = tuple(str(word) for word in command if word is not None)
    return words if command[0] is None or words[0] == SNAP else (SNAP, *words)


class SnapKeys(Keys):
    """The map below `snap`."""

    assertions: tuple[str, ...] = key(
        "Signed assertions, given to `snap ack` before the commands.",
        Kind(
            {**_LIST_OR_MAP, "items": _TEXT, "uniqueItems": True, "additionalProperties": _TEXT},
            _read_assertions,
        ),
        default=(),
    )
    commands: tuple[SnapCommand, ...] = key(
        "Commands: a text is a line of shell, a list the words after `snap`; a map is run by its names.",
        Kind({**_LIST_OR_MAP, "items": _COMMAND, "additionalProperties": _COMMAND}, _read_commands),
        default=(),
    )


class Config(Keys):
    """Keys of `snap`."""

    snap: SnapKeys = key("Snaps.", record(SnapKeys, minProperties=1), default=SnapKeys())


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """Wait for snapd, acknowledge, run."""
    keys = config.snap
    if not keys.assertions and not keys.commands:
        return (note("snap holds neither assertions nor commands: nothing to do"),)
    if facts.which(SNAP) is None:
        raise ModuleFailed("snap: this guest has no snap. Install the package snapd")
    return (snap_seeded(), *_acknowledge(keys.assertions, facts), *_run(keys.commands))


def _acknowledge(assertions: tuple[str, ...], facts: Facts) -> tuple[Action, ...]:
    """One call for all. An assertion may hold the hash of a user's password: the file is root's alone."""
    if not assertions:
        return ()
    path = f"{facts.instance_directory}/snapd.assertions"
    text = Secret("\n".join(assertions))
    return (WriteFile(path, text, 0o600), RunCommand((SNAP, "ack", path), show=True, opaque=True))


def _run(commands: tuple[SnapCommand, ...]) -> tuple[Action, ...]:
    if not commands:
        return ()
    foreign = [each for each in commands if isinstance(each, str) and not each.startswith(f"{SNAP} ")]
    warnings = tuple(
        warn(f"snap.commands: {each!r} does not call snap; it is run all the same") for each in foreign
    )
    runs = tuple(
        RunCommand(
            ("/bin/sh", "-c", each) if isinstance(each, str) else each,
            show=True,
            name=_name(each),
            opaque=True,
        )
        for each in commands
    )
    return (*warnings, RunParts("snap.commands", runs, "these snap commands failed", on_failure=GO_ON))


def _name(command: SnapCommand) -> str:
    return command if isinstance(command, str) else " ".join(command)


MODULE = Module("snap", Config, plan)
