"""Subnets and routes as v1 writes them; v2 and network_data are brought into the same words first."""

from __future__ import annotations

from guest_agent.network import addresses
from guest_agent.network.model import (
    DHCP4,
    LOOPBACK,
    MANUAL,
    STATIC,
    SUBNET_KINDS,
    Dns,
    Route,
    Subnet,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.network.reading import Reader

KIND_OF = {"dhcp": DHCP4, "static6": STATIC, "loopback": LOOPBACK, "manual": MANUAL}


def subnet(reader: Reader) -> Subnet | None:
    """One entry of `subnets`, or None where it is at fault."""
    written = reader.text("type")
    kind = KIND_OF.get(written, written)
    if kind not in SUBNET_KINDS:
        known = ", ".join((*SUBNET_KINDS, "dhcp", "static6"))
        reader.findings.fault(
            reader.place("type"), f"{written!r} is no type of subnet", f"Use one of {known}"
        )
        return None
    address, prefix = _address(reader) if kind == STATIC else ("", 0)
    return Subnet(
        kind,
        address,
        prefix,
        gateway=reader.address("gateway"),
        broadcast=reader.text("broadcast"),
        pointopoint=reader.text("pointopoint"),
        scope=reader.text("scope"),
        metric=reader.whole("metric") or None,
        mtu=reader.mtu() or None,
        control=reader.text("control"),
        dns=Dns(reader.strings("dns_nameservers", words=True), reader.strings("dns_search", words=True)),
        routes=tuple(found for one in reader.items("routes") for found in [route(one)] if found),
        declared_family=next((name for name in ("ipv4", "ipv6") if reader.truth(name)), ""),
    )


def _address(reader: Reader) -> tuple[str, int]:
    key = "address" if reader.has("address") else "ip_address"
    if not reader.has(key):
        reader.findings.fault(
            reader.place("address"), "a static subnet needs an address", "Add it, or use dhcp4"
        )
        return "", 0
    return _split(reader, key, reader.text(key))


def _split(reader: Reader, key: str, text: str) -> tuple[str, int]:
    try:
        return addresses.split(text, _set(reader, "prefix"), _set(reader, "netmask"))
    except ValueError as error:
        reader.findings.fault(reader.place(key), str(error), "Write ADDRESS/PREFIX, such as 192.0.2.7/24")
        return "", 0


def _set(reader: Reader, key: str) -> str | None:
    return reader.text(key) if reader.has(key) else None


def route(reader: Reader) -> Route | None:
    """One route: `network` or `destination`, with the prefix in it, in `prefix` or in `netmask`."""
    key = "destination" if reader.has("destination") else "network"
    target = reader.text(key)
    gateway = reader.address("gateway")
    if target == "default":
        target = _default_of(gateway)
    if not target:
        reader.findings.fault(
            reader.place(key), "the route says not where to", "Name a network, or a gateway with 'default'"
        )
        return None
    network, prefix = _split(reader, key, target)
    metric, mtu, table = reader.whole("metric"), reader.mtu(), reader.whole("table")
    on_link = bool(reader.truth("on-link"))
    return Route(network, prefix, gateway, metric, mtu or None, table, on_link) if network else None


def _default_of(gateway: str) -> str:
    return {4: "0.0.0.0/0", 6: "::/0"}.get(addresses.family(gateway), "")
