"""An instance out of little: a name and user data, the rest as a small cloud would fill it in."""

from __future__ import annotations

import hashlib
from uuid import UUID

from instance_metadata.instance import Instance, parse


def describe(name: str, uuid: UUID, user_data: bytes | None, keys: tuple[str, ...] = ()) -> Instance:
    """An instance with one network card that is given its address by DHCP.

    Raises InvalidInstance, for user data that is too large or a name that is none.
    """
    document: dict[str, object] = {
        "uuid": str(uuid),
        "name": name,
        "hostname": name,
        "project_id": "demo",
        "availability_zone": "nova",
        "instance_type": "m1.tiny",
        "keys": [{"name": f"key-{i}", "type": "ssh", "data": key} for i, key in enumerate(keys)],
        "network": _one_card(_mac(uuid)),
    }
    if user_data is not None:
        document["user_data"] = user_data
    return parse(document, name)


def _mac(uuid: UUID) -> str:
    """An address of the range that is QEMU's, the same for the same instance."""
    tail = hashlib.sha256(uuid.bytes).digest()[:3]
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in tail)


def _one_card(mac: str) -> dict[str, object]:
    link = {"id": "tap0", "type": "phy", "ethernet_mac_address": mac, "mtu": 1500}
    network = {"id": "network0", "link": "tap0", "type": "ipv4_dhcp"}
    return {"links": [link], "networks": [network], "services": []}
