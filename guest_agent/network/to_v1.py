"""The version 1 document that says what the model says, for `net-convert -O v1-json` and for round trips."""

from __future__ import annotations

from guest_agent.network.model import STATIC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.network.model import Bridge, Interface, Network, Parameter, Route, Subnet

Entry = dict[str, object]


def document(network: Network) -> Entry:
    """Interfaces in their order, then global routes and name servers. What only v2 can say is not in it."""
    items = [_interface(one, network) for one in network.interfaces]
    items += [{"type": "route", **_route(route, "destination")} for route in network.routes]
    if network.dns:
        items.append({"type": "nameserver", **_dns(network.dns.nameservers, network.dns.search)})
    for one in network.interfaces:
        if one.dns:
            items.append(
                {"type": "nameserver", "interface": one.name, **_dns(one.dns.nameservers, one.dns.search)}
            )
    return {"version": 1, "config": items}


def _dns(nameservers: tuple[str, ...], search: tuple[str, ...]) -> Entry:
    return {"address": list(nameservers), **({"search": list(search)} if search else {})}


def _interface(one: Interface, network: Network) -> Entry:
    params = {parameter.key: _listed(parameter) for parameter in one.extra}
    params.update(
        {key: value for key, value in (("driver", one.driver), ("device_id", one.device_id)) if value}
    )
    plain = {
        "type": one.kind,
        "name": one.name,
        "mac_address": one.mac or None,
        "mtu": one.mtu,
        "accept-ra": one.accept_ra,
        "wakeonlan": one.wakeonlan,
        "optional": one.optional,
        "keep_configuration": one.keep_configuration,
        "subnets": [_subnet(subnet) for subnet in one.subnets] or None,
        "params": params or None,
    }
    return {**{key: value for key, value in plain.items() if value is not None}, **_made_of(one, network)}


def _made_of(one: Interface, network: Network) -> Entry:
    if one.bond:
        members = [network.name_of(key) for key in one.bond.members]
        return {
            "bond_interfaces": members,
            "params": {this.key: _listed(this) for this in one.bond.parameters},
        }
    if one.bridge:
        return {
            "bridge_interfaces": [network.name_of(key) for key in one.bridge.ports],
            "params": _bridge(one.bridge),
        }
    return {"vlan_id": one.vlan.id, "vlan_link": network.name_of(one.vlan.link)} if one.vlan else {}


def _listed(parameter: Parameter) -> object:
    return list(parameter.value) if isinstance(parameter.value, tuple) else parameter.value


def _bridge(bridge: Bridge) -> Entry:
    params: Entry = {this.written: _listed(this) for this in bridge.parameters}
    for key, values in (("bridge_pathcost", bridge.path_cost), ("bridge_portprio", bridge.port_priority)):
        if values:
            params[key] = [f"{value.port} {value.value}" for value in values]
    return {**params, **({} if bridge.stp is None else {"bridge_stp": bridge.stp})}


def _subnet(subnet: Subnet) -> Entry:
    kind = subnet.kind if subnet.kind != STATIC else "static6" if subnet.is_ipv6 else "static"
    said = {
        "type": kind,
        "address": subnet.cidr if subnet.address else "",
        "gateway": subnet.gateway,
        "broadcast": subnet.broadcast,
        "pointopoint": subnet.pointopoint,
        "scope": subnet.scope,
        "metric": subnet.metric,
        "mtu": subnet.mtu,
        "control": subnet.control,
        "dns_nameservers": list(subnet.dns.nameservers),
        "dns_search": list(subnet.dns.search),
        "routes": [_route(route, "network") for route in subnet.routes],
        subnet.declared_family: bool(subnet.declared_family),
    }
    return {key: value for key, value in said.items() if value not in (None, "", [], False)}


def _route(route: Route, target: str) -> Entry:
    said = {
        target: route.destination,
        "gateway": route.gateway or None,
        "metric": route.metric,
        "mtu": route.mtu,
        "table": route.table,
        "on-link": route.on_link or None,
    }
    return {key: value for key, value in said.items() if value is not None}
