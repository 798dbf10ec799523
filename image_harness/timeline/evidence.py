"""What a guest that is up can say about its boot: asked in one command, read without trust."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from image_harness.timeline.stock import LAST_STEPS, Step, steps

UNITS_LIMIT = 400
_FIELDS = (
    "Id,InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic,InactiveEnterTimestampMonotonic,Result"
)
_MARK = "guestling-part"
# Each part begins with its mark; a program that is missing leaves its part empty. Sockets, devices and mounts
# take no time of their own, and asking for them takes some.
COMMAND = f"""
part() {{ echo "{_MARK} $1"; }}
part clock; echo "$(date +%s.%N) $(cat /proc/uptime)"
part kernel; dmesg 2>/dev/null | grep -m 1 'Run .* as init process'
part manager; systemctl show -p UserspaceTimestampMonotonic -p FinishTimestampMonotonic 2>/dev/null
part units; systemctl show '*.service' '*.target' -p {_FIELDS} 2>/dev/null
part steps; {LAST_STEPS}
"""
_INIT = re.compile(r"\[ *(\d{1,7}\.\d{1,6})\] Run ")


@dataclass(frozen=True)
class Unit:
    """A unit of systemd's that was started, in seconds of the guest's own clock."""

    name: str
    start_s: float
    end_s: float
    failed: bool


@dataclass(frozen=True)
class Evidence:
    """What a guest said; None and empty where it could not. All in seconds of the kernel's clock.

    `steps` are those of the log of a stock cloud-init, whose clock is the date: `boot_time_s` is the date at
    which the kernel's clock was 0.
    """

    init_s: float | None = None
    userspace_s: float | None = None
    finished_s: float | None = None
    units: tuple[Unit, ...] = ()
    boot_time_s: float | None = None
    steps: tuple[Step, ...] = field(default=())


NONE = Evidence()


def read(text: str) -> Evidence:
    """The answer to COMMAND; whatever is not as it should be is left out."""
    parts = _parts(text)
    manager = _properties(parts.get("manager", ""))
    init = _INIT.search(parts.get("kernel", ""))
    return Evidence(
        init_s=float(init[1]) if init else None,
        userspace_s=_clock_s(manager.get("UserspaceTimestampMonotonic")),
        finished_s=_clock_s(manager.get("FinishTimestampMonotonic")),
        units=tuple(_units(parts.get("units", "")))[:UNITS_LIMIT],
        boot_time_s=_boot_time_s(parts.get("clock", "")),
        steps=steps(parts.get("steps", "")),
    )


def _parts(text: str) -> dict[str, str]:
    pieces = re.split(rf"^{_MARK} (\w+)$", text, flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=False))


def _properties(block: str) -> dict[str, str]:
    rows = (line.partition("=") for line in block.splitlines())
    return {name: value for name, equals, value in rows if equals}


def _units(text: str) -> list[Unit]:
    found = []
    for block in text.split("\n\n"):
        rows = _properties(block)
        start_s = _clock_s(rows.get("InactiveExitTimestampMonotonic"))
        ends = [_clock_s(rows.get(f"{name}TimestampMonotonic")) for name in ("ActiveEnter", "InactiveEnter")]
        later = [end_s for end_s in ends if end_s is not None and start_s is not None and end_s >= start_s]
        if rows.get("Id") and start_s is not None and later:
            failed = rows.get("Result", "success") != "success"
            found.append(Unit(rows["Id"], start_s, min(later), failed))
    return found


def _clock_s(microseconds: str | None) -> float | None:
    """systemd's microseconds; 0 and nothing mean never."""
    if microseconds is None or not microseconds.isdecimal() or len(microseconds) > 15:
        return None
    return int(microseconds) / 1e6 or None


def _boot_time_s(line: str) -> float | None:
    try:
        now_s, uptime_s = (float(word) for word in line.split()[:2])
    except ValueError:
        return None
    return now_s - uptime_s if math.isfinite(now_s) and math.isfinite(uptime_s) else None
