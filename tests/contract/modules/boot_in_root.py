"""Runs in namespaces of its own: plan a cloud-config on a root, carry it out there, plan again.

`python boot_in_root.py ROOT CONFIG.yaml [DISTRO]` prints one JSON document.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from boot_stages.actions import Report, to_json
from boot_stages.apply import Effects
from boot_stages.commands import SystemCommands
from boot_stages.distros import distro_of, parse_os_release
from boot_stages.facts import Clock, Cloud, Facts
from boot_stages.foresight import plan_boot
from boot_stages.runner import run_modules
from boot_stages.stages import DEFAULT_MODULES

EPOCH_S = 1795262400.0
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZk8ZqD6zXkqOzqVRm1c4Jrq0aX6OJ0l8pV0rV3Y2Jk cloud"


class Journal:
    """What ran in this boot."""

    def __init__(self) -> None:
        self.ran: set[str] = set()

    def has_run(self, name: str, _frequency: str) -> bool:
        return name in self.ran

    def was_cut(self, _name: str, _frequency: str) -> bool:
        return False

    def begin(self, name: str, _frequency: str) -> None:
        self.ran.add(name)

    def end(self, _name: str, _frequency: str) -> None:
        return None


class NoWeb:
    """These cases fetch nothing."""

    def get(self, url: str, _headers: dict[str, str], _tries: int) -> bytes:
        raise OSError(f"{url}: no network here")

    def post(self, url: str, _content: bytes, _tries: int) -> int:
        raise OSError(f"{url}: there is no network in this test")

    def post_form(self, url: str, _fields: dict[str, str], _tries: int, _wait_s: float) -> None:
        raise OSError(f"{url}: no network here")


def main(root: str, config_path: str) -> dict[str, Any]:
    config = yaml.safe_load(Path(config_path).read_text()) or {}
    release = Path(root, "etc/os-release").read_text()
    commands = SystemCommands(root, show=lambda _output: None, default_timeout_s=120)

    def render(_template: str, _values: object) -> str:
        raise ValueError("no jinja here")

    facts = Facts(
        root,
        Cloud("i-effects", "nocloud", "DataSourceNoCloud", "from-cloud", (KEY,)),
        distro_of(parse_os_release(release)),
        commands,
        clock=lambda: Clock(EPOCH_S, 1.0),
        random_bytes=lambda size: bytes(index * 37 % 251 for index in range(size)),
        render_jinja=render,
        system=config,
    )
    shown: list[bytes] = []
    effects = Effects(
        root, commands, web=NoWeb(), console=shown.append, later=lambda _action: None, apply_owners=True
    )
    journal = Journal()
    planned = plans(config, facts, journal)
    outcomes = []
    for names in DEFAULT_MODULES.values():
        outcomes += run_modules(
            names, config, facts, effects, journal, stage="test", tell=lambda _name, _outcome: None
        )
    ran = [each for each in outcomes if each.result != "SKIPPED"]
    return {
        "planned": planned,
        "done": {each.name: list(each.done) for each in ran},
        "errors": {each.name: each.error for each in ran if each.error},
        "warnings": {each.name: each.reason for each in ran if each.result == "WARN"},
        "again": plans(config, facts, journal),
        "console": b"".join(shown).decode(),
    }


def plans(config: dict[str, Any], facts: Facts, journal: Journal) -> dict[str, list[dict[str, Any]]]:
    """What a boot would do to the root as it is now: plain actions, by module."""
    found: dict[str, list[dict[str, Any]]] = {}
    for each in plan_boot(config, facts, journal.has_run):
        assert not each.error, each
        if not each.skipped:
            plan = [action for action in each.actions if not isinstance(action, Report)]
            found[each.module] = [{**to_json(action), "summary": action.summary()} for action in plan]
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2])))
