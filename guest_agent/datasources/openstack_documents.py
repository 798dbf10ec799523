"""OpenStack's documents, from a config drive or from the metadata service: one reader for both.

`get` gives the bytes of a path such as `openstack/latest/meta_data.json`, or None when it is absent.
"""

from __future__ import annotations

from boot_stages.value import Value
from guest_agent import json_guard
from guest_agent.datasources.source_data import ENI, NETWORK_DATA, InjectedFile, SourceData, public_keys
from guest_agent.errors import LimitExceeded, SourceUnusable, UnreadableJson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Get = Callable[[str], "bytes | None"]

# Newest first; what the cloud offers decides.
VERSIONS = ("2018-08-27", "2017-02-22", "2016-10-06", "2016-06-30", "2015-10-15", "2013-10-17",
            "2013-04-04", "2012-08-10")  # fmt: skip
LATEST = "latest"
UPDATE_EVENTS = ("boot-new-instance", "boot", "boot-legacy", "hotplug")


class Documents(Value):
    """One version's documents, parsed. `network_kind` is None when the cloud says nothing about networks."""

    metadata: Mapping[str, object]
    instance_id: str
    user_data: bytes | None
    vendor_data: object
    vendor_data2: object
    network: object
    network_kind: str | None
    files: tuple[InjectedFile, ...]
    random_seed: bytes
    public_keys: tuple[str, ...]
    dsmode: object
    ec2: object


def source_data(
    found: Documents,
    *,
    name: str,
    class_name: str,
    text: str,
    dsmode: str,
    subplatform: str,
    seed: str,
    wants_network: bool = True,
) -> SourceData:
    """What both carriers make of the documents. Files are the config drive's alone."""
    crawled: dict[str, object] = {} if found.ec2 is None else {"ec2_metadata": found.ec2}
    if found.network_kind == NETWORK_DATA:
        crawled["network_json"] = found.network
    index = found.metadata.get("launch_index")
    return SourceData(
        name=name,
        class_name=class_name,
        text=text,
        instance_id=found.instance_id,
        metadata=found.metadata,
        dsmode=dsmode,
        user_data=found.user_data,
        vendor_data=found.vendor_data,
        vendor_data2=found.vendor_data2,
        network=found.network if wants_network else None,
        network_kind=found.network_kind if wants_network else None,
        local_hostname=str(found.metadata.get("local-hostname") or ""),
        public_keys=found.public_keys,
        random_seed=found.random_seed,
        availability_zone=str(found.metadata.get("availability_zone") or ""),
        platform="openstack",
        cloud_name="openstack",
        subplatform=subplatform,
        seed=seed,
        launch_index=index if isinstance(index, int) else None,
        device_names=device_names(found.ec2),
        crawled=crawled,
        update_events=UPDATE_EVENTS,
    )


def newest(offered: Iterable[str]) -> str:
    """The newest version that we know among those offered, else `latest`."""
    names = {name.strip().strip("/") for name in offered}
    return next((version for version in VERSIONS if version in names), LATEST)


def read(get: Get, version: str, place: str, warn: Callable[[str], None]) -> Documents:
    """The documents of `version`. Raises SourceUnusable when they cannot be used."""

    def document(name: str) -> object:
        data = get(f"openstack/{version}/{name}")
        return None if data is None else _json(data, f"{place} {name}")

    metadata = document("meta_data.json")
    if metadata is None:
        raise SourceUnusable(f"{place}: there is no openstack/{version}/meta_data.json")
    if not isinstance(metadata, dict) or not metadata.get("uuid"):
        raise SourceUnusable(f"{place}: meta_data.json: a mapping with 'uuid' is expected")
    network, kind = document("network_data.json"), NETWORK_DATA
    if network is None:
        network, kind = _eni(get, metadata, place), ENI
    seed = _seed(metadata, place)
    meta = metadata.get("meta")
    return Documents(
        metadata=_named(metadata, seed),
        instance_id=str(metadata["uuid"]),
        user_data=get(f"openstack/{version}/user_data"),
        vendor_data=_vendor(document("vendor_data.json"), f"{place} vendor-data", warn),
        vendor_data2=_vendor(document("vendor_data2.json"), f"{place} vendor-data2", warn),
        network=network,
        network_kind=None if network is None else kind,
        files=tuple(_files(get, metadata, place)),
        random_seed=seed,
        public_keys=public_keys(metadata.get("public_keys")),
        dsmode=meta.get("dsmode") if isinstance(meta, dict) else None,
        ec2=_ec2(get, place),
    )


def _json(data: bytes, place: str) -> object:
    try:
        return json_guard.load(data, place)
    except (UnreadableJson, LimitExceeded) as error:
        raise SourceUnusable(error.text) from error


def identity(data: bytes, place: str) -> str:
    """The instance id that a meta_data.json names. Raises SourceUnusable."""
    metadata = _json(data, f"{place} meta_data.json")
    return str(metadata.get("uuid")) if isinstance(metadata, dict) else ""


def _named(metadata: Mapping[str, object], seed: bytes) -> dict[str, object]:
    """The metadata with cloud-init's names beside OpenStack's; the password stays out."""
    named = {key: value for key, value in metadata.items() if key != "admin_pass"}
    named["instance-id"] = str(metadata["uuid"])
    if "hostname" in metadata:
        named["local-hostname"] = metadata["hostname"]
    if seed:
        named["random_seed"] = seed
    return named


def _seed(metadata: Mapping[str, object], place: str) -> bytes:
    import binascii

    seed = metadata.get("random_seed")
    if seed is None:
        return b""
    try:
        return binascii.a2b_base64(str(seed))
    except (binascii.Error, ValueError) as error:
        raise SourceUnusable(f"{place}: meta_data.json: random_seed is not base64") from error


def _files(get: Get, metadata: Mapping[str, object], place: str) -> Iterable[InjectedFile]:
    listed = metadata.get("files")
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, dict) and item.get("path"):
            path = str(item["path"])
            content = _content(get, item, place, path)
            yield InjectedFile(path if path.startswith("/") else f"/{path}", content)


def _eni(get: Get, metadata: Mapping[str, object], place: str) -> str | None:
    """`network_config` of the metadata points to an /etc/network/interfaces text."""
    item = metadata.get("network_config")
    if not isinstance(item, dict):
        return None
    return _content(get, item, place, "network_config").decode("utf-8", "replace")


def _content(get: Get, item: Mapping[str, object], place: str, what: str) -> bytes:
    words = [word for word in str(item.get("content_path") or "").split("/") if word]
    if not words or ".." in words:
        raise SourceUnusable(f"{place}: {what}: a content_path such as /content/0000 is expected")
    content = get("/".join(["openstack", *words]))
    if content is None:
        raise SourceUnusable(f"{place}: {what}: there is no openstack/{'/'.join(words)}")
    return content


def _ec2(get: Get, place: str) -> object:
    """The EC2 form of the metadata, which names disks; a broken one makes the source unusable."""
    data = get("ec2/latest/meta-data.json")
    return None if data is None else _json(data, f"{place} ec2 meta-data.json")


def _vendor(document: object, place: str, warn: Callable[[str], None]) -> object:
    """Text and lists as they are; of a mapping its `cloud-init` key. Anything else is dropped."""
    if document is None or isinstance(document, (str, list)):
        return document
    if isinstance(document, dict):
        inner = document.get("cloud-init")
        if inner is None or isinstance(inner, (str, list)):
            return inner
        warn(f"{place}: the value of 'cloud-init' is neither text nor a list; it is not used")
        return None
    warn(f"{place}: text, a list or a mapping is expected; it is not used")
    return None


def device_names(ec2: object) -> tuple[tuple[str, str], ...]:
    """(name, device) from the EC2 block device mapping."""
    mapping = ec2.get("block-device-mapping") if isinstance(ec2, dict) else None
    if not isinstance(mapping, dict):
        return ()
    return tuple((str(name), str(device)) for name, device in mapping.items() if isinstance(device, str))
