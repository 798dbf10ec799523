"""The EC2 tree: one table of keys, with the version that brought each in Nova's and in Amazon's tree (5.3).

`files()` is what a version answers over HTTP, `meta_data()` the same as one object for a config drive.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from instance_metadata import ec2_interfaces
from instance_metadata.fields import Json
from instance_metadata.instance import Instance
from instance_metadata.versions import EC2_AWS, EC2_NOVA

Profile: TypeAlias = Literal["nova", "aws"]
# A leaf: text, a number, or a list that is written one item a line. None: not known, so left out (EC2-5).
Leaf: TypeAlias = "str | int | list[str] | None"

NEVER = "~"  # sorts after every version
_AWS_DIGITS, _NOVA_DIGITS = 17, 8
DEFAULT_BLOCK_DEVICES = {"ami": "sda1", "ephemeral0": "sda2", "root": "/dev/sda1", "swap": "sda3"}


@dataclass(frozen=True, slots=True)
class Key:
    """A leaf below `meta-data/`, or (`many`) a directory of them: since when in each profile, its value."""

    path: str
    nova: str
    aws: str
    value: Callable[[Instance, Profile], Leaf] | None = None
    many: Callable[[Instance, Profile], Mapping[str, Leaf]] | None = None


def versions(profile: Profile) -> tuple[str, ...]:
    return EC2_AWS if profile == "aws" else EC2_NOVA


def ec2_id(prefix: str, of: str, profile: Profile) -> str:
    """`i-` and the like: hex digits of the SHA-256 of what is named, 8 for Nova, 17 for Amazon (EC2-8)."""
    digits = _AWS_DIGITS if profile == "aws" else _NOVA_DIGITS
    return f"{prefix}-{hashlib.sha256(of.encode()).hexdigest()[:digits]}"


def _image(prefix: str, given: str | None, profile: Profile) -> str | None:
    if given is None or given.startswith(f"{prefix}-"):
        return given
    return ec2_id(prefix, given, profile)


def _hostname(instance: Instance, _: Profile) -> Leaf:
    return instance.full_hostname


def _first(addresses: tuple[str, ...]) -> str | None:
    return addresses[0] if addresses else None


def _public_keys(instance: Instance, _: Profile) -> dict[str, Leaf]:
    return {f"{i}/openssh-key": key.data.rstrip("\n") for i, key in enumerate(ssh_keys(instance))}


def ssh_keys(instance: Instance) -> list[_SshKey]:
    return [_SshKey(key.name, key.data) for key in instance.keys if key.type == "ssh"]


@dataclass(frozen=True, slots=True)
class _SshKey:
    name: str
    data: str


def _block_devices(instance: Instance, _: Profile) -> dict[str, Leaf]:
    given = dict(instance.block_devices)
    if "root" not in given:
        return {**DEFAULT_BLOCK_DEVICES, **given}
    given.setdefault("ami", given["root"].removeprefix("/dev/"))
    return dict(given)


def _tags(instance: Instance, _: Profile) -> dict[str, Leaf]:
    return dict(instance.tags) if instance.imds.tags else {}


def _macs(instance: Instance, _: Profile) -> dict[str, Leaf]:
    return ec2_interfaces.leaves(instance)


def _region(instance: Instance) -> str | None:
    """`eu-1a` lies in region `eu-1`; a zone without that form is its own region."""
    zone = instance.availability_zone
    return zone[:-1] if zone and zone[-1:].isalpha() and zone[-2:-1].isdigit() else zone


KEYS = (
    Key("ami-id", "1.0", "1.0", lambda i, p: i.ami_id or _image("ami", i.image_id, p)),
    Key("ami-launch-index", "1.0", "1.0", lambda i, _: i.launch_index),
    Key("ami-manifest-path", "1.0", "1.0", lambda _, __: "(unknown)"),
    Key("hostname", "1.0", "1.0", _hostname),
    Key("instance-id", "1.0", "1.0", lambda i, p: ec2_id("i", i.uuid, p)),
    Key("local-ipv4", "1.0", "1.0", lambda i, _: _first(i.addresses.fixed_ipv4)),
    Key("public-keys", "1.0", "1.0", many=_public_keys),
    Key("reservation-id", "1.0", "1.0", lambda i, p: i.reservation_id or ec2_id("r", i.uuid, p)),
    Key("security-groups", "1.0", "1.0", lambda i, _: list(i.security_groups) or None),
    Key("local-hostname", "2007-01-19", "2007-01-19", _hostname),
    Key("public-hostname", "2007-01-19", "2007-01-19", _hostname),
    Key("public-ipv4", "2007-01-19", "2007-01-19", lambda i, _: _first(i.addresses.floating)),
    Key("product-codes", NEVER, "2007-03-01"),
    Key("instance-type", "2007-08-29", "2007-08-29", lambda i, _: i.instance_type),
    Key("ancestor-ami-ids", NEVER, "2007-10-10"),
    Key("ramdisk-id", "2007-12-15", "2007-10-10", lambda i, p: _image("ari", i.ramdisk_id, p)),
    Key("block-device-mapping", "2007-12-15", "2007-12-15", many=_block_devices),
    Key("kernel-id", "2007-12-15", "2008-02-01", lambda i, p: _image("aki", i.kernel_id, p)),
    Key("placement/availability-zone", "2008-02-01", "2008-02-01", lambda i, _: i.availability_zone),
    Key("instance-action", "2008-09-01", "2008-09-01", lambda _, __: "none"),
    Key("mac", NEVER, "2011-01-01", lambda i, _: _first(i.macs)),
    Key("network/interfaces/macs", NEVER, "2011-01-01", many=_macs),
    Key("iam/info", NEVER, "2012-01-12"),
    Key("services/domain", NEVER, "2014-02-25", lambda _, __: "amazonaws.com"),
    Key("spot/termination-time", NEVER, "2014-11-05"),
    Key("services/partition", NEVER, "2015-10-20", lambda _, __: "aws"),
    Key("spot/instance-action", NEVER, "2016-11-15"),
    Key("events/maintenance/history", NEVER, "2018-08-17", lambda _, __: "[]"),
    Key("events/maintenance/scheduled", NEVER, "2018-08-17", lambda _, __: "[]"),
    Key("instance-life-cycle", NEVER, "2019-10-01", lambda _, __: "on-demand"),
    Key("placement/availability-zone-id", NEVER, "2019-10-01"),
    Key("placement/group-name", NEVER, "2020-08-24"),
    Key("placement/host-id", NEVER, "2020-08-24"),
    Key("placement/partition-number", NEVER, "2020-08-24"),
    Key("placement/region", NEVER, "2020-08-24", lambda i, _: _region(i)),
    Key("events/recommendations/rebalance", NEVER, "2020-10-27"),
    Key("ipv6", NEVER, "2021-01-03", lambda i, _: _first(i.addresses.fixed_ipv6)),
    Key("tags/instance", NEVER, "2021-03-23", many=_tags),
    Key("autoscaling/target-lifecycle-state", NEVER, "2021-07-15"),
)
_SINCE = {key.path: key.aws for key in KEYS} | {"iam/security-credentials": "2012-01-12"}


def leaves(instance: Instance, version: str, profile: Profile = "nova") -> dict[str, Leaf]:
    """Every leaf below `meta-data/` that this version knows and this instance has, path -> value."""
    found: dict[str, Leaf] = {}
    for key in KEYS:
        if version < (key.aws if profile == "aws" else key.nova):
            continue
        if key.value is not None and (value := key.value(instance, profile)) is not None:
            found[key.path] = value
        if key.many is not None:
            found |= {f"{key.path}/{name}": leaf for name, leaf in key.many(instance, profile).items()}
    for path, text in _given(instance, version):
        if not any(other.startswith(f"{path}/") or path.startswith(f"{other}/") for other in found):
            found[path] = text
    return found


def _given(instance: Instance, version: str) -> Iterator[tuple[str, str]]:
    """Values the document gives in `x_ec2`, for what only a test knows: spot notices, roles, events."""
    given = instance.extra.get("x_ec2")
    if not isinstance(given, dict):
        return
    for path, value in given.items():
        since = next(
            (date for name, date in _SINCE.items() if path == name or path.startswith(f"{name}/")), "1.0"
        )
        if version >= since and path.strip("/") == path and path:
            yield path, value if isinstance(value, str) else json.dumps(value)


SIGNATURES = ("pkcs7", "rsa2048", "signature")


def files(
    instance: Instance, version: str, profile: Profile = "nova", *, signed: bool = False
) -> dict[str, bytes]:
    """What a version answers: path below the version -> body, with a listing for each directory.

    `signed`: whether the identity document has signatures; their bodies are the document to be signed.
    A listing is sorted, a directory in it ends in `/`, and there is no last newline (EC2-1, EC2-2).
    """
    found = {f"meta-data/{path}": _text(leaf) for path, leaf in leaves(instance, version, profile).items()}
    if version >= "2009-04-04":
        found["dynamic/fws/instance-monitoring"] = "disabled"
        identity = identity_document(instance, profile)
        names = ("document", *SIGNATURES) if signed else ("document",)
        found |= {f"dynamic/instance-identity/{name}": identity for name in names}
    answers = {path: text.encode() for path, text in found.items()}
    answers |= {path: listing.encode() for path, listing in _listings(found).items()}
    keys = ssh_keys(instance)
    if keys:
        answers["meta-data/public-keys"] = "\n".join(f"{i}={key.name}" for i, key in enumerate(keys)).encode()
    answers[""] = _top_listing(instance, version, profile).encode()
    if instance.user_data is not None:
        answers["user-data"] = instance.user_data
    return answers


def _text(leaf: Leaf) -> str:
    return "\n".join(leaf) if isinstance(leaf, list) else str(leaf)


def _top_listing(instance: Instance, version: str, profile: Profile) -> str:
    """Nova: `meta-data/` with its slash; Amazon: without, and `dynamic` (EC2-7)."""
    user_data = [] if instance.user_data is None else ["user-data"]
    if profile == "nova":
        return "\n".join(["meta-data/", *user_data])
    dynamic = ["dynamic"] if version >= "2009-04-04" else []
    return "\n".join([*dynamic, "meta-data", *user_data])


def _listings(found: Mapping[str, str]) -> dict[str, str]:
    names: dict[str, set[str]] = {"meta-data": set()}
    for path in found:
        parts = path.split("/")
        for i in range(1, len(parts)):
            entry = parts[i] if i == len(parts) - 1 else f"{parts[i]}/"
            names.setdefault("/".join(parts[:i]), set()).add(entry)
    return {directory: "\n".join(sorted(entries)) for directory, entries in names.items()}


def meta_data(instance: Instance, version: str) -> dict[str, Json]:
    """The tree as one object, as config drives carry it: lists and numbers stay what they are (CD-2)."""
    document: dict[str, Json] = {}
    for path, leaf in leaves(instance, version).items():
        *directories, name = path.split("/")
        level = document
        for directory in directories:
            below = level.setdefault(directory, {})
            if not isinstance(below, dict):
                break
            level = below
        level[name] = list(leaf) if isinstance(leaf, list) else leaf
    return document


def identity_document(instance: Instance, profile: Profile) -> str:
    """`dynamic/instance-identity/document`; what is not known is null."""
    document: dict[str, Json] = {
        "accountId": account_id(instance),
        "architecture": "x86_64",
        "availabilityZone": instance.availability_zone,
        "billingProducts": None,
        "devpayProductCodes": None,
        "marketplaceProductCodes": None,
        "imageId": instance.ami_id or _image("ami", instance.image_id, profile),
        "instanceId": ec2_id("i", instance.uuid, profile),
        "instanceType": instance.instance_type,
        "kernelId": _image("aki", instance.kernel_id, profile),
        "ramdiskId": _image("ari", instance.ramdisk_id, profile),
        "pendingTime": None,
        "privateIp": _first(instance.addresses.fixed_ipv4),
        "region": _region(instance),
        "version": "2017-09-30",
    }
    return json.dumps(document, indent=2)


def account_id(instance: Instance) -> str:
    """Twelve decimal digits that stand for the project."""
    return f"{int(hashlib.sha256(instance.project_id.encode()).hexdigest(), 16) % 10**12:012d}"
