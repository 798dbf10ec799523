"""The network when nobody says anything: DHCP on the NIC most likely connected.

Source of the rules: guest agent contract, 1.8.
"""

from __future__ import annotations

from itertools import groupby

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from guest_agent.network.links import Link

FIRST_CHOICE = "eth0"
MAYBE_CONNECTED = {"dormant", "down", "lowerlayerdown", "unknown"}


def config(links: Iterable[Link], *, with_driver: bool = False) -> dict[str, object] | None:
    """A version 2 document: DHCP of both families on the first candidate; None where there is no
    candidate.
    """
    found = candidates(links)
    if not found:
        return None
    nic = found[0]
    match = {"name": nic.name} if nic.has_shared_mac else {"macaddress": nic.mac}
    if with_driver and nic.driver:
        match["driver"] = nic.driver
    return {
        "version": 2,
        "ethernets": {nic.name: {"dhcp4": True, "dhcp6": True, "set-name": nic.name, "match": match}},
    }


def candidates(links: Iterable[Link]) -> tuple[Link, ...]:
    """The NICs that may be connected: those with a carrier first, in each group eth0 first, then by
    number.
    """
    usable = [link for link in links if link.name != "lo" and not link.name.startswith("veth")]
    connected = [link for link in usable if link.has_carrier]
    maybe = [
        link
        for link in usable
        if not link.has_carrier and (link.is_dormant or link.operstate in MAYBE_CONNECTED)
    ]
    return (*sorted(connected, key=_order), *sorted(maybe, key=_order))


def _order(link: Link) -> tuple[bool, tuple[tuple[int, str], ...]]:
    """eth2 before eth10."""
    parts = ["".join(letters) for _, letters in groupby(link.name, str.isdecimal)]
    return link.name != FIRST_CHOICE, tuple(
        (int(part), "") if part.isdecimal() else (-1, part) for part in parts
    )
