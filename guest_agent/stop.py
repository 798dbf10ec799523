"""What happens when somebody stops the agent in the middle of a stage.

The signal ends the current step, its children with it; the stage is recorded as finished, the exit status is
0. Source: guest-agent.md 6, faults-and-threats GA-S08.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # lighter, see docs/decisions/0126

from boot_stages.log import logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

    from guest_agent.machine import Machine

LOG = logger("signal_handler")

SIGNALS = {
    signal.SIGTERM: "SIGTERM",
    signal.SIGINT: "SIGINT",
    signal.SIGABRT: "SIGABRT",
    signal.SIGHUP: "SIGHUP",
}
FRAMES_SHOWN = 3


class Stopped(BaseException):
    """A signal asked the agent to end. Not an Exception: no module may take it for its own failure."""


def on_signals(machine: Machine) -> None:
    """From now on the signals of SIGNALS raise Stopped where the agent is at work."""

    def stop(number: int, frame: FrameType | None) -> None:
        name = SIGNALS[number]
        lines = [f"Cloud-init received {name}, exiting"]
        for _ in range(FRAMES_SHOWN):
            if frame is None:
                break
            lines.append(f"  {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}")
            frame = frame.f_back
        text = "\n".join(lines)
        LOG.info("%s", text)
        machine.output.warn(text)
        raise Stopped(name)

    for number in SIGNALS:
        signal.signal(number, stop)
