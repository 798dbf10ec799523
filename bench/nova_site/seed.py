"""Puts one instance into Nova's databases through Nova's objects: `seed.py NOVA_CONF < DOCUMENT`.

DOCUMENT is the JSON instance document that our server is given, so that both serve the same instance.
Run by the Python of Nova's environment.
"""
# mypy: ignore-errors

import base64
import ipaddress
import json
import sys

from nova import config, context, objects
from nova.network import model

config.parse_args(["seed"], default_config_files=[sys.argv[1]])
objects.register_all()


def network_info(network):
    """The card of the document as Neutron would have described it."""
    link = network["links"][0]
    subnets = []
    for each in network["networks"]:
        address = ipaddress.ip_interface(each["ip_address"])
        version = address.version
        gateway = model.IP(each["gateway"], "gateway", version=version) if "gateway" in each else None
        subnets.append(
            model.Subnet(
                cidr=str(address.network),
                gateway=gateway,
                dns=[],
                ips=[model.FixedIP(address=str(address.ip), version=version)],
                routes=[],
                version=version,
                **({"ipv6_address_mode": "slaac"} if each["type"] == "ipv6_slaac" else {}),
            )
        )
    whole = model.Network(
        id="e1c6c1c0-7b6b-4b6e-8e2e-0d9c6a4c6f01",
        bridge="br-int",
        label="private",
        subnets=subnets,
        mtu=link["mtu"],
        injected=False,
    )
    card = model.VIF(
        id="5f3d5a4e-21b3-4bb1-a8f2-6a3d1f0c9e11",
        address=link["ethernet_mac_address"],
        network=whole,
        type=link["type"],
        devname=link["id"],
        active=True,
    )
    return model.NetworkInfo([card])


def create(document):
    admin = context.get_admin_context()
    cell = next(each for each in objects.CellMappingList.get_all(admin) if not each.is_cell0())
    uuid, project, key = document["uuid"], document["project_id"], document["keys"][0]
    network = network_info(document["network"])
    flavor = objects.Flavor(
        name="m1.small", flavorid="2", memory_mb=2048, vcpus=1, root_gb=20, ephemeral_gb=0, swap=0,
        rxtx_factor=1.0, vcpu_weight=0, disabled=False, is_public=True, extra_specs={}, description=None,
    )  # fmt: skip
    pairs = [
        objects.KeyPair(name=key["name"], type="ssh", public_key=key["data"], fingerprint="", user_id="u1")
    ]
    with context.target_cell(admin, cell) as inside:
        instance = objects.Instance(
            inside, uuid=uuid, project_id=project, user_id="u1", display_name=document["name"],
            hostname=document["hostname"], host="compute-1", node="compute-1", compute_id=1, launch_index=0,
            reservation_id="r-abc123xy", image_ref="0b2f3c54-1f0e-4d0a-9f39-8a1b6c1f7a55",
            key_name=key["name"], key_data=key["data"],
            availability_zone=document["availability_zone"], vm_state="active",
            memory_mb=2048, vcpus=1, root_gb=20, ephemeral_gb=0, root_device_name="/dev/vda",
            user_data=base64.b64encode(document["user_data"].encode()).decode(), metadata=document["meta"],
            system_metadata={}, flavor=flavor, old_flavor=None, new_flavor=None,
            keypairs=objects.KeyPairList(objects=pairs), device_metadata=None,
            info_cache=objects.InstanceInfoCache(instance_uuid=uuid, network_info=network),
        )  # fmt: skip
        instance.create()
        cache = objects.InstanceInfoCache.get_by_instance_uuid(inside, uuid)
        cache.network_info = network
        cache.save()
        objects.BlockDeviceMapping(
            inside, instance_uuid=uuid, device_name="/dev/vda", source_type="image", destination_type="local",
            boot_index=0, device_type="disk", delete_on_termination=True, disk_bus="virtio",
        ).create()  # fmt: skip
    objects.InstanceMapping(
        admin,
        instance_uuid=uuid,
        cell_mapping=cell,
        project_id=project,
        user_id="u1",
        queued_for_delete=False,
    ).create()


create(json.load(sys.stdin))
