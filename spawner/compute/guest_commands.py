"""Commands in a guest, over its agent's channel: the request is a line, the answer one of the agent's events.

The guest's side is a shell program that an image must carry; see docs/decisions/0075.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
from collections.abc import Awaitable, Callable

from spawner.compute.agent_events import AgentEvent, Finished, Ready
from spawner.compute.node import CommandAnswer
from spawner.errors import QemuFailed

OUTPUT_LIMIT_BYTES = 262_144
"""How much of stdout and of stderr the guest sends; its program holds the same number."""
PREFIX = "run/"
ANSWER_GRACE_S = 15.0

Tell = Callable[[bytes], Awaitable[None]]
"""One line to whoever reads the agent's port in the guest."""


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


class CommandChannel:
    """The commands of one guest that runs. `take` sees each of its events, `run` asks and waits.

    `adopted`: the guest may have said long ago, to somebody else, that it takes commands.
    """

    def __init__(self, server_id: str, *, adopted: bool = False) -> None:
        self._server_id = server_id
        self._takes_commands = asyncio.Event()
        if adopted:
            self._takes_commands.set()
        self._one_command = asyncio.Lock()
        self._answers: dict[str, asyncio.Future[Finished]] = {}

    def take(self, event: AgentEvent) -> bool:
        """Whether an event answers a command: it is handed to who waits, and is no event of the server's."""
        if isinstance(event, Ready):
            self._takes_commands.set()
        if not is_answer(event):
            return False
        if isinstance(event, Finished):
            waiting = self._answers.get(event.name)
            if waiting is not None and not waiting.done():
                waiting.set_result(event)
        return True

    async def run(self, tell: Tell, command: str, timeout_s: float) -> CommandAnswer:
        """One command at a time: the program in the guest takes them in order. Raises QemuFailed."""
        try:
            await asyncio.wait_for(self._takes_commands.wait(), timeout_s)
        except TimeoutError:
            raise QemuFailed(
                self._server_id,
                "runs a guest that takes no commands: its image has no program that answers them",
            ) from None
        number = os.urandom(6).hex()
        answered: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
        async with self._one_command:
            self._answers[f"{PREFIX}{number}"] = answered
            try:
                await tell(request(number, command, timeout_s))
                event = await asyncio.wait_for(answered, timeout_s + ANSWER_GRACE_S)
            except TimeoutError:
                raise QemuFailed(self._server_id, "runs a guest that gave no answer to a command") from None
            finally:
                self._answers.clear()
        return answer(self._server_id, event)
