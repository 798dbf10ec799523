"""Neutron's documents: rows of the store as clients are shown them, with fields that are alike for all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import networks
from spawner.api.requests import iso
from spawner.store.tables import SECURITY_GROUP_RULES, SUBNETS


async def document(connection: AsyncConnection, path: str, row: Any) -> dict[str, Any]:
    """A network, subnet, port, security group or rule, named by the last part of its list's path."""
    shown = dict(row._mapping)  # the public name of a row's own columns
    shown["tenant_id"] = row.project_id
    shown["created_at"], shown["updated_at"] = (
        iso(row.created_at),
        iso(row.updated_at or row.created_at),
    )
    shown.setdefault("tags", [])
    shown["revision_number"] = 1
    return {**shown, **await _MORE[path](connection, row)}


async def _network(connection: AsyncConnection, row: Any) -> dict[str, Any]:
    query = select(SUBNETS.c.id).where(SUBNETS.c.network_id == row.id)
    return {
        "subnets": list((await connection.execute(query)).scalars()),
        "status": "ACTIVE",
        "router:external": networks.is_external(row),
        "port_security_enabled": True,
        "availability_zones": ["nova"],
        "availability_zone_hints": [],
        "provider:network_type": "local",
        "provider:physical_network": None,
        "provider:segmentation_id": None,
        "ipv4_address_scope": None,
        "ipv6_address_scope": None,
        "is_default": False,
        "qos_policy_id": None,
        "vlan_transparent": None,
        "dns_domain": "",
    }


async def _subnet(_connection: AsyncConnection, _row: Any) -> dict[str, Any]:
    return {
        "subnetpool_id": None,
        "service_types": [],
        "segment_id": None,
        "dns_publish_fixed_ip": False,
    }


async def _port(_connection: AsyncConnection, row: Any) -> dict[str, Any]:
    return {
        "binding:vnic_type": "normal",
        "allowed_address_pairs": [],
        "extra_dhcp_opts": [],
        "port_security_enabled": True,
        "dns_assignment": [],
        "dns_name": "",
        "dns_domain": "",
        "binding:host_id": "",
        "binding:profile": {},
        "binding:vif_type": "other" if row.device_id else "unbound",
        # Neutron's word for whether the rules of security groups are held: no backend does.
        "binding:vif_details": {"port_filter": False},
        "ip_allocation": "immediate" if row.fixed_ips else "none",
        "propagate_uplink_status": False,
        "qos_policy_id": None,
        "qos_network_policy_id": None,
        "resource_request": None,
        "device_profile": None,
        "data_plane_status": None,
        "numa_affinity_policy": None,
        "hardware_offload_type": None,
    }


async def _security_group(connection: AsyncConnection, row: Any) -> dict[str, Any]:
    query = select(SECURITY_GROUP_RULES).where(SECURITY_GROUP_RULES.c.security_group_id == row.id)
    rules = (await connection.execute(query)).all()
    views = [await document(connection, "security-group-rules", rule) for rule in rules]
    return {"security_group_rules": views, "stateful": True, "shared": False}


async def _rule(_connection: AsyncConnection, _row: Any) -> dict[str, Any]:
    return {"remote_address_group_id": None}


# Path -> what a document has beyond the row's own columns.
_MORE: dict[str, Callable[[AsyncConnection, Any], Awaitable[dict[str, Any]]]] = {
    "networks": _network,
    "subnets": _subnet,
    "ports": _port,
    "security-groups": _security_group,
    "security-group-rules": _rule,
}
