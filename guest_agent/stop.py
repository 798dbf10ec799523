"""What happens when somebody stops the agent in the middle of a stage.

The signal ends the current step, its children with it; the stage is recorded as finished, the exit status is
0. Source: guest-agent.md 6, faults-and-threats GA-S08.
"""

from __future__ import annotations

import signal

from boot_stages.log import logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

    from guest_agent.machine import Machine

LOG = logger("signal_handler")

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGABRT, signal.SIGHUP)
FRAMES_SHOWN = 3


class Stopped(BaseException):
    """A signal asked the agent to end. Not an Exception: no module may take it for its own failure."""


class on_signals:  # noqa: N801 - used as `with on_signals(machine):`
    """While it is entered, signals raise Stopped; afterwards they do what they did before."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._before: dict[int, object] = {}

    def __enter__(self) -> None:
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._raise)

    def __exit__(self, *_error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]  # what signal() gave us

    def _raise(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        lines = [f"Cloud-init received {name}, exiting"]
        for _ in range(FRAMES_SHOWN):
            if frame is None:
                break
            lines.append(f"  {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}")
            frame = frame.f_back
        text = "\n".join(lines)
        LOG.info("%s", text)
        self._machine.output.warn(text)
        raise Stopped(name)
