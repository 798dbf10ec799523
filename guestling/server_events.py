"""What happened to a server and in its guest: `guestling server events`, and what `server wait` waits for.

A guest writes what it likes into its reports: of a payload only harmless characters reach the terminal.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from guestling import output

if TYPE_CHECKING:
    from spawner.client import Client

GOALS = "active|agent|signals=N"
PAYLOAD_CHARACTERS = 200


def goal(text: str) -> str:
    """One of `GOALS`. Raises ArgumentTypeError."""
    name, _, count = text.partition("=")
    if text in {"active", "agent"} or (name == "signals" and count.isdecimal() and 1 <= int(count) <= 64):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not active, agent or signals=N (N from 1 to 64)")


def show(client: Client, arguments: argparse.Namespace) -> int:
    """Print the events; with --follow on and on, in JSON then one document a line."""
    server = client.server(arguments.server)
    if arguments.follow:
        for event in client.follow(server["id"], float("inf")):
            print(json.dumps(event) if arguments.format == "json" else line(event), flush=True)
        return 0
    found = client.history(server["id"])
    if arguments.format == "json":
        output.print_json(found)
        return 0
    for event in found:
        print(line(event))
    return 0


def line(event: dict[str, Any]) -> str:
    """An event for people: `--format json` has what is nested or too long here."""
    words = [
        f"{name}={value}"
        for name, value in event["payload"].items()
        if value not in (None, "") and not isinstance(value, dict | list)
    ]
    text = harmless(" ".join(words))
    shown = text if len(text) <= PAYLOAD_CHARACTERS else text[: PAYLOAD_CHARACTERS - 3] + "..."
    return f"{event['time']}  {event['type']:<28}  {shown}"


def harmless(text: str) -> str:
    """A guest's words for a terminal, on one line."""
    from spawner.compute.qemu.console import printable

    return printable(text.encode(errors="backslashreplace")).replace("\n", " ")


def wait(client: Client, server: dict[str, Any], arguments: argparse.Namespace) -> int:
    """Wait for the agent's result or for signals. Exit status 0 when they came and are good."""
    if arguments.goal == "agent":
        return _wait_for_agent(client, server, arguments)
    return _wait_for_signals(client, server, int(arguments.goal.partition("=")[2]), arguments)


def _this_boot(client: Client, server_id: str, timeout_s: float) -> Iterator[dict[str, Any]]:
    """The events since the guest was last asked to start, and then those that come."""
    from spawner.states import begins_boot

    past = client.history(server_id)
    starts = [at for at, event in enumerate(past) if begins_boot(event["type"], event["payload"])]
    last = past[-1]["number"] if past else 0
    return chain(past[starts[-1] if starts else 0 :], client.follow(server_id, timeout_s, after=last))


def _wait_for_agent(client: Client, server: dict[str, Any], arguments: argparse.Namespace) -> int:
    for event in _this_boot(client, server["id"], arguments.timeout):
        if event["type"] == "guest.result":
            return _report(event["payload"], arguments)
        if event["type"].endswith(".error"):
            return _failed(server, event)
        if event["type"] == "instance.power_off.end":
            output.complain(f"{server['name']}: it was switched off before its agent had a result")
            return 1
    output.complain(f"{server['name']}: no result of its agent within {arguments.timeout:g} s")
    return 1


def _report(result: dict[str, Any], arguments: argparse.Namespace) -> int:
    if arguments.format == "json":
        output.print_json(result)
    else:
        print(f"the agent reports: {result['status']}")
        output.complain(*(harmless(error) for error in result.get("errors", ())))
    return 0 if result["status"] == "done" else 1


def _failed(server: dict[str, Any], event: dict[str, Any]) -> int:
    output.complain(f"{server['name']}: {event['payload'].get('fault', 'it failed')}")
    return 1


def _wait_for_signals(
    client: Client, server: dict[str, Any], count: int, arguments: argparse.Namespace
) -> int:
    from spawner import signals

    condition, received = signals.WaitCondition(count), []
    for event in client.follow(server["id"], arguments.timeout):
        if event["type"].endswith(".error"):
            return _failed(server, event)
        if event["type"] != signals.EVENT:
            continue
        condition.take(event["payload"])
        received.append(event["payload"])
        if condition.failure is not None:
            output.complain(f"{server['name']}: a signal of failure: {harmless(condition.failure)}")
            return 1
        if condition.is_met:
            break
    if not condition.is_met:
        output.complain(
            f"{server['name']}: {condition.received} of {count} signals within {arguments.timeout:g} s."
            f" A guest gives one with a POST to {signals.URL}"
        )
        return 1
    if arguments.format == "json":
        output.print_json(received)
    else:
        columns = ("status", "id", "reason")
        rows = [[harmless(each[name]) for name in columns] for each in received]
        output.print_rows([name.upper() for name in columns], rows)
    return 0
