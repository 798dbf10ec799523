"""Giving NICs the names that the network config asks for, before any file names them.

A NIC that is up must come down to be renamed; a name that is taken is freed by moving its holder to a
temporary one, so a swap of two names works. Source of the rules: guest agent contract, 4.5.
"""

from __future__ import annotations

from boot_stages.value import Value
from guest_agent.network.model import INFINIBAND, PHYSICAL, Note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from guest_agent.network.links import Link
    from guest_agent.network.model import Interface, Network

TEMPORARY = "cirename{}"
Argv = tuple[str, ...]


class Renames(Value):
    """Commands in the order in which they must run, and what could not be done."""

    commands: tuple[Argv, ...] = ()
    notes: tuple[Note, ...] = ()


class _Plan:
    """The NICs as they will be named when the commands so far have run."""

    def __init__(self, links: Iterable[Link]) -> None:
        self.now = list(links)
        self.commands: list[Argv] = []
        self.taken_down: list[int] = []
        self.count = 0

    def holder(self, name: str) -> Link | None:
        return next((link for link in self.now if link.name == name), None)

    def temporary(self) -> str:
        while self.holder(TEMPORARY.format(self.count)):
            self.count += 1
        return TEMPORARY.format(self.count)

    def move(self, link: Link, name: str) -> None:
        """Takes the NIC down if it is up, and gives it the new name."""
        place = self.now.index(link)
        if link.is_up:
            self.commands.append(("ip", "link", "set", "dev", link.name, "down"))
            self.taken_down.append(place)
        self.commands.append(("ip", "link", "set", link.name, "name", name))
        self.now[place] = link.replace(name=name, is_up=False)

    def ups(self) -> tuple[Argv, ...]:
        """What was up is up again, under its last name."""
        return tuple(("ip", "link", "set", "dev", self.now[place].name, "up") for place in self.taken_down)


def plan(network: Network, links: Iterable[Link]) -> Renames:
    """How the NICs get the names of the document; nothing where they have them."""
    state = _Plan(links)
    notes = []
    for one in network.interfaces:
        if one.kind in {PHYSICAL, INFINIBAND} and one.mac:
            problem = _rename(one, state)
            if problem:
                notes.append(Note("WARNING", f"network: cannot name the NIC {one.mac} {one.name}: {problem}"))
    return Renames((*state.commands, *state.ups()), tuple(notes))


def _rename(one: Interface, state: _Plan) -> str:
    """Plans one NIC; what stands in the way, or "" where nothing does."""
    fitting = [link for link in state.now if _fits(link, one)]
    if len(fitting) != 1:
        return f"{len(fitting)} NICs have this MAC" if fitting else "no NIC has this MAC"
    link = fitting[0]
    if link.name == one.name:
        return ""
    if link.is_up and not link.is_downable:
        return f"{link.name} is up and in use"
    holder = state.holder(one.name)
    if holder:
        if holder.is_up and not holder.is_downable:
            return f"{holder.name} is up and in use"
        state.move(holder, state.temporary())
    state.move(link, one.name)
    return ""


def _fits(link: Link, one: Interface) -> bool:
    if link.mac != one.mac or (one.driver and link.driver != one.driver):
        return False
    return not one.device_id or link.device_id == one.device_id
