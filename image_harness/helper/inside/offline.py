"""Performs what of user data can be done in an image, and leaves the rest for the first boot.

A module is performed when a key of the user data is its own, its plan is known without doing it (no opaque
action), and what it does is the same for every machine made of the image.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import yaml

from boot_stages.actions import Action, to_json
from boot_stages.distros import distro_of, parse_os_release
from boot_stages.facts import Clock, Cloud, Facts
from boot_stages.foresight import Planned, plan_boot
from boot_stages.offline import why_left
from boot_stages.registry import entry
from boot_stages.runner import plan_module
from guest_agent import parts as parts_module
from guest_agent import user_data
from guest_agent.config import whole
from guest_agent.machine import Machine
from guest_agent.templates import render_text

SETTINGS = "/etc/cloud/cloud.cfg.d/95-guestling-user-data.cfg"
SCRIPTS = "/var/lib/cloud/scripts/per-instance"


def perform(machine: Machine, raw: str, say: Callable[[str], None]) -> dict[str, object]:
    """Carry it out. The answer: modules performed with their actions, modules left with why, scripts left."""
    document = user_data.consume(parts_module.expand(raw.encode(), "user-data").parts, "user-data")
    keys = {str(key): value for key, value in document.config.value.items()}
    configuration = whole(machine, environment={}, cloud_configs=[("user-data", document.config)])
    config = {str(name): value for name, value in configuration.values.items()}
    facts = _facts(machine, config)
    performed, left = [], []
    left_keys = set(keys)
    read_by_left: set[str] = set()
    for planned in plan_boot(config, facts):
        found = entry(planned.module)
        if found is None or not left_keys_of(found.keys, keys):
            continue
        why = why_left(planned)
        if not planned.actions and not why:
            continue
        if why:
            left.append({"module": planned.module, "why": why})
            read_by_left |= set(found.keys)
            continue
        say(f"performing {planned.module}")
        performed.append({"module": planned.module, "actions": _carry_out(machine, planned, config, facts)})
        left_keys -= set(found.keys)
    left_keys |= {key for key in keys if key in read_by_left}
    scripts = _leave_scripts(machine, document)
    if left_keys:
        rest = {key: value for key, value in keys.items() if key in left_keys}
        text = "#cloud-config\n# What of the user data baked into this image was left for the first boot.\n"
        machine.write(SETTINGS, text + yaml.safe_dump(rest, sort_keys=False), 0o600)
    return {"performed": performed, "left": left, "scripts": scripts, "left_keys": sorted(left_keys)}


def left_keys_of(of_module: tuple[str, ...], keys: dict[str, Any]) -> set[str]:
    """The keys of the user data that a module reads."""
    return {key for key in of_module if key in keys}


def _carry_out(machine: Machine, planned: Planned, config: dict[str, object], facts: Facts) -> list[str]:
    """Plan again with what is there by now, and do it."""
    found = entry(planned.module)
    if found is None:
        raise LookupError(planned.module)
    effects = machine.effects()
    done: list[str] = []
    actions: tuple[Action, ...] = plan_module(found, config, facts.for_module("bake", found.name))[0]
    for action in actions:
        if to_json(action)["do"] in {"Report", "Console"}:
            continue
        effects.apply(action)
        done.append(action.summary())
    return done


def _facts(machine: Machine, config: dict[str, object]) -> Facts:
    return Facts(
        machine.root,
        Cloud("i-bake", "none", "DataSourceNone", ""),
        distro_of(parse_os_release(machine.read_text("/etc/os-release") or "")),
        machine.commands,
        clock=lambda: Clock(time.time(), 0.0),
        random_bytes=os.urandom,
        render_jinja=render_text,
        system=config,
    )


def _leave_scripts(machine: Machine, document: user_data.Consumption) -> list[str]:
    """Scripts run once for each instance, from where the agent looks for such; per-boot ones likewise."""
    written = []
    for step in document.steps:
        if isinstance(step, user_data.Script):
            folder = step.folder if step.folder.startswith("per-") else "per-instance"
            path = f"/var/lib/cloud/scripts/{folder}/{step.filename}"
            machine.write(path, step.content, 0o755)
            written.append(path)
    return written
