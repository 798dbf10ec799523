"""What busybox's ifupdown needs otherwise: a netmask of its own, and one stanza a family for a device.

It refuses the whole file at a second stanza, so further addresses become commands of the first.
"""

from __future__ import annotations

from guest_agent.network.addresses import netmask_of
from guest_agent.network.model import STATIC, Note
from guest_agent.network.rendered import lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.network.model import Interface, Subnet


def merged(one: Interface, notes: list[Note]) -> Interface:
    """The interface with one subnet a family; the routes of the others go with it, their addresses do not."""
    kept: dict[bool, Subnet] = {}
    for subnet in one.subnets:
        first = kept.setdefault(subnet.is_ipv6, subnet)
        if first is not subnet:
            kept[subnet.is_ipv6] = first.replace(
                routes=(*first.routes, *subnet.gateway_route, *subnet.routes)
            )
            if subnet.kind != STATIC:
                notes.append(Note("WARNING", lost("eni", one, [f"{subnet.kind} (busybox takes one method)"])))
    return one.replace(subnets=tuple(kept.values()))


def further_addresses(one: Interface, is_ipv6: bool) -> list[str]:
    """The addresses after the first subnet of a family, as commands."""
    others = [subnet for subnet in one.subnets if subnet.is_ipv6 == is_ipv6][1:]
    lines = []
    for subnet in others:
        if subnet.kind == STATIC:
            lines.append(f"    post-up ip addr add {subnet.cidr} dev {one.name} || true")
            lines.append(f"    pre-down ip addr del {subnet.cidr} dev {one.name} || true")
    return lines


def address_lines(subnet: Subnet) -> list[str]:
    mask = str(subnet.prefix) if subnet.is_ipv6 else netmask_of(subnet.prefix)
    return [f"    address {subnet.address}", f"    netmask {mask}"]
