"""When the kernel, userspace and the agent started, as systemd knows it. Source: guest-agent.md 5.6."""

from __future__ import annotations

from boot_stages.commands import Command
from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.boot_records import Event
    from guest_agent.machine import Machine

KERNEL, USERSPACE = "KernelTimestamp", "UserspaceTimestampMonotonic"
UNIT, UNIT_START = "cloud-init-local.service", "InactiveExitTimestampMonotonic"
UNAVAILABLE = (
    "Your Linux distro or container does not support this functionality.\n"
    "You must be running a Kernel Telemetry supported distro, with systemd.\n"
)


class BootTimes(Value):
    """The text, and whether there was anything to tell."""

    text: str
    is_known: bool


def shown(machine: Machine, events: list[Event]) -> BootTimes:
    """Seconds since the kernel started; a text that says why when systemd does not tell."""
    userspace_s = _monotonic_s(machine, "show", "-p", USERSPACE)
    agent_s = _monotonic_s(machine, "show", UNIT, "-p", UNIT_START)
    if userspace_s is None or agent_s is None:
        return BootTimes(UNAVAILABLE, is_known=False)
    clock = machine.clock()
    kernel_epoch_s = clock.epoch_s - clock.uptime_s
    finished = [event.epoch_s for event in events if event.kind == "finish"]
    lines = [
        "-- Most Recent Boot Record --",
        f"    Kernel Started at: {_stamp(kernel_epoch_s)}",
        f"    Kernel ended boot at: {_stamp(kernel_epoch_s + userspace_s)}",
        f"    Kernel time to boot (seconds): {userspace_s:.6f}",
        f"    Cloud-init activated by systemd at: {_stamp(kernel_epoch_s + agent_s)}",
        f"    Time between Kernel end boot and Cloud-init activation (seconds): {agent_s - userspace_s:.6f}",
    ]
    if finished:
        lines.append(f"    Cloud-init finished at: {_stamp(finished[-1])}")
    return BootTimes("\n".join([*lines, ""]), is_known=True)


def _monotonic_s(machine: Machine, *words: str) -> float | None:
    answer = machine.commands.run(Command(("systemctl", *words), timeout_s=10.0, question=True))
    name, _, value = answer.out.decode("utf-8", "replace").strip().partition("=")
    return int(value) / 1e6 if answer.status == 0 and name and value.isdigit() and int(value) else None


def _stamp(epoch_s: float) -> str:
    import time

    return (
        time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(epoch_s))
        + f".{int(epoch_s * 1e6) % 1000000:06d}+00:00"
    )
