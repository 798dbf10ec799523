"""What harness and guest say to each other: a request is a line, the answer an event of the agent's kind."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from image_harness.errors import GuestBroken
from spawner.compute.agent_events import Finished

OUTPUT_LIMIT_BYTES = 262_144
"""How much of stdout and of stderr the guest sends; `serve` holds the same number."""

END = b"end"


@dataclass(frozen=True)
class Answer:
    """How a command in the guest ended. `took_s` is what the host waited."""

    command: str
    status: int
    stdout_bytes: bytes
    stderr_bytes: bytes
    took_s: float

    @property
    def ok(self) -> bool:
        """Whether the exit status was 0."""
        return self.status == 0

    @property
    def stdout(self) -> str:
        """What it wrote, as text; bytes that are not UTF-8 are shown as U+FFFD."""
        return self.stdout_bytes.decode(errors="replace")

    @property
    def stderr(self) -> str:
        """What it complained of, as text."""
        return self.stderr_bytes.decode(errors="replace")

    @property
    def cut(self) -> bool:
        """Whether there may have been more than the guest sends."""
        return OUTPUT_LIMIT_BYTES in (len(self.stdout_bytes), len(self.stderr_bytes))


def request(number: int, command: str, timeout_s: float) -> bytes:
    """The line that asks for a command; a fraction of a second counts as a whole one."""
    seconds = max(1, -int(-timeout_s // 1))
    return f"{number} {seconds} {base64.b64encode(command.encode()).decode()}".encode()


def name_of(number: int) -> str:
    """How the event that answers is named."""
    return f"run/{number}"


def answer(command: str, event: Finished, took_s: float) -> Answer:
    """The event as an Answer. Raises GuestBroken where the guest says something else."""
    try:
        status, stdout, stderr = event.summary.split(" ")
        decoded = [base64.b64decode(word.removeprefix("."), validate=True) for word in (stdout, stderr)]
        return Answer(command, int(status), decoded[0], decoded[1], took_s)
    except (ValueError, binascii.Error) as error:
        raise GuestBroken("its answer to a command is none of ours") from error
