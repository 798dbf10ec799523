"""What was asked for against what `ip -json` says: addresses exactly, links and routes and rules as far as
asked.
"""

from __future__ import annotations

from typing import Any

State = dict[str, Any]


def differences(asked: State, state: State) -> list[str]:
    """Each difference in a line; empty where the guest has what was asked for."""
    return [*_addresses(asked, state), *_links(asked, state), *_routes(asked, state), *_rules(asked, state)]


def _addresses(asked: State, state: State) -> list[str]:
    found = {link["ifname"]: _own(link) for link in state["addresses"]}
    wanted = {name: sorted(addresses) for name, addresses in asked.get("addresses", {}).items()}
    return [
        f"{name}: addresses {found.get(name)}, asked for {addresses}"
        for name, addresses in wanted.items()
        if found.get(name) != addresses
    ]


def _own(link: State) -> list[str]:
    """Without link-local addresses, which every NIC has."""
    return sorted(f"{one['local']}/{one['prefixlen']}" for one in link["addr_info"] if one["scope"] != "link")


def _links(asked: State, state: State) -> list[str]:
    found = {link["ifname"]: link for link in state["links"]}
    wrong = []
    for name, wanted in asked.get("links", {}).items():
        seen = _link(found[name]) if name in found else {}
        wrong += [
            f"{name}: {key} is {seen.get(key)}, asked for {value}"
            for key, value in wanted.items()
            if seen.get(key) != value
        ]
    return wrong


def _link(link: State) -> State:
    info = link.get("linkinfo", {})
    data = info.get("info_data", {})
    return {
        "mtu": link["mtu"],
        "master": link.get("master"),
        "link": link.get("link"),
        "kind": info.get("info_kind"),
        "mode": data.get("mode"),
        "miimon": data.get("miimon"),
        "vlan": data.get("id"),
        "stp": bool(data.get("stp_state")),
        "mac": link["address"],
    }


def _routes(asked: State, state: State) -> list[str]:
    wanted = asked.get("routes", [])
    wrong = [
        f"there is no route {route}"
        for route in wanted
        if not any(_is(route, one) for one in state["routes"])
    ]
    for one in state["routes"]:
        is_default = one["dst"] == "default" and one.get("gateway") and one.get("table", "main") == "main"
        if is_default and not any(_is(route, one) for route in wanted):
            wrong.append(f"there is a default route nobody asked for: {one}")
    return wrong


def _is(route: State, one: State) -> bool:
    return (
        one["dst"] == route["dst"]
        and one.get("gateway") == route.get("via")
        and one.get("dev") == route["dev"]
        and one.get("table", "main") == route.get("table", "main")
        and route.get("metric", one.get("metric")) == one.get("metric")
    )


def _rules(asked: State, state: State) -> list[str]:
    found = [
        {"from": one.get("src"), "table": one["table"], "priority": one["priority"]} for one in state["rules"]
    ]
    return [f"there is no rule {rule}" for rule in asked.get("rules", []) if rule not in found]
