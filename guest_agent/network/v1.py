"""Network config version 1: a list of items, each an interface, a name server or a route.

An item without a required key is left out with a WARNING; an unknown type or a bad value makes the whole
document unusable. Source of the rules: guest agent contract, 4.2.
"""

from __future__ import annotations

from guest_agent.network import subnets
from guest_agent.network.model import (
    BOND,
    BRIDGE,
    INFINIBAND,
    LOOPBACK,
    PHYSICAL,
    VLAN,
    Bond,
    Bridge,
    Dns,
    Interface,
    Network,
    Parameter,
    PortValue,
    Vlan,
)
from guest_agent.network.reading import Findings, Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guest_agent.network.model import Route

# type: the keys it cannot do without.
REQUIRED = {
    PHYSICAL: ("name",),
    LOOPBACK: ("name",),
    INFINIBAND: ("name",),
    BOND: ("name", "bond_interfaces", "params"),
    BRIDGE: ("name", "bridge_interfaces"),
    VLAN: ("name", "vlan_id", "vlan_link"),
    "nameserver": ("address",),
    "route": ("destination",),
}
STP_WORDS = {"on": True, "1": True, "true": True, "off": False, "0": False, "false": False}


class _Document:
    """What the items have said so far."""

    def __init__(self) -> None:
        self.interfaces: dict[str, Interface] = {}
        self.routes: list[Route] = []
        self.dns = Dns()
        self.dns_of: dict[str, tuple[Reader, Dns]] = {}


def parse(document: object, findings: Findings) -> Network:
    """The network that a v1 document means. Faults and notes go to `findings`; with faults the answer
    is partial.
    """
    reader = Reader(document, "", findings)
    if not isinstance(reader.get("config"), list):
        findings.fault(
            "config", "a version 1 network config needs a list here", "Write 'config:' and entries below it"
        )
        return Network(1)
    found = _Document()
    for item in reader.items("config"):
        kind = item.text("type")
        if kind not in REQUIRED:
            findings.fault(
                item.place("type"), f"{kind!r} is no type of item", f"Use one of {', '.join(REQUIRED)}"
            )
        elif _is_whole(item, kind):
            _take(item, kind, found)
    interfaces = _with_dns(found)
    if any(one.bond or one.bridge for one in interfaces):
        from guest_agent.network.members import link_members

        interfaces = link_members(interfaces, findings)
    return Network(1, interfaces, tuple(found.routes), found.dns)


def _is_whole(item: Reader, kind: str) -> bool:
    missing = [key for key in REQUIRED[kind] if key not in item.value]
    if missing:
        item.findings.warn(f"network-config: {item.path}: left out, a {kind} needs {' and '.join(missing)}")
    return not missing


def _take(item: Reader, kind: str, found: _Document) -> None:
    if kind == "nameserver":
        dns = Dns(item.strings("address"), item.strings("search"))
        if item.has("interface"):
            found.dns_of[item.text("interface")] = (item, dns)
        else:
            found.dns = Dns(found.dns.nameservers + dns.nameservers, found.dns.search + dns.search)
    elif kind == "route":
        found.routes.extend(filter(None, [subnets.route(item)]))
    else:
        one = interface(item, kind)
        if one.name in found.interfaces:
            item.findings.fault(
                item.place("name"), f"{one.name!r} is there twice", "Give each interface one item"
            )
        found.interfaces[one.name] = one


def _with_dns(found: _Document) -> tuple[Interface, ...]:
    for name, (item, dns) in found.dns_of.items():
        if name in found.interfaces:
            found.interfaces[name] = found.interfaces[name].replace(dns=dns)
        else:
            item.findings.fault(
                item.place("interface"), f"there is no interface {name!r}", "Name one of this document"
            )
    return tuple(found.interfaces.values())


def interface(item: Reader, kind: str) -> Interface:
    """One interface item."""
    name = item.text("name")
    plain = kind not in {BOND, BRIDGE}
    params = item.child("params")
    return Interface(
        name,
        name,
        kind,
        mac=item.text("mac_address").lower(),
        mtu=item.mtu(),
        driver=params.text("driver") if plain else "",
        device_id=params.text("device_id") if plain else "",
        accept_ra=item.truth("accept-ra"),
        wakeonlan=item.truth("wakeonlan"),
        optional=item.truth("optional"),
        keep_configuration=item.truth("keep_configuration"),
        subnets=tuple(found for one in item.items("subnets") for found in [subnets.subnet(one)] if found),
        bond=bond(params, item.strings("bond_interfaces")) if kind == BOND else None,
        bridge=bridge(params, item.strings("bridge_interfaces")) if kind == BRIDGE else None,
        vlan=_vlan(item) if kind == VLAN else None,
        extra=parameters(params, skip=("driver", "device_id")) if plain else (),
    )


def _vlan(item: Reader) -> Vlan | None:
    number = item.whole("vlan_id", 0, 4094)
    return None if number is None else Vlan(number, item.text("vlan_link"))


def parameters(params: Reader, skip: tuple[str, ...] = ()) -> tuple[Parameter, ...]:
    """The options below `params`, each with its v1 name in dashes; what is null is left out."""
    taken = [key for key in params.names() if params.get(key) is not None and key not in skip]
    return tuple(Parameter(key.replace("_", "-"), _option(params.get(key)), key) for key in taken)


def _option(value: object) -> str | int | bool | tuple[str, ...]:
    if isinstance(value, (bool, int)):
        return value
    if isinstance(value, (list, tuple)):
        return tuple(str(one) for one in value)
    return str(value)


def bond(params: Reader, members: tuple[str, ...]) -> Bond:
    return Bond(members, parameters(params))


def bridge(params: Reader, ports: tuple[str, ...]) -> Bridge:
    """A bridge; `bridge_stp` takes on, off, 1, 0 and booleans, the port options take `PORT NUMBER`
    entries.
    """
    special = ("bridge_stp", "bridge_pathcost", "bridge_portprio")
    return Bridge(
        ports,
        _stp(params),
        parameters(params, skip=special),
        _port_values(params, "bridge_pathcost"),
        _port_values(params, "bridge_portprio"),
    )


def _stp(params: Reader) -> bool | None:
    value = params.get("bridge_stp")
    if value is None:
        return None
    word = str(value).lower()
    if word not in STP_WORDS:
        params.findings.fault(
            params.place("bridge_stp"), f"{value!r} is neither on nor off", "Write on or off"
        )
    return STP_WORDS.get(word)


def _port_values(params: Reader, key: str) -> tuple[PortValue, ...]:
    """`[eth0 50, eth1 75]` as v1 writes it, or `{eth0: 50, eth1: 75}` as v2 does."""
    value = params.get(key)
    pairs = [(str(port), number) for port, number in value.items()] if isinstance(value, dict) else []
    if not isinstance(value, dict):
        for text in params.strings(key):
            port, _, number = text.partition(" ")
            pairs.append((port, number.strip()))
    found = []
    for port, number in pairs:
        if str(number).isdigit():
            found.append(PortValue(port, int(str(number))))
        else:
            params.findings.fault(params.place(key), f"{port} {number} has no number", "Write 'PORT NUMBER'")
    return tuple(found)
