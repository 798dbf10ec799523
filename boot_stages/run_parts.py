"""Directories of scripts, run in the order of their names. Source: guest-agent.md 3.3 (scripts_*)."""

from __future__ import annotations

from boot_stages.actions import RunCommand, RunParts, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from boot_stages.actions import Action
    from boot_stages.facts import Facts


def run_parts(
    directory: str,
    facts: Facts,
    prefix: tuple[str, ...] = (),
    instead: Mapping[str, str] | None = None,
) -> tuple[Action, ...]:
    """Every executable file of a directory, behind `prefix`; a warning for a file that is not executable.

    `instead` names files that are run in place of those of some names.
    """
    commands: list[RunCommand] = []
    warnings: list[Action] = []
    for name in facts.names_in(directory):
        path = f"{directory}/{name}"
        if not facts.is_file(path):
            continue
        if not facts.is_executable(path):
            warnings.append(warn(f"{path} is not executable: it is not run. Make it so with chmod +x"))
            continue
        commands.append(
            RunCommand((*prefix, (instead or {}).get(name, path)), show=True, name=name, opaque=True)
        )
    return (*warnings, RunParts(directory, tuple(commands))) if commands else tuple(warnings)
