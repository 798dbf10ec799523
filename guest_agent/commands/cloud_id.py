"""`cloud-id`: which cloud this is. Source: guest-agent.md 5.1."""

from __future__ import annotations

import sys

from guest_agent import json_guard
from guest_agent.errors import AgentError
from guest_agent.plain import to_json
from guest_agent.state import RUN_INSTANCE_DATA

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from guest_agent.machine import Machine

NO_DATA, DISABLED, NOT_STARTED = 1, 2, 3


def main(words: list[str], machine: Machine) -> int:
    """0 with the id; 1 no data, 2 the agent is disabled, 3 it has not started."""
    import argparse

    parser = argparse.ArgumentParser(prog="cloud-id", description="Report the canonical id of this cloud.")
    parser.add_argument("-j", "--json", action="store_true", help="all standardised instance data")
    parser.add_argument("-l", "--long", action="store_true", help="the region as well")
    parser.add_argument("-i", "--instance-data", metavar="FILE", default="")
    arguments = parser.parse_args(words)
    state = _state(machine)
    if state and not arguments.instance_data:
        print("disabled" if state == DISABLED else "not started")
        return state
    try:
        v1 = _v1(arguments.instance_data, machine)
    except (AgentError, OSError, KeyError, TypeError) as error:
        where = arguments.instance_data or RUN_INSTANCE_DATA.path
        print(f"ERROR: File {where} holds no usable instance data ({error})", file=sys.stderr)
        return NO_DATA
    if arguments.json:
        print(to_json(v1).rstrip("\n"))
        return 0
    print(f"{v1['cloud_id']}\t{v1.get('region') or 'n/a'}" if arguments.long else v1["cloud_id"])
    return 0


def _state(machine: Machine) -> int:
    from guest_agent.commands.status import details_of

    running = details_of(machine).running
    return {"disabled": DISABLED, "not started": NOT_STARTED}.get(running, 0)


def _v1(named: str, machine: Machine) -> dict[str, Any]:
    from guest_agent.devel import read_named

    content = read_named(named or RUN_INSTANCE_DATA.path, machine.root)
    document = json_guard.load(content, named or RUN_INSTANCE_DATA.path)
    v1 = document["v1"]  # type: ignore[index]  # another shape is a TypeError, told to the user
    return {**v1, "cloud_id": v1["cloud_id"]}
