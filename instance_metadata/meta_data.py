"""`meta_data.json`: which key exists since which version, and what it holds (metadata-service.md 4.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from instance_metadata.fields import Json
from instance_metadata.instance import Instance
from instance_metadata.values import Device
from instance_metadata.versions import (
    EPOXY,
    FOLSOM,
    GRIZZLY,
    LATEST,
    LIBERTY,
    NEWTON_1,
    OCATA,
    ROCKY,
    VICTORIA,
)


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its first version, whether it may be null (all others are left out then, OS-6), its value."""

    name: str
    since: str
    value: Callable[[Instance, str], Json]
    nullable: bool = False


def content_path(index: int) -> str:
    """Where the file of this number is served, below the tree's root (4.8)."""
    return f"/content/{index:04d}"


def _keys(instance: Instance, _: str) -> Json:
    return [{"name": key.name, "type": key.type, "data": key.data} for key in instance.keys] or None


def _public_keys(instance: Instance, _: str) -> Json:
    return {key.name: key.data for key in instance.keys} or None


def _files(instance: Instance, _: str) -> Json:
    return [
        {"path": file.path, "content_path": content_path(i)} for i, file in enumerate(instance.files)
    ] or None


def _devices(instance: Instance, version: str) -> Json:
    return [
        shown for device in instance.devices if (shown := DEVICES[device.type](device, version)) is not None
    ]


def _base(device: Device) -> dict[str, Json]:
    return {"type": device.type, "bus": device.bus, "address": device.address}


def _nic(device: Device, version: str) -> dict[str, Json] | None:
    with_vlan = device.vlan is not None and version >= OCATA
    if not device.tags and not with_vlan and version < ROCKY:
        return None
    shown = _base(device)
    if device.mac is not None:
        shown["mac"] = device.mac
    if with_vlan:
        shown["vlan"] = device.vlan
    if version >= ROCKY:
        shown["vf_trusted"] = device.vf_trusted
    if device.tags:
        shown["tags"] = list(device.tags)
    return shown


def _disk(device: Device, _: str) -> dict[str, Json]:
    shown = _base(device)
    for name, value in (("serial", device.serial), ("path", device.path)):
        if value is not None:
            shown[name] = value
    if device.tags:
        shown["tags"] = list(device.tags)
    return shown


def _share(device: Device, version: str) -> dict[str, Json] | None:
    if version < EPOXY:
        return None
    return {
        "type": "share",
        "bus": "none",
        "address": "none",
        "share_id": device.share_id,
        "tag": device.tag,
    }


DEVICES: dict[str, Callable[[Device, str], dict[str, Json] | None]] = {
    "nic": _nic,
    "disk": _disk,
    "share": _share,
}


def _x_spawner(instance: Instance, _: str) -> Json:
    """What the OpenStack tree lacks and users ask for: addresses, flavor, image, tags, groups, `x_...`."""
    facts: dict[str, Json] = {
        "instance_type": instance.instance_type,
        "image_id": instance.image_id,
        "addresses": {
            "fixed_ipv4": list(instance.addresses.fixed_ipv4),
            "fixed_ipv6": list(instance.addresses.fixed_ipv6),
            "floating": list(instance.addresses.floating),
        },
        "tags": dict(instance.tags),
        "security_groups": list(instance.security_groups),
        **{name: value for name, value in instance.extra.items() if name != "x_ec2"},
    }
    return {name: value for name, value in facts.items() if value not in (None, [], {})}


KEYS = (
    Key("uuid", FOLSOM, lambda instance, _: instance.uuid),
    Key("name", FOLSOM, lambda instance, _: instance.name),
    Key("hostname", FOLSOM, lambda instance, _: instance.full_hostname),
    Key("launch_index", FOLSOM, lambda instance, _: instance.launch_index),
    Key("availability_zone", FOLSOM, lambda instance, _: instance.availability_zone, nullable=True),
    Key("meta", FOLSOM, lambda instance, _: dict(instance.meta) or None),
    Key("public_keys", FOLSOM, _public_keys),
    Key("keys", FOLSOM, _keys),
    Key("files", FOLSOM, _files),
    Key("project_id", LIBERTY, lambda instance, _: instance.project_id),
    Key("devices", NEWTON_1, _devices),
    Key("dedicated_cpus", VICTORIA, lambda instance, _: list(instance.dedicated_cpus)),
    Key("x_spawner", LATEST, _x_spawner),
)


def meta_data(instance: Instance, version: str, random_seed: str) -> dict[str, Json]:
    """The document of one version. `random_seed` is base64 of 512 random bytes. Never holds `admin_pass`."""
    document: dict[str, Json] = {}
    for key in KEYS:
        if version >= key.since:
            value = key.value(instance, version)
            if value is not None or key.nullable:
                document[key.name] = value
    if version >= GRIZZLY:
        document["random_seed"] = random_seed
    return document
