"""Run modules: is it due? decode, plan, apply, record. State is handed in.

Source: guest-agent.md 3.1 and 6; faults-and-threats GA-S02 (at most once), GA-S11 (one bad module).
"""

from __future__ import annotations

import time

from boot_stages import actions
from boot_stages.errors import ActionFailed, LeftOut, ModuleFailed, StageError
from boot_stages.log import logger
from boot_stages.module import ALWAYS, FREQUENCIES
from boot_stages.registry import REMOVED, Entry, entry, plain_name
from boot_stages.schema import Undecodable
from boot_stages.stages import DEFAULT_MODULES
from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Protocol

    from boot_stages.apply import CommandResult, Effects
    from boot_stages.facts import Facts
    from boot_stages.schema import Fault, Keys

    class Journal(Protocol):
        """What ran, for which instance: kept by the agent."""

        def has_run(self, name: str, frequency: str) -> bool:
            """Whether a module of this frequency is done (or was begun and must not begin again)."""

        def was_cut(self, name: str, frequency: str) -> bool:
            """Whether it was begun and never ended; known only of those that leave a mark when they begin."""

        def begin(self, name: str, frequency: str) -> None:
            """Durable before the module's first effect."""

        def end(self, name: str, frequency: str) -> None:
            """Durable after the module's last effect, also when it failed (D18)."""


LOG = logger("runner")

SUCCESS = "SUCCESS"
WARNED = "WARN"
FAILED = "FAIL"
SKIPPED = "SKIPPED"
NOTHING_TO_DO = "nothing to do: the guest is already so"


class Due(Value):
    """One item of a stage's list: the module, and the frequency the list gives it."""

    entry: Entry
    frequency: str


class Outcome(Value):
    """What came of one module: SUCCESS, WARN, FAIL or SKIPPED; why; the actions done; the commands' ends."""

    name: str
    result: str
    reason: str = ""
    took_s: float = 0.0
    done: tuple[str, ...] = ()
    commands: tuple[CommandResult, ...] = ()
    error: str = ""


def due_modules(items: Sequence[object]) -> tuple[list[Due], list[str]]:
    """The modules a stage list names, and warnings for what it names wrongly.

    Items are `name`, `[name, frequency, args...]` or `{name, frequency, args}`.
    """
    due: list[Due] = []
    warnings: list[str] = []
    for item in items:
        name, frequency = _name_and_frequency(item)
        found = entry(name)
        if found is None:
            if plain_name(name) in REMOVED:
                LOG.info("Module %s is gone: it is left out", name)
            else:
                warnings.append(f"Could not find module named {name}")
            continue
        if frequency and frequency not in FREQUENCIES:
            warnings.append(f"Module {name} has an unknown frequency {frequency}; its own is used")
            frequency = ""
        due.append(Due(found, frequency or found.frequency))
    return due, warnings


def _name_and_frequency(item: object) -> tuple[str, str]:
    if isinstance(item, dict):
        return str(item.get("name", "")), str(item.get("frequency") or "")
    if isinstance(item, (list, tuple)) and item:
        return str(item[0]), str(item[1]) if len(item) > 1 and item[1] else ""
    return str(item), ""


def listed_names(config: Mapping[str, object]) -> list[str]:
    """The names of all modules that the lists of a config name, the built-in ones where it has none."""
    names = []
    for key, built_in in DEFAULT_MODULES.items():
        listed = config.get(key)
        names += [_name_and_frequency(each)[0] for each in (listed if isinstance(listed, list) else built_in)]
    return names


def run_module(
    due: Due,
    config: Mapping[str, object],
    facts: Facts,
    effects: Effects,
    journal: Journal,
    unverified: object = (),
    *,
    starting: Callable[[], None] = lambda: None,
) -> Outcome:
    """Run one module if it is due. Never raises: what went wrong is in the outcome.

    `config` is the whole merged cloud-config; `unverified` names modules that run on every distribution;
    `starting` is called when the module is due, before anything of it happens.
    """
    started = time.monotonic()
    name = due.entry.name
    skipped = _why_skipped(due, config, facts, journal, unverified)
    if skipped:
        LOG.info("Skipping module named %s, %s", name, skipped)
        return Outcome(name, SKIPPED, skipped)
    starting()
    journal.begin(name, due.frequency)
    if due.entry.is_idle(config, facts):
        journal.end(name, due.frequency)
        return Outcome(name, SUCCESS, due.entry.why_idle())
    effects.results = []
    effects.appended = 0
    done: list[str] = []
    warnings: list[str] = []
    notes: list[str] = []
    error = ""
    try:
        plan, faults = plan_module(due.entry, config, facts)
        error = _carry_out(plan, effects, done, warnings, notes)
        if faults:
            raise ModuleFailed("; ".join(str(fault) for fault in faults))
    except StageError as failure:
        error = f"{type(failure).__name__}({str(failure)!r})"
    except Undecodable as failure:
        error = f"BadConfig({'; '.join(str(fault) for fault in failure.faults)!r})"
    except Exception as failure:  # noqa: BLE001 - one broken module must not end the boot (GA-S11)
        LOG.traceback("module %s raised", name)
        error = f"{type(failure).__name__}({str(failure)!r})"
    journal.end(name, due.frequency)
    return Outcome(
        name,
        FAILED if error else WARNED if warnings else SUCCESS,
        "" if error else _reason(done, warnings, notes),
        round(time.monotonic() - started, 4),
        tuple(done),
        tuple(effects.results),
        error,
    )


def _why_skipped(
    due: Due, config: Mapping[str, object], facts: Facts, journal: Journal, unverified: object
) -> str:
    found = due.entry
    if found.activated_by and not any(key in config for key in found.activated_by):
        return f"no key of it is set ({', '.join(found.activated_by)})"
    if not found.is_for(facts.distro, unverified):
        return f"it is for {', '.join(found.families)}, this is {facts.distro.name}"
    if due.frequency != ALWAYS and journal.has_run(found.name, due.frequency):
        return f"previously ran ({due.frequency})"
    return ""


def plan_module(
    found: Entry, config: Mapping[str, object], facts: Facts
) -> tuple[tuple[actions.Action, ...], list[Fault]]:
    """What a module would do now, and the parts of its config that had to be left out.

    Raises Undecodable when its config has no good reading, ModuleFailed when the module refuses.
    """
    module = found.load()
    faults: list[Fault] = []
    keys: Keys = module.config.read(config, "", faults)
    return tuple(module.plan(keys, facts)), faults


def _carry_out(
    plan: Sequence[actions.Action], effects: Effects, done: list[str], warnings: list[str], notes: list[str]
) -> str:
    """Carry out a plan; the last collected error in the end, or "". Raises what stops the module."""
    error = ""
    for action in plan:
        try:
            effects.apply(action)
        except LeftOut as reason:
            LOG.info("%s", reason)
            notes.append(str(reason))
            continue
        except (ActionFailed, ModuleFailed) as failure:
            if action.on_failure == actions.STOP:
                raise
            if action.on_failure == actions.GO_ON:
                LOG.warning("%s", failure)
                error = f"{type(failure).__name__}({str(failure)!r})"
            elif action.on_failure == actions.WARN:
                LOG.warning("%s", failure)
                warnings.append(str(failure))
            else:
                LOG.debug("ignored: %s", failure)
            continue
        if isinstance(action, actions.Report):
            if action.level not in {"DEBUG", "INFO"}:
                warnings.append(action.text)
            elif action.level == "INFO":
                notes.append(action.text)
            continue
        done.append(action.summary())
    return error


def _reason(done: Sequence[str], warnings: Sequence[str], notes: Sequence[str]) -> str:
    """The first warning; for a module that did nothing its own words, where it said why."""
    if warnings:
        return warnings[0]
    if done:
        return ""
    return notes[0] if notes else NOTHING_TO_DO


def run_modules(
    items: Sequence[object],
    config: Mapping[str, object],
    facts: Facts,
    effects: Effects,
    journal: Journal,
    *,
    stage: str,
    tell: Callable[[str, Outcome | None], None],
) -> list[Outcome]:
    """Run a stage's list in order.

    `tell(name, None)` when a due module starts, `tell(name, outcome)` after each module, also a skipped one.
    """
    due, warnings = due_modules(items)
    for text in warnings:
        LOG.warning("%s", text)
    unverified = config.get("unverified_modules", ())
    outcomes = []
    for each in due:
        name = each.entry.name
        effects.stage = stage
        effects.module = name
        outcome = run_module(
            each,
            config,
            facts.for_module(stage, name, was_cut=journal.was_cut(name, each.frequency)),
            effects,
            journal,
            unverified,
            starting=lambda name=name: tell(name, None),  # type: ignore[misc]  # bound in this round
        )
        if outcome.error:
            LOG.warning("Running module %s failed: %s", outcome.name, outcome.error)
        tell(name, outcome)
        outcomes.append(outcome)
    return outcomes
