"""`cloud-init explain`: where a key of the config, or a change of this guest, came from."""

from __future__ import annotations

import os
import sys

from boot_stages.plain_json import read_json, write_indented
from guest_agent.state import CHANGES, INSTANCE_LINK

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from guest_agent.config import Configuration
    from guest_agent.machine import Machine
    from guest_agent.merge import Merged


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `explain`."""
    parser.add_argument("what", nargs="?", help="a key such as users.0.name, or a path such as /etc/hostname")
    parser.add_argument("--format", choices=["table", "json"], default="table")


def run(arguments: argparse.Namespace, machine: Machine) -> int:
    """Keys with their origins, or the changes that name a path; 1 when there is no such thing."""
    what = arguments.what or ""
    if os.geteuid() != 0 and machine.is_live:
        print("cloud-init explain: root is needed to read this instance's data. Use sudo", file=sys.stderr)
        return 1
    found = _changes(machine, what) if what.startswith("/") else _keys(machine, what)
    if not found:
        kind = "change of" if what.startswith("/") else "key"
        print(f"cloud-init explain: there is no {kind} {what or 'any kind'} in this boot", file=sys.stderr)
        return 1
    if arguments.format == "json":
        print(write_indented(found))
    else:
        print("\n".join(_line(each) for each in found))
    return 0


def _line(found: dict[str, Any]) -> str:
    if "key" in found:
        line = f":{found['line']}" if found["line"] else ""
        chain = f" by {' -> '.join(found['includes'])}" if found["includes"] else ""
        return f"{found['key']}  from {found['layer']}{line}{chain}  by {found['rule']}"
    return f"{found['uptime_s']:.2f} s  {found['stage']}/{found['module']}  {found['did']}"


def _changes(machine: Machine, path: str) -> list[dict[str, Any]]:
    """What modules did with a path, in the order in which they did it."""
    text = machine.read_text(f"{INSTANCE_LINK}/{CHANGES.path}") or ""
    found = []
    for line in text.splitlines():
        try:
            record = read_json(line)
        except ValueError:
            continue
        for did in record["did"]:
            if any(word.rstrip(":,") == path for word in did.split()):
                place = {"stage": record["stage"], "module": record["module"], "uptime_s": record["uptime_s"]}
                found.append({**place, "did": did})
    return found


def _keys(machine: Machine, key: str) -> list[dict[str, Any]]:
    """The origin of a key, or of every key that somebody set: part, line, merge rule, includes."""
    from guest_agent.devel import dotted

    merged = _configuration(machine).merged
    found = []
    for path in sorted(merged.origins, key=str):
        if not key or dotted(path) == key or dotted(path).startswith(f"{key}."):
            found += _origins(merged, path)
    if key and not found:
        steps = tuple(int(step) if step.isdigit() else step for step in key.split("."))
        found = _origins(merged, steps) if _has(merged.value, steps) else []
    return found


def _has(value: object, steps: tuple[str | int, ...]) -> bool:
    """Whether a value has something at this path."""
    for step in steps:
        if isinstance(value, (list, tuple)):
            if not isinstance(step, int) or step >= len(value):
                return False
            value = value[step]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            return False
    return True


def _origins(merged: Merged, path: tuple[object, ...]) -> list[dict[str, Any]]:
    from guest_agent.devel import dotted

    return [
        {
            "key": dotted(path),
            "layer": origin.layer,
            "line": origin.line,
            "rule": origin.rule,
            "includes": list(origin.chain),
        }
        for origin in merged.where(path)
    ]


def _configuration(machine: Machine) -> Configuration:
    """Everything again as the boot put it together, from the documents it kept."""
    from guest_agent import config, limits, parts, user_data
    from guest_agent.boot import Boot
    from guest_agent.consume import DELIVERIES, Consumer
    from guest_agent.init_stages import from_cache

    boot = Boot(machine)
    boot.use_config()
    boot.source = from_cache(boot)
    merged = []
    if boot.source is not None:
        bounds = limits.from_config(boot.config)[0]
        consumer = Consumer(machine, boot.instance_directory, boot.source.instance_id, boot.config, bounds)
        for delivery in (DELIVERIES[0], DELIVERIES[2], DELIVERIES[1]):
            content = machine.read_bytes(f"{boot.instance_directory}/{delivery.raw.path}.i")
            if content:
                expansion = parts.expand(content, delivery.name, limits=bounds)
                consumed = user_data.consume(
                    expansion.parts, delivery.name, render=consumer.render, limits=bounds
                )
                merged.append((delivery.name, consumed.config))
    return config.whole(machine, environment=os.environ, cloud_configs=merged)
