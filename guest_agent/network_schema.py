"""The published schema of network config, versions 1 and 2.

Source: cloud-init's schema-network-config files.
"""

from __future__ import annotations

from boot_stages.validate import faults_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from boot_stages.schema import Schema

_TEXT: Schema = {"type": "string"}
_WHOLE: Schema = {"type": "integer"}
_YES_NO: Schema = {"type": "boolean"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_TEXT_OR_TEXTS: Schema = {"oneOf": [_TEXT, _TEXTS]}
_MTU: Schema = {"type": ["integer", "null"]}
_VALUE: Schema = {"type": ["string", "integer", "boolean", "number", "array", "null"]}


def _record(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    named = {name.replace("__", "-"): inner for name, inner in properties.items()}
    record: Schema = {"type": "object", "additionalProperties": False, "properties": named}
    return {**record, "required": list(required)} if required else record


_ROUTE_V1 = _record(
    destination=_TEXT, network=_TEXT, netmask=_TEXT, gateway=_TEXT, metric=_WHOLE, mtu=_MTU, prefix=_WHOLE
)
_SUBNET = _record(
    ("type",),
    type={
        "type": "string",
        "enum": [
            "dhcp4",
            "dhcp",
            "dhcp6",
            "static",
            "static6",
            "ipv6_dhcpv6-stateful",
            "ipv6_dhcpv6-stateless",
            "ipv6_slaac",
            "manual",
            "loopback",
        ],
    },
    control={"type": "string", "enum": ["auto", "manual", "hotplug", "inactive"]},
    address=_TEXT,
    netmask={"type": ["string", "integer"]},
    prefix={"type": ["string", "integer"]},
    broadcast=_TEXT,
    gateway=_TEXT,
    dns_nameservers=_TEXT_OR_TEXTS,
    dns_search=_TEXT_OR_TEXTS,
    routes={"type": "array", "items": _ROUTE_V1},
    ipv4=_YES_NO,
    ipv6=_YES_NO,
    metric=_WHOLE,
    mtu=_MTU,
)
_SUBNETS: Schema = {"type": "array", "items": _SUBNET}
_PARAMS: Schema = {"type": "object", "patternProperties": {"^.+$": _VALUE}}


def _item(kind: str, *required: str, **properties: Schema) -> Schema:
    return _record(("type", *required), type={"type": "string", "enum": [kind]}, **properties)


_NIC: dict[str, Schema] = {
    "name": _TEXT,
    "mac_address": {"type": ["string", "null"]},
    "mtu": _MTU,
    "subnets": _SUBNETS,
    "accept-ra": {"type": ["boolean", "integer", "string"]},
    "keep_configuration": _YES_NO,
    "wakeonlan": _YES_NO,
}
V1_ITEMS: tuple[Schema, ...] = (
    _item("physical", "name", **_NIC),
    _item("loopback", "name", **_NIC),
    _item("infiniband", "name", **_NIC),
    _item("bond", "name", "bond_interfaces", bond_interfaces=_TEXTS, params=_PARAMS, **_NIC),
    _item("bridge", "name", "bridge_interfaces", bridge_interfaces=_TEXTS, params=_PARAMS, **_NIC),
    _item("vlan", "name", "vlan_link", "vlan_id", vlan_link=_TEXT, vlan_id=_WHOLE, **_NIC),
    _item("nameserver", "address", address=_TEXT_OR_TEXTS, search=_TEXT_OR_TEXTS, interface=_TEXT),
    _item(
        "route",
        "destination",
        destination=_TEXT,
        netmask=_TEXT,
        gateway=_TEXT,
        metric=_WHOLE,
        id=_VALUE,
    ),
)
V1 = _record(
    ("version", "config"),
    version={"enum": [1]},
    config={"type": "array", "items": {"anyOf": list(V1_ITEMS)}},
)
DISABLED = _record(("config",), config={"enum": ["disabled"]}, version={"enum": [1, 2]})

_DHCP: Schema = {"type": "boolean"}
_OVERRIDES = _record(
    hostname=_TEXT,
    route__metric=_WHOLE,
    send__hostname=_YES_NO,
    use__dns=_YES_NO,
    use__domains={"type": ["boolean", "string"]},
    use__hostname=_YES_NO,
    use__mtu=_YES_NO,
    use__ntp=_YES_NO,
    use__routes=_YES_NO,
)
_NAMESERVERS = _record(addresses=_TEXTS, search=_TEXTS)
_ROUTE_V2: Schema = {
    "type": "object",
    "properties": {"to": _TEXT, "via": _TEXT, "metric": _WHOLE, "mtu": _MTU},
}
_MATCH: Schema = {
    "type": "object",
    "properties": {"macaddress": _TEXT, "driver": _TEXT_OR_TEXTS, "name": _TEXT},
}
# Keys that every kind of interface has; netplan knows more, which are let through.
_COMMON: dict[str, Schema] = {
    "renderer": _TEXT,
    "dhcp4": _DHCP,
    "dhcp6": _DHCP,
    "dhcp4-overrides": _OVERRIDES,
    "dhcp6-overrides": _OVERRIDES,
    "accept-ra": _YES_NO,
    "addresses": {"type": "array", "items": {"type": ["string", "object"]}},
    "gateway4": _TEXT,
    "gateway6": _TEXT,
    "mtu": _MTU,
    "ipv6-mtu": _WHOLE,
    "macaddress": _TEXT,
    "nameservers": _NAMESERVERS,
    "routes": {"type": "array", "items": _ROUTE_V2},
    "routing-policy": {"type": "array", "items": {"type": "object"}},
    "optional": _YES_NO,
    "critical": _YES_NO,
}


def _v2_interfaces(required: tuple[str, ...] = (), **more: Schema) -> Schema:
    named = {name.replace("__", "-"): inner for name, inner in more.items()}
    one: Schema = {"type": "object", "properties": {**_COMMON, **named}}
    if required:
        one["required"] = list(required)
    return {"type": "object", "patternProperties": {"^.+$": one}}


V2 = _record(
    ("version",),
    version={"enum": [2]},
    renderer=_TEXT,
    ethernets=_v2_interfaces(match=_MATCH, set__name=_TEXT, wakeonlan=_YES_NO),
    wifis=_v2_interfaces(match=_MATCH, set__name=_TEXT),
    bonds=_v2_interfaces(interfaces=_TEXTS, parameters={"type": "object"}),
    bridges=_v2_interfaces(interfaces=_TEXTS, parameters={"type": "object"}),
    vlans=_v2_interfaces(("id", "link"), id=_WHOLE, link=_TEXT),
    modems=_v2_interfaces(),
    tunnels=_v2_interfaces(),
    vrfs=_v2_interfaces(),
    dummy__devices=_v2_interfaces(),
)


def unwrapped(document: object) -> object:
    """What a `network:` key around the document holds."""
    return document["network"] if isinstance(document, dict) and "network" in document else document


def faults_of_network(document: object) -> list[tuple[str, str]]:
    """Every (path, what is wrong) of a network config; paths are below a `network:` key around it."""
    inside = unwrapped(document)
    if not isinstance(inside, dict):
        return [("network", "a map is expected")]
    if inside.get("config") == "disabled":
        return faults_of(inside, DISABLED)
    version = inside.get("version")
    if version not in (1, 2):
        return [("version", f"{version!r} is not one of [1, 2]")]
    return faults_of(inside, V1 if version == 1 else V2)


def version_of(document: Mapping[str, object]) -> object:
    """The version that a document says it has."""
    inside = unwrapped(document)
    return inside.get("version") if isinstance(inside, dict) else None
