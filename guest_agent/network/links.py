"""What the caller read from /sys/class/net: the NICs of this machine, for renaming and for the fallback."""

from __future__ import annotations

from boot_stages.value import Value


class Link(Value):
    """One NIC. `mac` is in lower case. `is_downable`: may it be taken down for a moment (no addresses on it)?

    `has_shared_mac`: a failover master, whose MAC its members have as well.
    """

    name: str
    mac: str
    has_carrier: bool = False
    operstate: str = "unknown"
    is_dormant: bool = False
    is_up: bool = False
    is_downable: bool = True
    driver: str = ""
    device_id: str = ""
    has_shared_mac: bool = False
