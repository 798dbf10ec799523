"""The [ipv4] and [ipv6] sections of a keyfile: methods, addresses, routes, name servers."""

from __future__ import annotations

from guest_agent.network import rules
from guest_agent.network.model import (
    BOND,
    DHCP4,
    DHCP6,
    IPV6_AUTOMATIC,
    SLAAC,
    STATEFUL,
    STATELESS,
    STATIC,
    Dns,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.network.keyfile import Keyfile
    from guest_agent.network.model import Interface, Network, Route, Subnet

FAMILIES = ("ipv4", "ipv6")
METHOD_OF = {
    STATIC: "manual",
    DHCP4: "auto",
    DHCP6: "auto",
    SLAAC: "auto",
    STATELESS: "auto",
    STATEFUL: "dhcp",
}


def add(one: Interface, network: Network, this: Keyfile) -> None:
    """What the subnets and name servers of the interface say."""
    if one.kind == BOND and not one.subnets:
        # Without a section NetworkManager would ask DHCP on the bond, whose addresses are on VLANs above it.
        for family in FAMILIES:
            this.set(family, "method", "disabled")
            this.set(family, "may-fail", "false")
    for subnet in one.subnets:
        _add_subnet(subnet, this)
    for rule in one.rules:
        family = _family(rules.is_ipv6(rule))
        this.set(family, this.number(family, "routing-rule"), rules.words(rule))
    _add_dns(one, network, this)
    _relax(this)
    _complete(this)


def _family(is_ipv6: bool) -> str:
    return "ipv6" if is_ipv6 else "ipv4"


def _add_subnet(subnet: Subnet, this: Keyfile) -> None:
    family = _family(subnet.is_ipv6)
    _set_method(family, subnet, this)
    if subnet.address:
        this.set(family, this.number(family, "address"), subnet.cidr)
    this.set(family, "gateway", subnet.gateway)
    for route in subnet.routes:
        _add_route(route, this)
    if subnet.metric is not None:
        this.set(family, "route-metric", str(subnet.metric))


def _set_method(family: str, subnet: Subnet, this: Keyfile) -> None:
    """dhcp is not lowered to auto, nor auto to manual, by a later subnet."""
    this.set_default(family, "method", "disabled")
    method = METHOD_OF.get(subnet.kind, "auto")
    if subnet.kind not in METHOD_OF:
        this.set(family, "may-fail", "true")
    now = this.get(family, "method")
    if now == "dhcp" or (now == "auto" and method == "manual"):
        return
    if subnet.kind in IPV6_AUTOMATIC:
        this.set_default("ipv4", "method", "disabled")
    this.set(family, "method", method)
    this.set_default(family, "may-fail", "false")


def _add_route(route: Route, this: Keyfile) -> None:
    """A route may be of the other family than its subnet; the metric of a default route is that of the
    family.
    """
    family = _family(route.is_ipv6)
    metric = "" if route.metric is None else str(route.metric)
    if route.is_default and not route.table:
        this.set(family, "route-metric", metric)
        metric = ""
    gateway = route.gateway or (("::" if route.is_ipv6 else "0.0.0.0") if metric else "")  # noqa: S104 - "no gateway"
    key = this.number(family, "route")
    this.set(family, key, ",".join(filter(None, (route.destination, gateway, metric))))
    options = [f"mtu={route.mtu}"] if route.mtu else []
    options += [f"table={route.table}"] if route.table else []
    options += ["onlink=true"] if route.on_link else []
    this.set(family, f"{key}_options", ",".join(options))


def _add_dns(one: Interface, network: Network, this: Keyfile) -> None:
    """The subnets' name servers, then the interface's, else the global ones."""
    own = one.dns or Dns()
    servers = [server for subnet in one.subnets for server in subnet.dns.nameservers]
    search = [domain for subnet in one.subnets for domain in subnet.dns.search]
    servers += [server for server in own.nameservers if server not in servers]
    search += [domain for domain in own.search if domain not in search]
    for server in servers or network.dns.nameservers:
        family = _family(":" in server)
        if _takes_dns(family, this):
            this.set(family, "dns", f"{this.get(family, 'dns')}{server};")
    domains = ";".join(search or network.dns.search)
    for family in FAMILIES:
        if domains and _takes_dns(family, this):
            this.set(family, "dns-search", f"{domains};")


def _takes_dns(family: str, this: Keyfile) -> bool:
    return this.has(family) and this.get(family, "method") != "disabled"


def _relax(this: Keyfile) -> None:
    """Where both families are dynamic, one of them is enough."""
    if all(this.get(family, "method") in {"auto", "dhcp"} for family in FAMILIES) and all(
        this.get(family, "may-fail") == "false" for family in FAMILIES
    ):
        for family in FAMILIES:
            this.set(family, "may-fail", "true")


def _complete(this: Keyfile) -> None:
    """Routes alone are no section: without a method the profile is refused; auto is the default of both."""
    for family in FAMILIES:
        if this.has(family) and not this.get(family, "method"):
            this.set(family, "method", "auto")
            this.set_default(family, "may-fail", "true")
