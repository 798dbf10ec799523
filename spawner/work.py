"""What the conductor asks of a node for each action, and what the server is afterwards: one table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import delete, insert

from spawner.compute.node import ComputeNode
from spawner.states import ACTIONS, PowerState, VmState
from spawner.store.engine import Store
from spawner.store.servers import Server
from spawner.store.tables import RESCUES


@dataclass(frozen=True)
class Work:
    """`do` is asked of the server's node; the states are the server's afterwards, None: as they were.

    `breaks`: when it fails the server is in ERROR; otherwise it stays what it was.
    """

    do: Callable[[ComputeNode, Server], Awaitable[None]]
    vm_state: VmState | None = None
    power_state: PowerState | None = None
    breaks: bool = True


def snapshot_into(target: Path) -> Work:
    """The server's disk as one image file; the server stays what it is."""
    return Work(lambda node, server: node.snapshot(server, target), breaks=False)


def rescue_with(store: Store, image_id: str, now: float) -> Work:
    """Restart from a disk of this image, which the store remembers for as long as the rescue lasts."""

    async def do(node: ComputeNode, server: Server) -> None:
        async with store.write() as connection:
            await connection.execute(delete(RESCUES).where(RESCUES.c.server_id == server.id))
            await connection.execute(
                insert(RESCUES).values(server_id=server.id, image_id=image_id, created_at=now)
            )
        await node.rescue(server, image_id)

    return Work(do, VmState.RESCUED, PowerState.RUNNING)


async def _nothing(_node: ComputeNode, _server: Server) -> None:
    """Only the state changes."""


def after_resize(server: Server) -> Work:
    """Confirmed: the server is what its power state says."""
    state = VmState.ACTIVE if server.power_state is PowerState.RUNNING else VmState.STOPPED
    return Work(_nothing, state)


def revert_resize(server: Server) -> Work:
    """Back to the old flavor: the guest is restarted with it."""
    state = VmState.ACTIVE if server.power_state is PowerState.RUNNING else VmState.STOPPED
    return Work(lambda node, changed: node.resize(changed), state)


WORK: dict[str, Work] = {
    "stop": Work(lambda node, server: node.power_off(server.id), VmState.STOPPED, PowerState.SHUTDOWN),
    "start": Work(lambda node, server: node.power_on(server), VmState.ACTIVE, PowerState.RUNNING),
    "reboot": Work(lambda node, server: node.reboot(server, hard=False), VmState.ACTIVE, PowerState.RUNNING),
    "hard-reboot": Work(
        lambda node, server: node.reboot(server, hard=True), VmState.ACTIVE, PowerState.RUNNING
    ),
    "pause": Work(lambda node, server: node.pause(server.id), VmState.PAUSED, PowerState.PAUSED),
    "unpause": Work(lambda node, server: node.unpause(server.id), VmState.ACTIVE, PowerState.RUNNING),
    "rebuild": Work(lambda node, server: node.rebuild(server), VmState.ACTIVE, PowerState.RUNNING),
    "unrescue": Work(lambda node, server: node.unrescue(server), VmState.ACTIVE, PowerState.RUNNING),
    "resize": Work(lambda node, server: node.resize(server), VmState.RESIZED),
}


def work_again(server: Server, power: PowerState | None) -> tuple[str, Work] | None:
    """The action that a killed conductor had begun, and what is left to do of it; None where it is forgotten.

    `power`: the guest's, None when it does not run.
    Source: Nova's `ComputeManager._init_instance`, which retries the same ones.
    """
    name = _ACTION_OF.get(server.task_state) if server.task_state else None
    if name == "confirm-resize":
        return name, after_resize(server)
    if name in {"resize", "revert-resize"}:
        work = revert_resize(server) if name == "revert-resize" else WORK[name]
        # It may have been ended for the resize: then nobody but the store knows that it ran.
        had_run = power in _OFF and server.power_state is PowerState.RUNNING
        return name, replace(work, do=_resize_and_start) if had_run else work
    if name in {"pause", "unpause"} and power in _OFF:
        return None
    if name == "reboot" and power in _OFF:
        # It was off already: nobody is there to be asked.
        name = "hard-reboot"
    return (name, WORK[name]) if name in WORK else None


async def _resize_and_start(node: ComputeNode, server: Server) -> None:
    await node.resize(server)
    await node.power_on(server)


_OFF = (None, PowerState.SHUTDOWN, PowerState.CRASHED)
_ACTION_OF = {
    action.task: name for name, action in ACTIONS.items() if name in WORK or name.endswith("-resize")
}
