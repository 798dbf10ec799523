"""Routes of no interface (v1 items of type `route`), for formats in which every route belongs to one."""

from __future__ import annotations

from guest_agent.network.addresses import is_inside
from guest_agent.network.model import STATIC, Note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.network.model import Interface, Network, Route


def given_to_interfaces(network: Network, renderer: str, notes: list[Note]) -> Network:
    """Each such route is moved to the interface whose addresses its gateway is among; what fits none is
    noted.
    """
    homeless = []
    interfaces = {one.key: one for one in network.interfaces}
    for route in network.routes:
        home = next(
            (one for one in network.interfaces if route.gateway and _reaches(one, route.gateway)), None
        )
        if home:
            interfaces[home.key] = _with_route(interfaces[home.key], route)
        else:
            homeless.append(route.destination)
    if homeless:
        notes.append(
            Note("WARNING", f"{renderer}: not written: routes of no interface: {', '.join(homeless)}")
        )
    return network.replace(interfaces=tuple(interfaces.values()), routes=())


def _reaches(one: Interface, gateway: str) -> bool:
    return any(subnet.kind == STATIC and is_inside(gateway, subnet.cidr) for subnet in one.subnets)


def _with_route(one: Interface, route: Route) -> Interface:
    first, *others = one.subnets
    return one.replace(subnets=(first.replace(routes=(*first.routes, route)), *others))
