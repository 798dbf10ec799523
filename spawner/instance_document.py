"""The instance document of a server: what its metadata says, from what the store knows."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from instance_metadata.instance import Instance, parse
from instance_metadata.values import Addresses
from spawner.devices import Devices, metadata_entries
from spawner.store.servers import Server


def instance_of(
    server: Server,
    network_data: Mapping[str, Any],
    plugged: Devices = Devices(),  # noqa: B008 - a frozen value
    addresses: Addresses = Addresses(),  # noqa: B008 - a frozen value
    machine: str = "pc",
) -> Instance:
    """The instance whose documents the server's guest is given. Raises InvalidInstance.

    `addresses` are those of its ports. The EC2 tree names them however the guest takes them, as Nova's does;
    `network_data.json` has none of those that it takes by DHCP.
    """
    document: dict[str, Any] = {
        "uuid": server.id,
        "name": server.name,
        "hostname": server.hostname,
        "project_id": server.project_id,
        "availability_zone": server.availability_zone or "nova",
        "instance_type": server.flavor.name,
        "image_id": server.image_id,
        "meta": dict(server.metadata),
        "security_groups": list(server.security_groups),
        # Plain values in, as they come from JSON: the parser of documents checks them like any other's.
        "network": json.loads(json.dumps(network_data)),
        "files": [
            {"path": each["path"], "content": base64.b64decode(each["contents"])} for each in server.files
        ],
    }
    if server.public_key and server.key_name:
        document["keys"] = [{"name": server.key_name, "type": "ssh", "data": server.public_key}]
    if server.user_data is not None:
        document["user_data"] = server.user_data
    document["devices"] = metadata_entries(plugged, machine)
    if not network_data["links"]:
        del document["network"]
    instance = parse(
        {name: value for name, value in document.items() if value is not None}, f"server {server.id}"
    )
    return replace(instance, addresses=addresses)
