"""Runs under an environment with pycloudlib: its `Openstack` class, unmodified, from sign-in to clean-up.

The `__init__` of its package imports the SDKs of all clouds; it alone is passed over. What pycloudlib does
over SSH (`wait`, `execute`, `clean`) is left out: no way leads to a floating IP here. Prints a JSON document.

Arguments: a public key file, the id of an image. OS_CLOUD and clouds.yaml as for any client.
"""

from __future__ import annotations

import importlib.machinery
import json
import sys
import types

finder = importlib.machinery.PathFinder()
found = finder.find_spec("pycloudlib")
assert found is not None
assert found.submodule_search_locations is not None
package = types.ModuleType("pycloudlib")
package.__path__ = list(found.submodule_search_locations)
sys.modules["pycloudlib"] = package

from pycloudlib.openstack.cloud import Openstack  # noqa: E402  # after the package stands


def addresses(cloud: Openstack, server_id: str) -> dict[str, str]:
    """Kind (fixed, floating) -> address of a server, as Nova shows them."""
    shown = cloud.conn.compute.get_server(server_id).addresses
    return {each["OS-EXT-IPS:type"]: each["addr"] for network in shown.values() for each in network}


def main(public_key: str, image_id: str) -> None:
    told: dict[str, object] = {}
    with Openstack(tag="walk", network="private") as cloud:
        cloud.use_key(public_key, name="walk")
        instance = cloud.launch(image_id, instance_type="m1.nano", user_data="#cloud-config\n{}\n")
        instance._wait_for_instance_start()
        told |= {"name": instance.name, "ip": instance.ip, "addresses": addresses(cloud, instance.id)}
        told["floating"] = [ip.status for ip in cloud.conn.network.ips()]
        told["console"] = bool(instance.console_log())

        again = cloud.get_instance(instance.id)
        told["again"] = {"ip": again.ip, "is its own to delete": again.delete_floating_ip}

        added = instance.add_network_interface()
        told["added"] = added in str(cloud.conn.compute.get_server(instance.id).addresses)
        instance.remove_network_interface(added)
        told["removed"] = added not in str(cloud.conn.compute.get_server(instance.id).addresses)

        instance.shutdown()
        told["stopped"] = cloud.conn.compute.get_server(instance.id).status
        instance.start(wait=False)
        instance._wait_for_instance_start()
        told["started"] = cloud.conn.compute.get_server(instance.id).status
        told["snapshot"] = cloud.conn.image.get_image(cloud.snapshot(instance, clean=False)).status

        second = cloud.launch(image_id, instance_type="m1.nano")
        told["second"] = second.ip
        second._wait_for_instance_start()
        told["failed to delete"] = [str(error) for error in second.delete()]
        cloud.created_instances.remove(second)
    told["left"] = {
        "servers": [each.id for each in cloud.conn.compute.servers()],
        "floating IPs": [each.id for each in cloud.conn.network.ips()],
        "images": [each.id for each in cloud.conn.image.images() if each.id != image_id],
    }
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
