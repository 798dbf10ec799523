"""The states of a server and which action is allowed in which: Nova's words, one table.

`vm_state` is what the server is, `task_state` what is being done to it, `power_state` what the hypervisor
says. `status` is what the API shows. Source: Nova's compute API guide, "Server concepts".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any


class VmState(Enum):
    """What a server is."""

    BUILDING = "building"
    ACTIVE = "active"
    STOPPED = "stopped"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    RESCUED = "rescued"
    RESIZED = "resized"
    SHELVED = "shelved"
    SHELVED_OFFLOADED = "shelved_offloaded"
    ERROR = "error"
    DELETED = "deleted"


class TaskState(Enum):
    """What is being done to a server; None stands for nothing."""

    SCHEDULING = "scheduling"
    NETWORKING = "networking"
    BLOCK_DEVICE_MAPPING = "block_device_mapping"
    SPAWNING = "spawning"
    DELETING = "deleting"
    POWERING_OFF = "powering-off"
    POWERING_ON = "powering-on"
    REBOOTING = "rebooting"
    REBOOTING_HARD = "rebooting_hard"
    PAUSING = "pausing"
    UNPAUSING = "unpausing"
    RESCUING = "rescuing"
    UNRESCUING = "unrescuing"
    REBUILDING = "rebuilding"
    RESIZE_PREP = "resize_prep"
    RESIZE_FINISH = "resize_finish"
    RESIZE_REVERTING = "resize_reverting"
    IMAGE_SNAPSHOT = "image_snapshot"


class PowerState(IntEnum):
    """What the hypervisor says, with Nova's numbers."""

    NOSTATE = 0
    RUNNING = 1
    PAUSED = 3
    SHUTDOWN = 4
    CRASHED = 6
    SUSPENDED = 7


_STATUS: dict[tuple[VmState, TaskState | None], str] = {
    (VmState.ACTIVE, TaskState.REBOOTING): "REBOOT",
    (VmState.ACTIVE, TaskState.REBOOTING_HARD): "HARD_REBOOT",
    (VmState.ACTIVE, TaskState.REBUILDING): "REBUILD",
    (VmState.STOPPED, TaskState.REBUILDING): "REBUILD",
    (VmState.ERROR, TaskState.REBUILDING): "REBUILD",
    (VmState.ACTIVE, TaskState.RESIZE_PREP): "RESIZE",
    (VmState.ACTIVE, TaskState.RESIZE_FINISH): "RESIZE",
    (VmState.STOPPED, TaskState.RESIZE_PREP): "RESIZE",
    (VmState.STOPPED, TaskState.RESIZE_FINISH): "RESIZE",
    (VmState.STOPPED, TaskState.REBOOTING_HARD): "HARD_REBOOT",
    (VmState.RESIZED, TaskState.RESIZE_REVERTING): "REVERT_RESIZE",
}
_PLAIN_STATUS = {
    VmState.BUILDING: "BUILD",
    VmState.ACTIVE: "ACTIVE",
    VmState.STOPPED: "SHUTOFF",
    VmState.PAUSED: "PAUSED",
    VmState.SUSPENDED: "SUSPENDED",
    VmState.RESCUED: "RESCUE",
    VmState.RESIZED: "VERIFY_RESIZE",
    VmState.SHELVED: "SHELVED",
    VmState.SHELVED_OFFLOADED: "SHELVED_OFFLOADED",
    VmState.ERROR: "ERROR",
    VmState.DELETED: "DELETED",
}


def status(vm_state: VmState, task_state: TaskState | None) -> str:
    """The word that the API shows for a server."""
    return _STATUS.get((vm_state, task_state), _PLAIN_STATUS[vm_state])


@dataclass(frozen=True)
class Action:
    """One action on a server: where it is allowed, the task state while it runs, its notification.

    Without a task state nothing shows that it goes on: Nova plugs devices so.
    """

    name: str
    allowed: frozenset[VmState]
    task: TaskState | None
    notification: str
    while_busy: bool = False
    when_locked: bool = False


def _action(
    name: str,
    allowed: str,
    task: TaskState | None,
    notification: str = "",
    *,
    while_busy: bool = False,
) -> Action:
    states = frozenset(VmState(word) for word in allowed.split())
    return Action(name, states, task, f"instance.{notification or name}", while_busy)


_EVERY = " ".join(state.value for state in VmState if state is not VmState.DELETED)

ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        _action("delete", _EVERY, TaskState.DELETING, while_busy=True),
        _action("stop", "active rescued error", TaskState.POWERING_OFF, "power_off"),
        _action("start", "stopped", TaskState.POWERING_ON, "power_on"),
        _action("reboot", "active", TaskState.REBOOTING),
        _action("hard-reboot", "active stopped paused suspended error", TaskState.REBOOTING_HARD, "reboot"),
        _action("pause", "active", TaskState.PAUSING),
        _action("unpause", "paused", TaskState.UNPAUSING),
        _action("rescue", "active stopped error", TaskState.RESCUING),
        _action("unrescue", "rescued", TaskState.UNRESCUING),
        _action("rebuild", "active stopped error", TaskState.REBUILDING),
        _action("resize", "active stopped", TaskState.RESIZE_PREP),
        _action("confirm-resize", "resized", TaskState.RESIZE_FINISH, "resize_confirm"),
        _action("revert-resize", "resized", TaskState.RESIZE_REVERTING, "resize_revert"),
        _action("snapshot", "active stopped paused suspended", TaskState.IMAGE_SNAPSHOT),
        _action("attach_volume", "active stopped paused resized", None, "volume_attach"),
        _action("detach_volume", "active stopped paused suspended resized", None, "volume_detach"),
        _action("extend_volume", "active stopped paused suspended", None),
        _action("attach_interface", "active stopped paused", None, "interface_attach"),
        _action("detach_interface", "active stopped paused", None, "interface_detach"),
    )
}


_BOOTS = frozenset(
    f"instance.{name}.start" for name in ("create", "power_on", "reboot", "rebuild", "rescue", "unrescue")
)


def begins_boot(notification: str, payload: Mapping[str, Any]) -> bool:
    """Whether an event says that a guest is started, or started anew: what it reported before is past.

    A resize does so to a guest that runs.
    """
    runs = payload.get("state") == VmState.ACTIVE.value
    return notification in _BOOTS or (notification == "instance.resize.start" and runs)


def why_refused(action: Action, vm_state: VmState, task_state: TaskState | None, *, locked: bool) -> str:
    """Why an action cannot start now, or an empty text. The words are Nova's, for clients that read them."""
    if locked and not action.when_locked:
        return "Instance is locked"
    if vm_state not in action.allowed:
        return f"Cannot '{action.name}' instance while it is in vm_state {vm_state.value}"
    if task_state is not None and not action.while_busy:
        return f"Cannot '{action.name}' instance while it is in task_state {task_state.value}"
    return ""
