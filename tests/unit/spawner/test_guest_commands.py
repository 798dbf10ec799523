"""Commands in a guest, against a guest that is a function: limits, turns, words when time is up."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable

import pytest

from spawner.compute.agent_events import Finished, Ready
from spawner.compute.command_limits import over_within_s
from spawner.compute.guest_commands import CommandChannel
from spawner.errors import CommandOverdue

READY = Ready(uptime_s=1.0)
SAID = base64.b64encode(b"so far\n").decode()


def _guest(channel: CommandChannel, *, status: int, after_s: float) -> Callable[[bytes], Awaitable[None]]:
    """Answers each command with this status, after so long."""

    async def tell(line: bytes) -> None:
        number = line.split()[0].decode()
        event = Finished(f"run/{number}", "SUCCESS", 0.0, 1.0, f"{status} .{SAID} .")
        asyncio.get_running_loop().call_later(after_s, channel.take, event)

    return tell


@pytest.mark.parametrize("status", [124, 137, 143])
async def test_a_command_that_its_limit_ended_says_so(status: int) -> None:
    channel = CommandChannel("1", adopted=True)
    done = await channel.run(_guest(channel, status=status, after_s=1.0), "sleep 9", 1)
    assert (done.timed_out, done.status, done.stdout) == (True, status, b"so far\n")


async def test_a_command_that_ends_with_124_by_itself_was_not_ended() -> None:
    channel = CommandChannel("1", adopted=True)
    done = await channel.run(_guest(channel, status=124, after_s=0.0), "exit 124", 1)
    assert (done.timed_out, done.status) == (False, 124)


async def test_a_guest_that_does_not_take_commands_in_time_is_named() -> None:
    channel = CommandChannel("1")
    with pytest.raises(
        CommandOverdue,
        match=r"guest 1: no answer to 'id' within 0\.1 s: it takes no commands: it boots still",
    ):
        await channel.run(_guest(channel, status=0, after_s=0.0), "id", 0.1)
    channel.take(READY)
    assert (await channel.run(_guest(channel, status=0, after_s=0.0), "id", 0.1)).status == 0


async def test_the_turn_of_a_command_comes_within_its_limit_or_it_is_not_told() -> None:
    channel = CommandChannel("1", adopted=True)
    told: list[bytes] = []

    async def note(line: bytes) -> None:
        told.append(line)

    async with asyncio.TaskGroup() as both:
        first = both.create_task(channel.run(_guest(channel, status=0, after_s=0.5), "sleep 0.5", 60))
        await asyncio.sleep(0)
        with pytest.raises(CommandOverdue, match=r"within 0\.1 s: it is at other commands"):
            await channel.run(note, "id", 0.1)
    assert (first.result().status, told) == (0, [])


def test_the_longest_wait_is_a_turn_a_command_and_its_answer() -> None:
    assert over_within_s(60) == 60 + 60 + 15
    assert over_within_s(0.5) == 0.5 + 1 + 15  # the guest counts whole seconds
