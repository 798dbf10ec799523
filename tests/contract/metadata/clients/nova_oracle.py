"""Real Nova's metadata handler over one instance in memory: every path it answers, as JSON on stdout.

Run by the Python of Nova's environment: `nova_oracle.py DIRECTORY < PATHS`. Unchanged Nova code answers; only
what would ask a database or Neutron gives the constants below.
"""
# mypy: ignore-errors

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sys
import uuid as uuids

import webob
from nova import config, context, objects
from nova.api.metadata import base, handler
from nova.network import model, security_group_api

UUID = "8f0a3c1e-5d27-4b43-9c55-2f6f2f5d9b10"
PROJECT = "b7c2a4f3d2f04b0f9c1ce4a6c0f5d001"
SECRET = "a shared secret of some length"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIfixture user@example"


def network_info() -> model.NetworkInfo:
    fixed = model.FixedIP(address="10.20.30.40", version=4)
    fixed.add_floating_ip(model.IP(address="203.0.113.17", type="floating"))
    subnet4 = model.Subnet(
        cidr="10.20.30.0/24",
        gateway=model.IP("10.20.30.1", "gateway", version=4),
        dns=[model.IP("10.20.30.2", "dns", version=4)],
        ips=[fixed],
        routes=[],
        version=4,
    )
    subnet6 = model.Subnet(
        cidr="2001:db8:1::/64",
        gateway=model.IP("2001:db8:1::1", "gateway", version=6),
        dns=[],
        ips=[model.FixedIP(address="2001:db8:1::40", version=6)],
        routes=[],
        version=6,
    )
    network = model.Network(
        id="e1c6c1c0-7b6b-4b6e-8e2e-0d9c6a4c6f01",
        bridge="br-int",
        label="private",
        subnets=[subnet4, subnet6],
        mtu=1450,
        injected=False,
    )
    card = model.VIF(
        id="5f3d5a4e-21b3-4bb1-a8f2-6a3d1f0c9e11",
        address="fa:16:3e:12:34:56",
        network=network,
        type="ovs",
        devname="tap5f3d5a4e-21",
        active=True,
    )
    return model.NetworkInfo([card])


def instance() -> objects.Instance:
    flavor = objects.Flavor(
        name="m1.small", memory_mb=2048, vcpus=1, root_gb=20, ephemeral_gb=0, extra_specs={}
    )
    pair = objects.KeyPair(name="mykey", type="ssh", public_key=KEY)
    devices = objects.InstanceDeviceMetadata(
        devices=[
            objects.NetworkInterfaceMetadata(
                mac="fa:16:3e:12:34:56",
                tags=["mgmt"],
                vlan=100,
                bus=objects.PCIDeviceBus(address="0000:00:03.0"),
            ),
            objects.DiskMetadata(
                serial="disk-1",
                path="/dev/vdb",
                tags=["data"],
                bus=objects.PCIDeviceBus(address="0000:00:05.0"),
            ),
        ]
    )
    return objects.Instance(
        context.get_admin_context(),
        uuid=UUID,
        project_id=PROJECT,
        user_id="u1",
        display_name="web-01",
        hostname="web-01",
        launch_index=0,
        reservation_id="r-abc123xy",
        image_ref="0b2f3c54-1f0e-4d0a-9f39-8a1b6c1f7a55",
        kernel_id="",
        ramdisk_id="",
        key_name="mykey",
        key_data=KEY,
        availability_zone="nova",
        host="compute-1",
        user_data=base64.b64encode(b"#cloud-config\npackages: []\n").decode(),
        root_device_name="/dev/vda",
        default_ephemeral_device=None,
        default_swap_device=None,
        metadata={"role": "web", "owner": "team-a"},
        system_metadata={},
        flavor=flavor,
        keypairs=objects.KeyPairList(objects=[pair]),
        device_metadata=devices,
        numa_topology=None,
        ec2_ids=objects.EC2Ids(
            instance_id="i-00000001", ami_id="ami-00000001", kernel_id=None, ramdisk_id=None
        ),
        info_cache=objects.InstanceInfoCache(instance_uuid=UUID, network_info=network_info()),
    )


class Handler(handler.MetadataRequestHandler):
    """Nova's handler with the one instance in place of its database."""

    def get_metadata_by_instance_id(self, instance_id, address):
        if instance_id != UUID:
            raise handler.exception.InstanceNotFound(instance_id=instance_id)
        return base.InstanceMetadata(instance(), address)


def answers(paths: list[str]) -> dict[str, dict[str, object]]:
    signature = hmac.new(SECRET.encode(), UUID.encode(), hashlib.sha256).hexdigest()
    headers = {
        "X-Instance-ID": UUID,
        "X-Tenant-ID": PROJECT,
        "X-Forwarded-For": "10.20.30.40",
        "X-Instance-ID-Signature": signature,
    }
    application = Handler()
    found: dict[str, dict[str, object]] = {}
    for path in paths:
        try:
            answer = webob.Request.blank(path, headers=headers).get_response(application)
        except Exception as error:  # noqa: BLE001  # what escapes Nova's handler is a 500 for the guest
            found[path] = {"status": 500, "type": type(error).__name__, "body": ""}
            continue
        body = base64.b64encode(answer.body).decode()
        found[path] = {
            "status": answer.status_int,
            "type": answer.headers.get("Content-Type", ""),
            "body": body,
        }
    return found


def main(directory: str) -> None:
    config.parse_args(["oracle", "--config-dir", directory], default_config_files=[])
    conf = handler.CONF
    conf.set_override("service_metadata_proxy", True, "neutron")
    conf.set_override("metadata_proxy_shared_secret", SECRET, "neutron")
    conf.set_override("metadata_cache_expiration", 0, "api")
    objects.register_all()
    groups = [{"name": "default"}, {"name": "web"}]
    security_group_api.get_instance_security_groups = lambda *_, **__: groups
    base.security_group_api.get_instance_security_groups = lambda *_, **__: groups
    empty = objects.BlockDeviceMappingList(objects=[])
    objects.BlockDeviceMappingList.get_by_instance_uuid = classmethod(lambda *_, **__: empty)
    assert uuids.UUID(UUID)
    print(json.dumps(answers(json.load(sys.stdin))))


if __name__ == "__main__":
    main(sys.argv[1])
