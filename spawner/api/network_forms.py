"""What a client may send to Neutron: the forms of new things and of changes, checked field by field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

Name = Annotated[str, msgspec.Meta(max_length=255)]
PortNumber = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class Owned(msgspec.Struct, forbid_unknown_fields=True):
    """What every new thing may name: the project that shall own it, which only an admin chooses."""

    project_id: str | None = None
    tenant_id: str | None = None
    description: str = ""


class Network(Owned, rename={"external": "router:external", "network_type": "provider:network_type"}):
    name: Name = ""
    admin_state_up: bool = True
    shared: bool = False
    mtu: int | str | None = None  # the client sends text
    # What every network here is; anything else is refused.
    external: Literal[False] = False
    network_type: Literal["local"] = "local"
    port_security_enabled: Literal[True] = True
    is_default: Literal[False] = False
    availability_zone_hints: list[Literal["nova"]] = []


class Pool(msgspec.Struct, forbid_unknown_fields=True):
    start: str
    end: str


class Route(msgspec.Struct, forbid_unknown_fields=True):
    destination: str
    nexthop: str


class Subnet(Owned, kw_only=True):
    network_id: str
    cidr: str
    ip_version: Literal[4, 6, "4", "6"] = 4
    name: Name = ""
    gateway_ip: str | msgspec.UnsetType | None = msgspec.UNSET
    enable_dhcp: bool = True
    dns_nameservers: list[str] = []
    host_routes: list[Route] = []
    allocation_pools: list[Pool] = []
    ipv6_address_mode: Literal["slaac", "dhcpv6-stateful", "dhcpv6-stateless"] | None = None
    ipv6_ra_mode: Literal["slaac", "dhcpv6-stateful", "dhcpv6-stateless"] | None = None


class FixedIp(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    subnet_id: str | None = None
    ip_address: str | None = None


class Port(Owned, kw_only=True):
    network_id: str
    name: Name = ""
    mac_address: Annotated[str, msgspec.Meta(pattern="^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$")] | None = None
    fixed_ips: list[FixedIp] = []
    device_id: Name = ""
    device_owner: Name = ""
    admin_state_up: bool = True
    security_groups: list[str] | None = None
    # What every port here is; anything else is refused.
    port_security_enabled: Literal[True] = True
    vnic_type: Literal["normal"] = msgspec.field(default="normal", name="binding:vnic_type")
    allowed_address_pairs: Annotated[list[Any], msgspec.Meta(max_length=0)] = []
    extra_dhcp_opts: Annotated[list[Any], msgspec.Meta(max_length=0)] = []


class FloatingIp(Owned, kw_only=True):
    floating_network_id: str
    floating_ip_address: str | None = None
    subnet_id: str | None = None
    port_id: str | None = None
    fixed_ip_address: str | None = None
    # What every floating IP here is; anything else is refused.
    dns_name: Literal[""] | None = None
    dns_domain: Literal[""] | None = None
    qos_policy_id: None = None


class SecurityGroup(Owned, kw_only=True):
    name: Name
    stateful: bool = True


class Rule(Owned, kw_only=True):
    security_group_id: str
    direction: Literal["ingress", "egress"]
    ethertype: Literal["IPv4", "IPv6"] = "IPv4"
    protocol: str | int | None = None
    port_range_min: PortNumber | None = None
    port_range_max: PortNumber | None = None
    remote_ip_prefix: str | None = None
    remote_group_id: str | None = None
    remote_address_group_id: None = None


class NetworkBody(msgspec.Struct, forbid_unknown_fields=True):
    network: Network


class SubnetBody(msgspec.Struct, forbid_unknown_fields=True):
    subnet: Subnet


class PortBody(msgspec.Struct, forbid_unknown_fields=True):
    port: Port


class SecurityGroupBody(msgspec.Struct, forbid_unknown_fields=True):
    security_group: SecurityGroup


class RuleBody(msgspec.Struct, forbid_unknown_fields=True):
    security_group_rule: Rule


class NetworkChange(msgspec.Struct, forbid_unknown_fields=True):
    name: Name | msgspec.UnsetType = msgspec.UNSET
    admin_state_up: bool | msgspec.UnsetType = msgspec.UNSET
    shared: bool | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET


class SubnetChange(msgspec.Struct, forbid_unknown_fields=True):
    name: Name | msgspec.UnsetType = msgspec.UNSET
    gateway_ip: str | msgspec.UnsetType | None = msgspec.UNSET
    enable_dhcp: bool | msgspec.UnsetType = msgspec.UNSET
    dns_nameservers: list[str] | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET


class PortChange(msgspec.Struct, forbid_unknown_fields=True):
    name: Name | msgspec.UnsetType = msgspec.UNSET
    admin_state_up: bool | msgspec.UnsetType = msgspec.UNSET
    device_id: Name | msgspec.UnsetType = msgspec.UNSET
    device_owner: Name | msgspec.UnsetType = msgspec.UNSET
    security_groups: list[str] | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET


class SecurityGroupChange(msgspec.Struct, forbid_unknown_fields=True):
    name: Name | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET


class FloatingIpBody(msgspec.Struct, forbid_unknown_fields=True):
    floatingip: FloatingIp


class FloatingIpChange(msgspec.Struct, forbid_unknown_fields=True):
    port_id: str | msgspec.UnsetType | None = msgspec.UNSET
    fixed_ip_address: str | None = None
    description: str | msgspec.UnsetType = msgspec.UNSET


class FloatingIpChangeBody(msgspec.Struct, forbid_unknown_fields=True):
    floatingip: FloatingIpChange
