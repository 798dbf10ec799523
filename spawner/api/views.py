"""A server as the compute API shows it, by microversion. Source: Compute API reference, openstack-api.md."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from spawner.api.cloud import Cloud
from spawner.api.microversion import Version
from spawner.api.requests import iso, link
from spawner.states import VmState
from spawner.store.servers import Flavor, Server


def flavor_inside(flavor: Flavor, cloud: Cloud, version: Version) -> dict[str, Any]:
    """The flavor in a server: a link before 2.47, embedded from then on."""
    if version < (2, 47):
        return {"id": flavor.id, "links": [link(f"{cloud.url}/compute/flavors/{flavor.id}", "bookmark")]}
    return {
        "original_name": flavor.name,
        "vcpus": flavor.vcpus,
        "ram": flavor.ram_mib,
        "disk": flavor.disk_gib,
        "ephemeral": flavor.ephemeral_gib,
        "swap": flavor.swap_mib,
        "extra_specs": dict(flavor.extra_specs),
    }


def links(server: Server, cloud: Cloud) -> list[dict[str, str]]:
    """Where a server is found."""
    return [
        link(f"{cloud.url}/compute/v2.1/servers/{server.id}"),
        link(f"{cloud.url}/compute/servers/{server.id}", "bookmark"),
    ]


def addresses(
    ports: Sequence[Any],
    network_names: Mapping[str, str],
    floating: Mapping[tuple[str, str], str] = MappingProxyType({}),
) -> dict[str, list[dict[str, Any]]]:
    """Network name -> the addresses of a server in it, each followed by the floating IP in front of it."""
    found: dict[str, list[dict[str, Any]]] = {}
    for port in ports:
        for fixed in port.fixed_ips:
            shown = found.setdefault(network_names.get(port.network_id, port.network_id), [])
            shown.append(_address(fixed["ip_address"], "fixed", port.mac_address))
            if (port.id, fixed["ip_address"]) in floating:
                address = floating[port.id, fixed["ip_address"]]
                shown.append(_address(address, "floating", port.mac_address))
    return found


def _address(address: str, kind: str, mac: str) -> dict[str, Any]:
    return {
        "version": 6 if ":" in address else 4,
        "addr": address,
        "OS-EXT-IPS:type": kind,
        "OS-EXT-IPS-MAC:mac_addr": mac,
    }


def detail(
    server: Server,
    cloud: Cloud,
    version: Version,
    *,
    ports: Sequence[Any] = (),
    network_names: Mapping[str, str] | None = None,
    floating: Mapping[tuple[str, str], str] = MappingProxyType({}),
    description: str | None = None,
    volumes: Sequence[Any] = (),
    is_admin: bool = False,
) -> dict[str, Any]:
    """A server in full."""
    document: dict[str, Any] = {
        "id": server.id,
        "name": server.name,
        "status": server.status,
        "tenant_id": server.project_id,
        "user_id": server.user_id,
        "metadata": dict(server.metadata),
        "hostId": _host_id(server),
        "image": {
            "id": server.image_id,
            "links": [link(f"{cloud.url}/compute/images/{server.image_id}", "bookmark")],
        }
        if server.image_id
        else "",
        "flavor": flavor_inside(server.flavor, cloud, version),
        "created": iso(server.created_at),
        "updated": iso(server.updated_at or server.created_at),
        "addresses": addresses(ports, network_names or {}, floating),
        "accessIPv4": "",
        "accessIPv6": "",
        "links": links(server, cloud),
        "OS-DCF:diskConfig": "MANUAL",
        "OS-EXT-AZ:availability_zone": server.availability_zone,
        "config_drive": "True" if server.config_drive else "",
        "key_name": server.key_name,
        "OS-SRV-USG:launched_at": iso(server.launched_at, micro=True),
        "OS-SRV-USG:terminated_at": iso(server.terminated_at, micro=True),
        "OS-EXT-STS:task_state": server.task_state.value if server.task_state else None,
        "OS-EXT-STS:vm_state": server.vm_state.value,
        "OS-EXT-STS:power_state": int(server.power_state),
        "os-extended-volumes:volumes_attached": [_volume(row, version) for row in volumes],
        "security_groups": [{"name": name} for name in server.security_groups],
    }
    if server.status in {"ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE"}:
        document["progress"] = 0 if server.vm_state is VmState.BUILDING else 100
    if server.fault and server.vm_state is VmState.ERROR:
        document["fault"] = _fault(server.fault, is_admin)
    if is_admin:
        document["OS-EXT-SRV-ATTR:host"] = server.host
        document["OS-EXT-SRV-ATTR:hypervisor_hostname"] = server.host
        document["OS-EXT-SRV-ATTR:instance_name"] = f"instance-{server.id[:8]}"
    if version >= (2, 19):
        document["description"] = description
    _add_newer(document, server, version, is_admin)
    return document


def _add_newer(document: dict[str, Any], server: Server, version: Version, is_admin: bool) -> None:
    """What later microversions added."""
    if version >= (2, 3) and is_admin:
        document.update(
            {
                "OS-EXT-SRV-ATTR:reservation_id": f"r-{server.id[:8]}",
                "OS-EXT-SRV-ATTR:launch_index": 0,
                "OS-EXT-SRV-ATTR:kernel_id": "",
                "OS-EXT-SRV-ATTR:ramdisk_id": "",
                "OS-EXT-SRV-ATTR:root_device_name": "/dev/vda",
                "OS-EXT-SRV-ATTR:user_data": _text(server.user_data),
            }
        )
    if version >= (2, 3) and (is_admin or version >= (2, 90)):
        document["OS-EXT-SRV-ATTR:hostname"] = server.hostname
    if version >= (2, 9):
        document["locked"] = server.locked
    if version >= (2, 16) and is_admin:
        document["host_status"] = "UP" if server.host else ""
    if version >= (2, 26):
        document["tags"] = list(server.tags)
    if version >= (2, 63):
        document["trusted_image_certificates"] = None
    if version >= (2, 71):
        document["server_groups"] = [server.group_id] if server.group_id else []
    if version >= (2, 73):
        document["locked_reason"] = server.locked_reason
    if version >= (2, 96):
        document["pinned_availability_zone"] = server.hints.get("availability_zone") or None


def _volume(row: Any, version: Version) -> dict[str, Any]:
    if version < (2, 3):
        return {"id": row.volume_id}
    return {"id": row.volume_id, "delete_on_termination": row.delete_on_termination}


def _text(user_data: bytes | None) -> str | None:
    return None if user_data is None else base64.b64encode(user_data).decode()


def _host_id(server: Server) -> str:
    """The host, hidden from the project behind a hash that is stable for it."""
    if not server.host:
        return ""
    return hashlib.sha224(f"{server.project_id}{server.host}".encode()).hexdigest()


def _fault(fault: Mapping[str, Any], is_admin: bool) -> dict[str, Any]:
    shown = {"code": fault["code"], "message": fault["message"], "created": iso(fault["created"])}
    if fault.get("details") and (is_admin or fault["code"] != 500):
        shown["details"] = fault["details"]
    return shown
