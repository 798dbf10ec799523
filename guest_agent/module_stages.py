"""Run the modules of a stage, and keep what they changed."""

from __future__ import annotations

import os

from boot_stages import runner
from boot_stages.commands import SystemCommands
from boot_stages.log import logger
from boot_stages.plain_json import write_json
from boot_stages.stages import DEFAULT_MODULES, STAGES
from guest_agent.report import Tails, told_of
from guest_agent.state import CHANGES, Appends

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from boot_stages.runner import Outcome
    from boot_stages.stages import Stage
    from guest_agent.boot import Boot

LOG = logger("modules")


def stage_of(key: str) -> Stage:
    """The row of the stage table with this key."""
    return next(stage for stage in STAGES if stage.key == key)


def run(boot: Boot, key: str, items: Sequence[object] | None = None) -> list[str]:
    """Run the list of a stage; `('name', Error('text'))` for each module that failed."""
    stage = stage_of(key)
    source = boot.source
    if source is None:
        return []
    if items is None:
        listed = boot.config.get(stage.module_list)
        items = listed if isinstance(listed, list) else DEFAULT_MODULES[stage.module_list]
    if isinstance(boot.machine.commands, SystemCommands):
        boot.machine.commands.begin_stage(boot.limits.stage_s, boot.limits.command_output_bytes)
    effects = boot.machine.effects()
    effects.appends = Appends(boot.machine, boot.instance_directory)
    journal = boot.state.journal(
        source.instance_id, rerun_interrupted=boot.config.get("rerun_interrupted") is True
    )
    if boot.machine.is_live and not boot.machine.is_recorded:
        journal.sync = lambda: os.sync() if effects.results else None

    def tell(name: str, outcome: Outcome | None) -> None:
        boot.reporter.module(stage.event, name, outcome)

    outcomes = runner.run_modules(
        items, boot.config, boot.facts(), effects, journal, stage=stage.event, tell=tell
    )
    _keep_changes(boot, stage, outcomes)
    if boot.machine.power_changes:
        from guest_agent import power

        power.schedule(boot.machine)
    return [f"('{each.name}', {each.error})" for each in outcomes if each.error]


def _keep_changes(boot: Boot, stage: Stage, outcomes: Sequence[Outcome]) -> None:
    """What each module did and how its commands ended, one JSON line each, for `cloud-init explain`."""
    tails = Tails()
    lines = [
        write_json(
            {
                "stage": stage.event,
                "module": each.name,
                "result": each.result,
                "uptime_s": boot.machine.clock().uptime_s,
                "took_s": each.took_s,
                "did": list(each.done),
                "why": each.error or each.reason,
                "commands": told_of(each, tails).get("commands", []),
            }
        )
        for each in outcomes
        if each.result != runner.SKIPPED
    ]
    if not lines:
        return
    path = boot.machine.path(f"{boot.instance_directory}/{CHANGES.path}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    descriptor = os.open(path, flags, CHANGES.mode)
    try:
        os.write(descriptor, ("\n".join(lines) + "\n").encode("utf-8", "replace"))
    finally:
        os.close(descriptor)
