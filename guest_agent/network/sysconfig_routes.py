"""The route files of the network scripts: numbered keys for IPv4, lines of `ip route` for IPv6, SUSE's
columns.
"""

from __future__ import annotations

from guest_agent.network import rules
from guest_agent.network.addresses import netmask_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.network.model import Interface, Route


def route_file(routes: tuple[Route, ...], device: str) -> str:
    """route-NAME: the IPv4 routes, numbered from 0; where one has a table, as `ip route` words, which
    can say so.
    """
    if any(route.table for route in routes if not route.is_ipv6):
        return "".join(f"{_line(route)} dev {device}\n" for route in routes if not route.is_ipv6)
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
    table = f" table {route.table}" if route.table else ""
    return f"{route.destination}{via}{metric}{table}"


def rule_files(one: Interface) -> dict[str, str]:
    """rule-NAME and rule6-NAME: name -> text, for those families that have rules."""
    files: dict[str, str] = {}
    for rule in one.rules:
        name = f"rule{'6' if rules.is_ipv6(rule) else ''}-{one.name}"
        files[name] = f"{files.get(name, '')}{rules.words(rule)}\n"
    return files


def ifroute_file(routes: tuple[Route, ...], device: str) -> str:
    """ifroute-NAME of SUSE: destination, gateway, netmask (in the destination already), device, options."""
    lines = []
    for route in routes:
        target = "default" if route.is_default else route.destination
        options = "" if route.metric is None else f" metric {route.metric}"
        options += f" table {route.table}" if route.table else ""
        lines.append(f"{target} {route.gateway or '-'} - {device}{options}\n")
    return "".join(lines)
