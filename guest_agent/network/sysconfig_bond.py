"""Bond and bridge options in sysconfig files, alike in both flavors."""

from __future__ import annotations

from guest_agent.network.model import Note
from guest_agent.network.rendered import lost, unwritten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.network.model import Bond, Bridge, Interface

# In the order in which they are written.
BOND_OPTIONS = (
    "mode",
    "xmit_hash_policy",
    "miimon",
    "min_links",
    "arp_interval",
    "arp_ip_target",
    "arp_validate",
    "ad_select",
    "num_grat_arp",
    "downdelay",
    "updelay",
    "lacp_rate",
    "fail_over_mac",
    "primary",
    "primary_reselect",
)


def _spellings(option: str) -> tuple[str, str]:
    """All underscores or all dashes; a mixture does not count."""
    return f"bond_{option}", f"bond-{option}".replace("_", "-")


def bonding_options(bond: Bond) -> str:
    """`mode=active-backup miimon=100`, for the kernel module."""
    given = {parameter.written: parameter.value for parameter in bond.parameters}
    words = []
    for option in BOND_OPTIONS:
        found = [given[spelling] for spelling in _spellings(option) if spelling in given]
        if found:
            words.append(f"{option}={_joined(found[0])}")
    return " ".join(words)


def _joined(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def note_bond(one: Interface, bond: Bond, notes: list[Note]) -> None:
    taken = [spelling for option in BOND_OPTIONS for spelling in _spellings(option)]
    what = unwritten(bond.parameters, taken)
    if what:
        notes.append(Note("WARNING", lost("sysconfig", one, what)))


def note_bridge(one: Interface, bridge: Bridge, taken: tuple[str, ...], notes: list[Note]) -> None:
    what = [*unwritten(bridge.parameters, taken)]
    what += ["path cost of a port"] if bridge.path_cost else []
    what += ["priority of a port"] if bridge.port_priority else []
    if what:
        notes.append(Note("WARNING", lost("sysconfig", one, what)))
