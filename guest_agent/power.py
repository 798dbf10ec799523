"""Power off, reboot or halt after the agent has ended: `power_state` asks for it, a child carries it out.

Source: guest-agent.md 3.3 (power_state_change).
"""

from __future__ import annotations

import os
import time

from boot_stages.actions import ChangePower
from boot_stages.commands import Command
from boot_stages.log import logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.machine import Machine

LOG = logger("power_state_change")

POLL_S = 0.25
NOT_YET = 1
COMMAND_LIMIT_S = 120.0


def schedule(machine: Machine) -> None:
    """Start what was asked for in a child that waits for our end; in record mode write the commands down."""
    while machine.power_changes:
        change = machine.power_changes.pop(0)
        if not isinstance(change, ChangePower):
            raise TypeError(f"not a change of power: {change!r}")
        if machine.is_recorded:
            _carry_out(machine, change)
        elif os.fork() == 0:
            _in_child(machine, change, os.getppid())


def _in_child(machine: Machine, change: ChangePower, agent: int) -> None:
    """Wait for the agent's end (at most `timeout_s`), then test the condition and run the command."""
    try:
        os.setsid()
        deadline = time.monotonic() + change.timeout_s
        while os.getppid() == agent and time.monotonic() < deadline:
            time.sleep(POLL_S)
        _carry_out(machine, change)
    finally:
        os._exit(0)


def _carry_out(machine: Machine, change: ChangePower) -> None:
    if change.condition:
        answer = machine.commands.run(Command(change.condition, timeout_s=COMMAND_LIMIT_S))
        if answer.status == NOT_YET:
            LOG.info("the power state is not changed: its condition says no")
            return
        if answer.status != 0:
            LOG.warning("the power state is not changed: its condition failed with %d", answer.status)
            return
    machine.commands.run(Command(change.argv, timeout_s=COMMAND_LIMIT_S))
