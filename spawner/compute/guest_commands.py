"""Commands in a guest, over its agent's channel: the request is a line, the answer one of the agent's events.

The guest's side is a shell program that an image must carry; see docs/decisions/0075.
"""

from __future__ import annotations

import base64
import binascii

from spawner.compute.agent_events import AgentEvent, Finished
from spawner.compute.node import CommandAnswer
from spawner.errors import QemuFailed

OUTPUT_LIMIT_BYTES = 262_144
"""How much of stdout and of stderr the guest sends; its program holds the same number."""
PREFIX = "run/"


def request(number: str, command: str, timeout_s: float) -> bytes:
    """The line that asks for a command; a fraction of a second counts as a whole one."""
    seconds = max(1, -int(-timeout_s // 1))
    return f"{number} {seconds} {base64.b64encode(command.encode()).decode()}".encode()


def is_answer(event: AgentEvent) -> bool:
    """Whether an event answers a command, and so is none of the agent's own."""
    return isinstance(event, Finished) and event.name.startswith(PREFIX)


def answer(guest: str, event: Finished) -> CommandAnswer:
    """What an event says about a command. Raises QemuFailed where a guest says something else."""
    try:
        status, *outputs = event.summary.split(" ")
        stdout, stderr = (base64.b64decode(word.removeprefix("."), validate=True) for word in outputs)
        cut = OUTPUT_LIMIT_BYTES in (len(stdout), len(stderr))
        return CommandAnswer(int(status), stdout, stderr, cut)
    except (ValueError, binascii.Error) as error:
        raise QemuFailed(guest, "runs a guest whose answer to a command is none of ours") from error
