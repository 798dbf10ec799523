"""Times as text, always in English and UTC."""

from __future__ import annotations

import time

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def rfc_2822(epoch_s: float) -> str:
    """A time as `Sun, 22 Nov 2026 12:00:00 +0000`."""
    moment = time.gmtime(epoch_s)
    day = f"{DAYS[moment.tm_wday]}, {moment.tm_mday:02d} {MONTHS[moment.tm_mon - 1]} {moment.tm_year}"
    return f"{day} {time.strftime('%H:%M:%S', moment)} +0000"
