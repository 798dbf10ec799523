"""Which interface belongs to which bond, and a placeholder for each member or port that nobody declared."""

from __future__ import annotations

from guest_agent.network.model import PHYSICAL, Interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from guest_agent.network.reading import Findings


def link_members(interfaces: Iterable[Interface], findings: Findings) -> tuple[Interface, ...]:
    """The interfaces with `bond_master` set on members, and undeclared members added as plain devices."""
    known = {one.key: one for one in interfaces}
    for owner in tuple(known.values()):
        for key in _below(owner):
            known.setdefault(key, Interface(key, key, PHYSICAL))
            if key == owner.key:
                findings.fault(key, "it is a member of itself", "List other interfaces below it")
        for key in owner.bond.members if owner.bond else ():
            member = known[key]
            if member.bond_master not in {"", owner.name}:
                findings.fault(
                    key, f"it is in two bonds, {member.bond_master} and {owner.name}", "Leave it in one"
                )
            known[key] = member.replace(bond_master=owner.name)
    return tuple(known.values())


def _below(owner: Interface) -> tuple[str, ...]:
    members = owner.bond.members if owner.bond else ()
    return members + (owner.bridge.ports if owner.bridge else ())
