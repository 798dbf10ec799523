"""Runs under the clients' Python: openstacksdk makes and reads everything, and says which fields it missed.

Prints one JSON document: how many calls were made, and per resource class the fields that its answers lacked
or had in another type. Arguments: none; OS_CLOUD and clouds.yaml as for any client.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import openstack
from openstack import fields, resource

FOUND: dict[str, dict[str, str]] = {}
CALLS: list[str] = []
# What a value of the wire may be for a type that the SDK wants.
WIRE: dict[type, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (int, float),
    str: (str,),
    list: (list,),
    dict: (dict,),
}


def read_by(kind: type) -> dict[str, Any]:
    """Attribute -> component, for what a resource class reads from a body."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        for name, component in vars(base).items():
            if isinstance(component, fields.Body):
                found[name] = component
            elif name in found:
                del found[name]
    return found


def look(call: str, thing: Any) -> Any:
    """Note what the answer to a call lacks of what its class reads."""
    CALLS.append(call)
    things = list(thing) if isinstance(thing, Iterable) and not isinstance(thing, dict) else [thing]
    assert things, f"{call}: nothing came back"
    for each in things:
        if not isinstance(each, resource.Resource):
            continue
        body, components = each._body.attributes, read_by(type(each))
        for component in components.values():
            other = components.get(component.alias) if component.alias else None
            if component.name not in body:
                if other is None or other.name not in body:
                    note(each, component.name, "missing")
            elif (wanted := WIRE.get(component.data_type)) and body[component.name] is not None:
                value = body[component.name]
                if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
                    note(each, component.name, f"{type(value).__name__}, not {component.data_type.__name__}")
    return thing


def note(thing: Any, name: str, what: str) -> None:
    kind = f"{type(thing).__module__.split('.')[1]}.{type(thing).__name__}"
    FOUND.setdefault(kind, {})[name] = what


def main() -> None:
    cloud = openstack.connect()
    me, project = cloud.current_user_id, cloud.current_project_id
    identity, compute, image, network = cloud.identity, cloud.compute, cloud.image, cloud.network

    look("projects", identity.projects())
    look("get project", identity.get_project(project))
    look("users", identity.users())
    look("get user", identity.get_user(me))
    look("roles", identity.roles())
    look("domains", identity.domains())
    look("get domain", identity.get_domain("default"))
    look("services", identity.services())
    look("endpoints", identity.endpoints())
    credential = look("make credential", identity.create_application_credential(me, "sdk"))
    look("credentials", identity.application_credentials(me))
    look("get credential", identity.get_application_credential(me, credential.id))
    identity.delete_application_credential(me, credential.id)
    CALLS.append("delete credential")

    disk = image.create_image(
        "disk", data=b"\0" * 4096, disk_format="raw", container_format="bare", validate_checksum=True
    )
    look("make image", disk)
    look("images", image.images())
    look("get image", image.get_image(disk.id))
    look("find image", image.find_image("disk"))
    look("update image", image.update_image(disk.id, min_ram=64))
    image.add_tag(disk, "blue")
    image.remove_tag(disk, "blue")
    assert image.download_image(disk).content == b"\0" * 4096
    CALLS.extend(("add image tag", "remove image tag", "download image"))

    net = look("make network", network.create_network(name="sdk"))
    look("networks", network.networks())
    look("get network", network.get_network(net.id))
    look("find network", network.find_network("sdk"))
    subnet = look("make subnet", network.create_subnet(network_id=net.id, cidr="10.8.0.0/24", ip_version=4))
    look("subnets", network.subnets())
    look("update subnet", network.update_subnet(subnet.id, name="sdk-v4"))
    port = look("make port", network.create_port(network_id=net.id, name="sdk"))
    look("ports", network.ports())
    look("get port", network.get_port(port.id))
    group = look("make group", network.create_security_group(name="sdk"))
    rule = look(
        "make rule",
        network.create_security_group_rule(
            security_group_id=group.id,
            direction="ingress",
            protocol="tcp",
            port_range_min=1,
            port_range_max=2,
        ),
    )
    look("groups", network.security_groups())
    look("rules", network.security_group_rules())
    look("extensions", network.extensions())
    look("network quota", network.get_quota(project))
    network.delete_security_group_rule(rule)
    CALLS.append("delete rule")
    external = next(iter(network.networks(is_router_external=True)))
    CALLS.append("external networks")
    floating = look("make floating IP", network.create_ip(floating_network_id=external.id))
    look("floating IPs", network.ips())
    look("get floating IP", network.get_ip(floating.id))
    fixed = {"port_id": port.id, "fixed_ip_address": port.fixed_ips[0]["ip_address"]}
    assert look("update floating IP", network.update_ip(floating, **fixed)).status == "ACTIVE"
    assert network.find_available_ip() is None
    network.delete_ip(floating)
    CALLS.append("delete floating IP")

    look("flavors", compute.flavors(details=True))
    flavor = look("make flavor", compute.create_flavor(name="sdk", vcpus=1, ram=128, disk=0))
    look("get flavor", compute.get_flavor(flavor.id))
    look("find flavor", compute.find_flavor("sdk"))
    compute.create_flavor_extra_specs(flavor, {"a": "b"})
    assert compute.fetch_flavor_extra_specs(flavor).extra_specs == {"a": "b"}
    CALLS.extend(("make extra specs", "extra specs"))
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJq0tmXNeXv4qAxb7c2b4O5W1YsyUy4IVYQbWdJzk4Ev sdk"
    look("make keypair", compute.create_keypair(name="sdk", public_key=key))
    look("keypairs", compute.keypairs())
    look("get keypair", compute.get_keypair("sdk"))
    affinity = look("make server group", compute.create_server_group(name="sdk", policy="affinity"))
    look("server groups", compute.server_groups())
    server = cloud.create_server(
        "sdk-1",
        image=disk,
        flavor=flavor,
        network=net,
        key_name="sdk",
        security_groups=["default"],
        userdata="#cloud-config\n",
        config_drive=True,
        meta={"a": "b"},
        group=affinity.id,
        wait=True,
        timeout=60,
        auto_ip=False,
    )
    assert server.status == "ACTIVE", server
    assert server.private_v4.startswith("10.8.0."), server.private_v4
    look("create and wait", server)
    look("servers", compute.servers(details=True))
    look("get server", compute.get_server(server.id))
    look("find server", compute.find_server("sdk-1"))
    look("server actions", compute.server_actions(server))
    first = next(iter(compute.server_actions(server)))
    look("server action", compute.get_server_action(first.request_id, server))
    look("server interfaces", compute.server_interfaces(server))
    assert compute.get_server_console_output(server)["output"]
    assert cloud.get_server_console(server)
    compute.stop_server(server)
    compute.wait_for_server(server, status="SHUTOFF", wait=30)
    compute.start_server(server)
    compute.wait_for_server(server, status="ACTIVE", wait=30)
    compute.set_server_metadata(server, c="d")
    compute.add_tag_to_server(server, "blue")
    CALLS.extend(("console", "stop", "start", "set metadata", "add tag"))
    look("update server", compute.update_server(server, name="sdk-2"))
    snapshot = look("snapshot", compute.create_server_image(server, "snap", wait=True, timeout=60))
    image.delete_image(snapshot)
    CALLS.append("delete snapshot")
    look("hypervisors", compute.hypervisors(details=True))
    one = next(iter(compute.hypervisors()))
    look("get hypervisor", compute.get_hypervisor(one))
    look("zones", compute.availability_zones(details=True))
    look("compute services", compute.services())
    look("limits", compute.get_limits())
    look("quota", compute.get_quota_set(project))
    look("quota usage", compute.get_quota_set(project, usage=True))
    look("resource providers", cloud.placement.resource_providers())
    provider = next(iter(cloud.placement.resource_providers()))
    look("inventories", cloud.placement.resource_provider_inventories(provider))
    assert cloud.delete_server("sdk-2", wait=True, timeout=60)
    assert cloud.get_server("sdk-2") is None
    CALLS.append("delete and wait")
    compute.delete_server_group(affinity)
    compute.delete_flavor(flavor)
    json.dump({"calls": CALLS, "found": FOUND, "sdk": version("openstacksdk")}, sys.stdout)


if __name__ == "__main__":
    main()
