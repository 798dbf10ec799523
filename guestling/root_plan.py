"""A plan on the root of a guest as plain data: what `guestling plan` shows.

Beside the agent's packages it needs `user_data_files` alone, because it also runs in the helper guest, on the
root of an image (see `answer`).
"""

from __future__ import annotations

import base64
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boot_stages.actions import to_json
from boot_stages.commands import Answer, Command, find_program
from boot_stages.distros import distro_of, parse_os_release
from boot_stages.facts import Clock, Cloud, Facts
from boot_stages.foresight import Planned, plan_boot
from boot_stages.offline import why_left
from boot_stages.registry import entry, unread
from guest_agent.config import whole
from guest_agent.machine import Machine, Settings
from guest_agent.templates import render_text
from guestling.user_data_files import Document, merged, parse, stored

INSTANCE_ID = "i-plan"
STAGES = {"cloud_init_modules": "network", "cloud_config_modules": "config", "cloud_final_modules": "final"}
SOURCES = ("user-data", "vendor-data")
KEYS = frozenset({"distro", "modules", "not_asked", "unread_keys"})
NEEDS = ("__init__.py", "root_plan.py", "user_data_files.py")
"""The files of this package that the helper guest needs for `answer`."""


@dataclass(frozen=True)
class Order:
    """`documents`: the user data, then the vendor data. `knows_all`: every program counts as installed."""

    documents: tuple[Document, ...]
    hostname: str = ""
    knows_all: bool = False


def to_order(order: Order) -> dict[str, Any]:
    """The order as plain data, for `answer`."""
    documents = [(each.file, base64.b64encode(each.raw).decode()) for each in order.documents]
    return {"documents": documents, "hostname": order.hostname}


def answer(root: Path, order: dict[str, Any]) -> dict[str, Any]:
    """The plan that `to_order` asks for; called in the helper guest."""
    documents = [
        parse(base64.b64decode(raw), file, source)
        for (file, raw), source in zip(order["documents"], SOURCES, strict=False)
    ]
    return planned(root, Order(tuple(documents), order["hostname"]))


def planned(root: Path, order: Order) -> dict[str, Any]:
    """What a first boot would do on this root, module by module; nothing is run and nothing is written.

    `bake` of a module says whether `guestling image bake --user-data` has its effect in the image already.
    """
    machine = Machine(Settings(root=str(root), commands="record"))
    configuration = whole(
        machine,
        environment={},
        cloud_configs=[(name, merged(each)) for name, each in zip(SOURCES, order.documents, strict=False)],
    )
    config = {str(name): value for name, value in configuration.values.items()}
    questions = _Questions(str(root), knows_all=order.knows_all)
    facts = Facts(
        str(root),
        Cloud(INSTANCE_ID, "nocloud", "DataSourceNoCloud", order.hostname),
        distro_of(parse_os_release(_release(machine))),
        questions,
        clock=lambda: Clock(time.time(), 0.0),
        random_bytes=os.urandom,
        render_jinja=render_text,
        system=config,
    )
    before = [action for each in order.documents for action in stored(each, facts.instance_directory)]
    found = plan_boot(config, facts, before=before)
    user, *others = ({str(key) for key in each.meaning.config.value} for each in order.documents)
    modules = [_module(each, user) for each in found]
    if before:
        modules.insert(0, {**_actions("network", "consume_data", before), "bake": False})
    listed = [each.module for each in found]
    not_read = unread(user.union(*others), listed, facts.distro, config.get("unverified_modules", ()))
    return {
        "distro": facts.distro.name,
        "modules": modules,
        "not_asked": questions.asked,
        "unread_keys": [{"key": each.key, "why": each.why} for each in not_read],
    }


def _release(machine: Machine) -> str:
    return machine.read_text("/etc/os-release") or machine.read_text("/usr/lib/os-release") or ""


class _Questions:
    """Commands for a plan: nothing is run; what would have been asked of programs is kept."""

    def __init__(self, root: str, *, knows_all: bool) -> None:
        self._root = root
        self._knows_all = knows_all
        self.asked: list[str] = []

    def which(self, name: str) -> str | None:
        """A program of the image; any program on the fresh guest."""
        return f"/usr/bin/{name}" if self._knows_all else find_program(self._root, name)

    def run(self, command: Command) -> Answer:
        """Keep the question and give no answer."""
        self.asked.append(" ".join(command.argv))
        return Answer(0)


def _module(planned: Planned, own: set[str]) -> dict[str, Any]:
    """One module as plain data. `own`: the keys of the user data."""
    module = _actions(STAGES[planned.stage], planned.module, planned.actions)
    found = entry(planned.module)
    why = why_left(planned) or ("" if found and own.intersection(found.keys) else "none of its keys is set")
    module["bake"] = not why
    if why:
        module["why_at_boot"] = why
    if planned.skipped:
        module["skipped"] = planned.skipped
    if planned.faults:
        module["faults"] = [str(fault) for fault in planned.faults]
    failures = [action["text"] for action in module["actions"] if action["do"] == "Fail"]
    if planned.error or failures:
        module["error"] = planned.error or "; ".join(failures)
    return module


def _actions(stage: str, name: str, actions: Any) -> dict[str, Any]:
    plain = [{**to_json(each), "summary": each.summary(), "opaque": each.opaque} for each in actions]
    return {"stage": stage, "module": name, "actions": plain}
