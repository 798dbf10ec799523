"""One table of the documents below `openstack/VERSION/`: listing, lookup and config drive all read it.

`tree()` renders an instance for a config drive; the server renders the same documents one by one.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date

from instance_metadata import ec2
from instance_metadata.fields import Json
from instance_metadata.instance import Instance
from instance_metadata.meta_data import content_path, meta_data
from instance_metadata.network_data import network_data
from instance_metadata.versions import (
    FOLSOM,
    GRIZZLY,
    HAVANA,
    LATEST,
    LIBERTY,
    NEWTON_2,
    OPENSTACK,
    ROCKY,
    listed,
)

JSON = "application/json"
TEXT = "text/plain; charset=UTF-8"
BINARY = "application/octet-stream"
MINIMAL_VERSIONS = (FOLSOM, ROCKY, LATEST)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a document needs besides the instance: the seed, and replies of dynamic vendor data by target."""

    random_seed: str = ""
    vendor_data: Json = None
    vendor_data2: Mapping[str, Json] = field(default_factory=dict)
    lift_cloud_init: bool = False


def _always(_: Instance) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Document:
    """A file: first version, renderer (None: not part of a drive), whether this instance has it."""

    name: str
    since: str
    render: Callable[[Instance, str, Inputs], bytes] | None
    present: Callable[[Instance], bool] = _always


def as_bytes(value: Json) -> bytes:
    """UTF-8 JSON, ASCII-escaped, keys in the order they were put in (OS-8)."""
    return json.dumps(value, allow_nan=False).encode("ascii")


def _meta_data(instance: Instance, version: str, inputs: Inputs) -> bytes:
    return as_bytes(meta_data(instance, version, inputs.random_seed))


def _user_data(instance: Instance, _: str, __: Inputs) -> bytes:
    return instance.user_data or b""


def static_vendor_data(instance: Instance, inputs: Inputs) -> Json:
    """The instance's own vendor data, else the one for all instances, else `{}`."""
    for found in (instance.vendor_data, inputs.vendor_data):
        if found is not None:
            return found
    return {}


def _vendor_data(instance: Instance, _: str, inputs: Inputs) -> bytes:
    return as_bytes(static_vendor_data(instance, inputs))


def _vendor_data2(instance: Instance, _: str, inputs: Inputs) -> bytes:
    replies: dict[str, Json] = {"static": static_vendor_data(instance, inputs)}
    replies |= {**instance.vendor_data2, **inputs.vendor_data2}
    if inputs.lift_cloud_init and "cloud-init" not in replies:
        for reply in tuple(replies.values()):
            if isinstance(reply, dict) and "cloud-init" in reply:
                replies["cloud-init"] = reply["cloud-init"]
    return as_bytes(replies)


def _network_data(instance: Instance, _: str, __: Inputs) -> bytes:
    return as_bytes(network_data(instance.network)) if instance.network is not None else b""


# In the order of a listing (4.2).
DOCUMENTS = (
    Document("meta_data.json", FOLSOM, _meta_data),
    Document("user_data", FOLSOM, _user_data, lambda instance: instance.user_data is not None),
    Document("password", GRIZZLY, None),
    Document("vendor_data.json", HAVANA, _vendor_data),
    Document("network_data.json", LIBERTY, _network_data, lambda instance: instance.network is not None),
    Document("vendor_data2.json", NEWTON_2, _vendor_data2),
)


def documents_of(instance: Instance, version: str) -> tuple[Document, ...]:
    """What this instance has under this version, in listing order; () when there is no such version."""
    if version not in OPENSTACK:
        return ()
    return tuple(doc for doc in DOCUMENTS if version >= doc.since and doc.present(instance))


def media_type(name: str, body: bytes) -> str:
    """The content type of a document: JSON by name, else text when the bytes are UTF-8 (HTTP-5)."""
    if name.endswith(".json"):
        return JSON
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return BINARY
    return TEXT if b"\x00" not in body else BINARY


def tree(
    instance: Instance,
    *,
    random_seed: bytes,
    today: date,
    vendor_data: Json = None,
    vendor_data2: Mapping[str, Json] | None = None,
    skip_versions: frozenset[str] = frozenset(),
    minimal: bool = False,
) -> dict[str, bytes]:
    """The files of a config drive, path -> bytes (metadata-service.md 8).

    `random_seed`: 512 random bytes. All versions come from one render (CD-1). `skip_versions` works for both
    trees (CD-2); `minimal` keeps 2012-08-10, 2018-08-27 and latest and leaves `ec2/` out (CD-3).
    """
    inputs = Inputs(base64.b64encode(random_seed).decode(), vendor_data, vendor_data2 or {})
    files: dict[str, bytes] = {}
    for version in MINIMAL_VERSIONS if minimal else listed(today):
        if version in skip_versions:
            continue
        for document in documents_of(instance, version):
            if document.render is not None:
                files[f"openstack/{version}/{document.name}"] = document.render(instance, version, inputs)
        files[f"openstack/{version}/meta_data.json"] = _with_admin_pass(instance, version, inputs)
    for i, file in enumerate(instance.files):
        files[f"openstack{content_path(i)}"] = file.content
    if not minimal:
        files |= _ec2_files(instance, skip_versions)
    return files


def http_tree(instance: Instance, *, random_seed: bytes, today: date) -> dict[str, bytes]:
    """What HTTP serves of the OpenStack tree, without the server's part: no password of the instance."""
    inputs = Inputs(base64.b64encode(random_seed).decode())
    files: dict[str, bytes] = {}
    for version in listed(today):
        for document in documents_of(instance, version):
            if document.render is not None:
                files[f"openstack/{version}/{document.name}"] = document.render(instance, version, inputs)
    for i, file in enumerate(instance.files):
        files[f"openstack{content_path(i)}"] = file.content
    return files


def _with_admin_pass(instance: Instance, version: str, inputs: Inputs) -> bytes:
    """`meta_data.json` as it stands on a drive: the only place where the password is written (4.3)."""
    document = meta_data(instance, version, inputs.random_seed)
    if instance.admin_pass is not None:
        document["admin_pass"] = instance.admin_pass.reveal()
    return as_bytes(document)


def _ec2_files(instance: Instance, skip_versions: frozenset[str]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for version in ("2009-04-04", LATEST):
        if version in skip_versions:
            continue
        files[f"ec2/{version}/meta-data.json"] = as_bytes(ec2.meta_data(instance, version))
        if instance.user_data is not None:
            files[f"ec2/{version}/user-data"] = instance.user_data
    return files
