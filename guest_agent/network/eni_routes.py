"""Routes and rules in /etc/network/interfaces: a line that adds each at ifup, one that takes it at ifdown.

Each ends in `|| true`, so that a repeated ifup is no error.
"""

from __future__ import annotations

from guest_agent.network.model import Note
from guest_agent.network.rendered import lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from guest_agent.network.model import Interface, Route


def route_lines(route: Route, indent: str, have_ip: bool, device: str = "") -> Iterator[str]:
    """The line that adds the route and the line that takes it away; `|| true`, so that a repeated ifup
    is no error.
    """
    words = _ip_words(route, device) if have_ip else _route_words(route, device)
    for when, verb in (("post-up", "add"), ("pre-down", "del")):
        yield f"{indent}{when} {words.format(verb=verb)} || true"


def rule_lines(one: Interface, have_ip: bool, notes: list[Note]) -> list[str]:
    if one.rules and not have_ip:
        notes.append(Note("WARNING", lost("eni", one, ["routing-policy (there is no ip tool)"])))
        return []
    lines = []
    for rule in one.rules:
        from guest_agent.network import rules

        command = f"ip{' -family inet6' if rules.is_ipv6(rule) else ''} rule {{}} {rules.words(rule)} || true"
        lines += [f"    post-up {command.format('add')}", f"    pre-down {command.format('del')}"]
    return lines


def _ip_words(route: Route, device: str) -> str:
    target = "default" if route.is_default else route.destination
    tail = f" via {route.gateway}" if route.gateway else f" dev {device}" if device else ""
    tail += f" dev {device} onlink" if route.on_link and route.gateway and device else ""
    tail += "" if route.metric is None else f" metric {route.metric}"
    tail += f" table {route.table}" if route.table else ""
    return f"ip{' -family inet6' if route.is_ipv6 else ''} route {{verb}} {target}{tail}"


def _route_words(route: Route, device: str) -> str:
    kind = "-A inet6 " if route.is_ipv6 else ""
    if not route.is_ipv6 and not route.is_default:
        kind = "-host " if route.prefix == 32 else "-net "
    target = "default" if route.is_default else route.destination
    tail = f" gw {route.gateway}" if route.gateway else f" dev {device}" if device else ""
    tail += "" if route.metric is None else f" metric {route.metric}"
    return f"route {{verb}} {kind}{target}{tail}"
