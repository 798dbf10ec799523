"""ConfigDrive: OpenStack's documents on a disk labelled config-2, or in a seed directory."""

from __future__ import annotations

from guest_agent.datasources import openstack_documents as documents
from guest_agent.datasources.devices import drives, read_drive
from guest_agent.datasources.source_data import ENI, SourceData, dsmode_of, public_keys
from guest_agent.errors import LimitExceeded, SourceUnusable, UnreadableJson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from guest_agent.datasources.source_data import Search

DIRECTORIES = ("/var/lib/cloud/seed/config_drive", "/config-drive")
LABELS = ("config-2", "CONFIG-2")
# What a drive is read for; an OpenStack drive may carry more.
ENTRIES = ("openstack", "ec2", "meta.js", "etc", "root")


def detect(_search: Search) -> bool:
    """Reading is the detection: there is nothing cheaper."""
    return True


def read(search: Search) -> SourceData | None:
    """The first place that holds OpenStack's documents. None when no place does."""
    for place, is_labelled in _places(search):
        try:
            tree = read_drive(search.machine, place, ENTRIES)
        except SourceUnusable as error:
            if is_labelled:
                search.warn(f"config drive {error.text}")
            continue
        if any(path.startswith("openstack/") for path in tree):
            try:
                return _version_2(search, tree, place)
            except SourceUnusable as error:
                search.warn(f"config drive {error.text}")
        elif "meta.js" in tree or "etc/network/interfaces" in tree:
            found = _version_1(search, tree, place)
            if found is not None:
                return found
    return None


def is_same_instance(search: Search, instance_id: str) -> bool:
    """The cheap check at boot: the id is the machine's UUID (spec 1.6)."""
    return instance_id.lower() == search.dmi("product_uuid").lower() != ""


def _places(search: Search) -> Iterator[tuple[str, bool]]:
    """Where a drive may be, in order, and whether somebody meant it to be one."""
    for path in DIRECTORIES:
        if search.machine.exists(path):
            yield path, True
    found = drives(search.machine)
    labelled = [device for device in found if device.label in LABELS]
    others = [device for device in found if device not in labelled and not device.is_partition]
    for device in (*labelled, *others):
        yield device.path, device in labelled


def _version_2(search: Search, tree: Mapping[str, bytes], place: str) -> SourceData | None:
    offered = {path.split("/")[1] for path in tree if path.startswith("openstack/") and path.count("/") > 1}
    found = documents.read(tree.get, documents.newest(offered), place, search.warn)
    dsmode = dsmode_of((found.dsmode, search.settings("ConfigDrive").get("dsmode")))
    if dsmode == "disabled":
        return None
    kind = "config-disk" if place.startswith("/dev/") else "seed-dir"
    data = documents.source_data(
        found,
        name="ConfigDrive",
        class_name="DataSourceConfigDrive",
        text=f"DataSourceConfigDrive [{dsmode},ver=2][source={place}]",
        dsmode=dsmode,
        subplatform=f"{kind} ({place})",
        seed=place,
    )
    return data.replace(files=found.files)


def _version_1(search: Search, tree: Mapping[str, bytes], place: str) -> SourceData | None:
    """The form before 2012: read for its network and keys, and for more only when dsmode asks for it."""
    from guest_agent import json_guard

    try:
        meta = json_guard.load(tree.get("meta.js", b"{}"), f"{place} meta.js")
    except (UnreadableJson, LimitExceeded) as error:
        search.warn(f"config drive {error.text}")
        return None
    values = meta if isinstance(meta, dict) else {}
    dsmode = dsmode_of((values.get("dsmode"), search.settings("ConfigDrive").get("dsmode")), "pass")
    if dsmode in ("disabled", "pass"):
        return None
    keys = values.get("public-keys") or tree.get("root/.ssh/authorized_keys", b"").decode("utf-8", "replace")
    interfaces = tree.get("etc/network/interfaces")
    return SourceData(
        name="ConfigDrive",
        class_name="DataSourceConfigDrive",
        text=f"DataSourceConfigDrive [{dsmode},ver=1][source={place}]",
        instance_id=str(values.get("instance-id") or "iid-dsconfigdrive"),
        metadata={**values, "public-keys": keys},
        dsmode=dsmode,
        user_data=values.get("user-data"),
        network=None if interfaces is None else interfaces.decode("utf-8", "replace"),
        network_kind=None if interfaces is None else ENI,
        local_hostname=str(values.get("local-hostname") or ""),
        public_keys=tuple(key for key in public_keys(keys) if not key.startswith("#")),
        platform="openstack",
        cloud_name="openstack",
        subplatform=f"config-disk ({place})",
        seed=place,
        update_events=documents.UPDATE_EVENTS,
    )
