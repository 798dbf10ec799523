"""The route files of the network scripts: numbered keys for IPv4, lines of `ip route` for IPv6, SUSE's
columns.
"""

from __future__ import annotations

from guest_agent.network.addresses import netmask_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.network.model import Route


def route_file(routes: tuple[Route, ...]) -> str:
    """route-NAME: the IPv4 routes, numbered from 0."""
    lines = []
    for index, route in enumerate(route for route in routes if not route.is_ipv6):
        lines.append(f"ADDRESS{index}={route.network}")
        lines += [f"GATEWAY{index}={route.gateway}"] if route.gateway else []
        lines.append(f"NETMASK{index}={netmask_of(route.prefix)}")
        lines += [] if route.metric is None else [f"METRIC{index}={route.metric}"]
    return "".join(f"{line}\n" for line in lines)


def route6_file(routes: tuple[Route, ...], device: str) -> str:
    """route6-NAME: the IPv6 routes, one a line."""
    return "".join(f"{_line(route)} dev {device}\n" for route in routes if route.is_ipv6)


def _line(route: Route) -> str:
    via = f" via {route.gateway} " if route.gateway else ""
    metric = "" if route.metric is None else f"{'' if via else ' '}metric {route.metric}"
    return f"{route.destination}{via}{metric}"


def ifroute_file(routes: tuple[Route, ...], device: str) -> str:
    """ifroute-NAME of SUSE: destination, gateway, netmask (in the destination already), device, options."""
    lines = []
    for route in routes:
        target = "default" if route.is_default else route.destination
        options = "" if route.metric is None else f" metric {route.metric}"
        lines.append(f"{target} {route.gateway or '-'} - {device}{options}\n")
    return "".join(lines)
