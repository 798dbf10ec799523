"""`power_state_change`: power off, reboot or halt once the agent has ended. Source: guest-agent.md 3.3."""

from __future__ import annotations

import re

from boot_stages.actions import ChangePower, note, warn
from boot_stages.errors import ModuleFailed
from boot_stages.module import Module
from boot_stages.schema import TEXT, Keys, Kind, deprecated, key, record, with_schema

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts
    from boot_stages.schema import Fault

FLAGS = {"poweroff": "-P", "reboot": "-r", "halt": "-H"}
_ANYTHING: Kind[object] = Kind({}, lambda value, _path, _faults: value)


def _read_condition(value: object, _path: str, _faults: list[Fault]) -> object:
    return tuple(str(word) for word in value) if isinstance(value, (list, tuple)) else value


class PowerKeys(Keys):
    """The map below `power_state`."""

    delay: str = key(
        "`now`, or minutes.",
        with_schema(
            TEXT,
            {
                "oneOf": [
                    {"type": "integer", "minimum": 0},
                    deprecated(
                        {"type": "string", "pattern": r"^\+?[0-9]+$"}, "Write 'now' or a number of minutes."
                    ),
                    {"enum": ["now"]},
                ]
            },
        ),
        default="now",
    )
    mode: str = key(
        "What is done.", with_schema(TEXT, {"type": "string", "enum": list(FLAGS)}), default="", required=True
    )
    message: str = key("What logged-in users are told.", TEXT, default="")
    timeout: object = key(
        "Seconds to wait for the agent's end.", with_schema(_ANYTHING, {"type": "integer"}), default=30
    )
    condition: object = key(
        "true, false, or a command (a text for the shell, or a list) that must exit 0.",
        Kind({"oneOf": [{"type": "string"}, {"type": "boolean"}, {"type": "array"}]}, _read_condition),
        default=True,
    )


class Config(Keys):
    """Keys of `power_state_change`."""

    power_state: PowerKeys = key("The change of power at the end.", record(PowerKeys), default=PowerKeys())


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """One change, handed over until the agent has ended; a bad setting is a warning and nothing happens."""
    keys = config.power_state
    try:
        argv = _argv(keys, facts)
        timeout_s = _timeout_s(keys.timeout)
        condition = _condition(keys.condition)
    except ModuleFailed as error:
        return (warn(f"{error}. Power is not changed"),)
    if condition is None:
        return (note("power_state.condition is false: power is not changed"),)
    return (ChangePower(argv, timeout_s, condition),)


def _argv(keys: PowerKeys, facts: Facts) -> tuple[str, ...]:
    if keys.mode not in FLAGS:
        raise ModuleFailed(f"power_state.mode is not one of {', '.join(FLAGS)}")
    minutes = keys.delay.removeprefix("+") if keys.delay != "now" else "now"
    if minutes != "now" and not re.fullmatch("[0-9]+", minutes):
        raise ModuleFailed("power_state.delay is neither 'now' nor a number of minutes")
    if facts.distro.family == "alpine":
        seconds = 0 if minutes == "now" else int(minutes) * 60
        return (keys.mode, "-d", str(seconds))
    when = "now" if minutes == "now" else f"+{int(minutes)}"
    return ("shutdown", FLAGS[keys.mode], when, *((keys.message,) if keys.message else ()))


def _timeout_s(value: object) -> int:
    try:
        return int(str(value))
    except ValueError as error:
        raise ModuleFailed("power_state.timeout is not a number of seconds") from error


def _condition(value: object) -> tuple[str, ...] | None:
    """The command to ask, () for always, None for never."""
    if value is True or value is False:
        return () if value else None
    if isinstance(value, str):
        return ("/bin/sh", "-c", value)
    if isinstance(value, tuple):
        return value
    raise ModuleFailed("power_state.condition is neither true, false nor a command")


MODULE = Module("power_state_change", Config, plan)
