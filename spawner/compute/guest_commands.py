"""Commands in a guest, over its agent's channel: the request is a line, the answer one of the agent's events.

The guest's side is a shell program that an image must carry; see docs/decisions/0075.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import time
from collections.abc import Awaitable, Callable

from spawner.compute.agent_events import AgentEvent, Finished, Ready
from spawner.compute.command_limits import answered_within_s, whole_s
from spawner.compute.node import CommandAnswer
from spawner.errors import CommandOverdue, QemuFailed

OUTPUT_LIMIT_BYTES = 262_144
"""How much of stdout and of stderr the guest sends; its program holds the same number."""
PREFIX = "run/"
ENDED_BY_TIMEOUT = (124, 137, 143)
"""What the `timeout` of coreutils, one that had to kill, and that of older busybox answer."""
CLOCKS_AGREE = 0.95
"""The guest counts the seconds of a command by its own clock, which may run a little faster than ours."""

Tell = Callable[[bytes], Awaitable[None]]
"""One line to whoever reads the agent's port in the guest."""


def request(number: str, command: str, timeout_s: float) -> bytes:
    """The line that asks for a command."""
    return f"{number} {whole_s(timeout_s)} {base64.b64encode(command.encode()).decode()}".encode()


def is_answer(event: AgentEvent) -> bool:
    """Whether an event answers a command, and so is none of the agent's own."""
    return isinstance(event, Finished) and event.name.startswith(PREFIX)


def answer(guest: str, event: Finished, timeout_s: float, took_s: float) -> CommandAnswer:
    """What an event says about a command. Raises QemuFailed where a guest says something else.

    A command may end with 124 by itself: only with its time up was it the limit that ended it.
    """
    try:
        status, *outputs = event.summary.split(" ")
        stdout, stderr = (base64.b64decode(word.removeprefix("."), validate=True) for word in outputs)
        cut = OUTPUT_LIMIT_BYTES in (len(stdout), len(stderr))
        timed_out = int(status) in ENDED_BY_TIMEOUT and took_s >= whole_s(timeout_s) * CLOCKS_AGREE
        return CommandAnswer(int(status), stdout, stderr, cut, timed_out)
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
        """One command at a time: the program in the guest takes them in order.

        It is over within `over_within_s`. Raises QemuFailed, CommandOverdue.
        """
        await self._turn(command, timeout_s)
        number = os.urandom(6).hex()
        answered: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
        try:
            self._answers[f"{PREFIX}{number}"] = answered
            began_s = time.monotonic()
            await tell(request(number, command, timeout_s))
            event = await asyncio.wait_for(answered, answered_within_s(timeout_s))
        except TimeoutError:
            raise CommandOverdue(
                self._server_id, command, answered_within_s(timeout_s),
                "the guest hangs, or its host has too much to do; the command may still run",
                "Ask again with a longer limit; `guestling server console` shows what the guest says",
            ) from None  # fmt: skip
        finally:
            self._answers.clear()
            self._one_command.release()
        return answer(self._server_id, event, timeout_s, time.monotonic() - began_s)

    async def _turn(self, command: str, timeout_s: float) -> None:
        """Returns holding `_one_command`, of a guest that takes commands. Raises CommandOverdue."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._takes_commands.wait()
                await self._one_command.acquire()
        except TimeoutError:
            if self._takes_commands.is_set():
                why, remedy = (
                    "it is at other commands",
                    "Ask again when they are done, or with a longer limit",
                )
            else:
                why = "it takes no commands: it boots still, or its image has no program that answers them"
                remedy = (
                    "Wait with `guestling server wait SERVER --for agent`, or take an image of `image build`"
                )
            raise CommandOverdue(self._server_id, command, timeout_s, why, remedy) from None
