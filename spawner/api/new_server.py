"""What a request for a new server means: its form, the checks, and the names it uses.

Source: Compute API reference (create server), openstack-api.md.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Any, Literal

import msgspec
from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from spawner import image_fit, image_properties
from spawner.api import quotas
from spawner.api.faults import Fault
from spawner.errors import InvalidSpec
from spawner.identity import Identity
from spawner.store.servers import Flavor, Server
from spawner.store.tables import (
    FLAVOR_ACCESS,
    FLAVORS,
    IMAGE_MEMBERS,
    IMAGES,
    KEYPAIRS,
    SECURITY_GROUPS,
    SERVER_GROUPS,
)

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
USER_DATA_LIMIT = 65_535
MOST_GIB = 16_384
Short = Annotated[str, msgspec.Meta(max_length=255)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Count = Annotated[int, msgspec.Meta(ge=1, le=100)]
# How many items: a quota says.
Metadata = dict[Name, Short]
_FLAVOR = select(FLAVORS).where(FLAVORS.c.id == bindparam("id"))
_IMAGE = select(IMAGES).where(IMAGES.c.id == bindparam("id"))
FILE_QUOTAS = quotas.DEFAULTS["compute"]


class DiskWish(msgspec.Struct, forbid_unknown_fields=True):
    """A block device: the image on a local disk, or the volume that the server boots from."""

    source_type: Literal["image", "volume", "snapshot", "blank"]
    destination_type: Literal["local", "volume"] | None = None
    uuid: Short | None = None
    boot_index: int | str | None = None
    delete_on_termination: bool | str | None = None
    volume_size: int | str | None = None
    device_name: Short | None = None
    device_type: Short | None = None
    disk_bus: Short | None = None
    guest_format: Short | None = None
    tag: Short | None = None
    volume_type: Short | None = None
    no_device: bool | None = None


class NetworkWish(msgspec.Struct, forbid_unknown_fields=True):
    """One network card: on a network, or a port that is there."""

    uuid: Short | None = None
    port: Short | None = None
    fixed_ip: Short | None = None
    tag: Short | None = None


class FileWish(msgspec.Struct, forbid_unknown_fields=True):
    """A file for the guest (personality): content in base64."""

    path: Name
    contents: str


class GroupWish(msgspec.Struct, forbid_unknown_fields=True):
    """A security group by name; some clients put an id there."""

    name: Name


class NewServer(
    msgspec.Struct,
    forbid_unknown_fields=True,
    rename={
        "image_ref": "imageRef",
        "flavor_ref": "flavorRef",
        "admin_pass": "adminPass",
        "disk_config": "OS-DCF:diskConfig",
        "access_ipv4": "accessIPv4",
        "access_ipv6": "accessIPv6",
        "hints": "os:scheduler_hints",
        "old_hints": "OS-SCH-HNT:scheduler_hints",
    },
):
    """What the client asks for."""

    name: Name
    flavor_ref: str | int
    image_ref: Short | None = None
    networks: list[NetworkWish] | Literal["auto", "none"] | None = None
    key_name: Short | None = None
    user_data: Annotated[str, msgspec.Meta(max_length=USER_DATA_LIMIT)] | None = None
    config_drive: bool | Literal["", "True", "true", "False", "false", "1", "0"] | None = None
    metadata: Metadata = {}
    security_groups: list[GroupWish] = []
    availability_zone: Short | None = None
    host: Short | None = None
    hypervisor_hostname: Short | None = None
    hostname: Short | None = None
    description: Short | None = None
    tags: Annotated[list[Short], msgspec.Meta(max_length=50)] = []
    personality: list[FileWish] = []
    block_device_mapping_v2: list[DiskWish] = []
    min_count: Count | None = None
    max_count: Count | None = None
    admin_pass: Short | None = None
    return_reservation_id: bool = False
    disk_config: Literal["AUTO", "MANUAL"] | None = None
    access_ipv4: Short | None = None
    access_ipv6: Short | None = None
    trusted_image_certificates: list[str] | None = None
    hints: dict[str, Any] = {}
    old_hints: dict[str, Any] = {}


class CreateServer(
    msgspec.Struct, rename={"hints": "os:scheduler_hints", "old_hints": "OS-SCH-HNT:scheduler_hints"}
):
    """The whole body: the server, and hints for the scheduler (some clients put them inside the server)."""

    server: NewServer
    hints: dict[str, Any] = {}
    old_hints: dict[str, Any] = {}


# Field -> the microversions in which it may be given. Source: Compute API reference (create server).
_SINCE: dict[str, tuple[tuple[int, int], tuple[int, int] | None]] = {
    "description": ((2, 19), None),
    "tags": ((2, 52), None),
    "trusted_image_certificates": ((2, 63), None),
    "host": ((2, 74), None),
    "hypervisor_hostname": ((2, 74), None),
    "hostname": ((2, 90), None),
}


def check(wish: NewServer, version: tuple[int, int]) -> None:
    """Raise Fault 400 for what no server can be."""
    if not wish.name.strip() or len(wish.name) > 255:
        raise Fault(400, "Invalid input for field/attribute name: 1 to 255 characters are needed.")
    if wish.networks is None and version >= (2, 37):
        raise Fault(400, "Invalid input for field/attribute server. 'networks' is a required property")
    if isinstance(wish.networks, str) and version < (2, 37):
        raise Fault(400, f"Invalid input for field/attribute networks: {wish.networks!r} is not a list.")
    for name, (first, last) in _SINCE.items():
        if getattr(wish, name) not in (None, []) and (version < first or (last and version > last)):
            raise Fault(400, f"Additional properties are not allowed ('{name}' was unexpected)")
    check_files(wish.personality, version)
    if wish.max_count is not None and (wish.min_count or 1) > wish.max_count:
        raise Fault(400, "min_count must be <= max_count")
    if wish.hostname is not None and not LABEL.fullmatch(wish.hostname.partition(".")[0]):
        raise Fault(400, "Invalid input for field/attribute hostname: use a-z, 0-9 and '-'.")
    check_disks(wish)


_LOCAL, _VOLUMES = ("image", "local"), {("volume", "volume"), ("image", "volume")}


def _kind(disk: DiskWish) -> tuple[str, str]:
    return disk.source_type, disk.destination_type or ("local" if disk.source_type == "image" else "volume")


def check_disks(wish: NewServer) -> None:
    """Raise Fault 400 for more than one disk to boot from, or another one than an image or a volume."""
    root = root_wish(wish)
    wrong = ""
    if any(_kind(disk) not in {_LOCAL, *_VOLUMES} for disk in wish.block_device_mapping_v2):
        wrong = "only an image or a volume to boot from is possible here."
    elif root is not None and (len(wish.block_device_mapping_v2) > 1 or wish.image_ref):
        wrong = "one disk to boot from is needed; attach other volumes to the server."
    elif root is not None and str(root.boot_index) != "0":
        wrong = "Boot sequence for the instance and image/block device mapping combination is not valid."
    elif root is not None and not root.uuid:
        wrong = "the uuid of an image or a volume is needed."
    elif root is not None and root.source_type == "volume" and (wish.max_count or wish.min_count or 1) > 1:
        wrong = "a volume is in one server at a time."
    if wrong:
        raise Fault(400, f"Block Device Mapping is Invalid: {wrong}")


def root_wish(wish: NewServer) -> DiskWish | None:
    """The volume that the server shall boot from, or what one shall be made from; None: it has a disk."""
    return next((disk for disk in wish.block_device_mapping_v2 if _kind(disk) in _VOLUMES), None)


def size_of_root(root: DiskWish) -> int:
    """How large the volume of an image shall be, in GiB. Raises Fault 400."""
    size = str(root.volume_size or "")
    if not size.isdecimal() or not 1 <= int(size) <= MOST_GIB:
        raise Fault(400, f"Invalid input for field/attribute volume_size: 1 to {MOST_GIB} is needed.")
    return int(size)


def check_files(files: list[FileWish], version: tuple[int, int]) -> None:
    """Raise Fault 400 for files that a microversion does not have, 403 for more than there may be."""
    if files and version > (2, 56):
        raise Fault(400, "Additional properties are not allowed ('personality' was unexpected)")
    if len(files) > FILE_QUOTAS["injected_files"]:
        raise Fault(403, "Personality file limit exceeded")
    for file in files:
        check_file(file)


def check_file(file: FileWish) -> None:
    """Raise Fault 400 for a file that is not base64, 403 for one over quota."""
    try:
        content = base64.b64decode(file.contents, validate=True)
    except (ValueError, binascii.Error):
        raise Fault(400, f"Personality content for {file.path} cannot be decoded") from None
    most = FILE_QUOTAS["injected_file_content_bytes"]
    if len(content) > most:
        raise Fault(403, f"Personality file content exceeds maximum {most}")


def image_of(wish: NewServer) -> str | None:
    """The id of the image, which clients name in one of two places; None where a volume is booted from."""
    if root_wish(wish) is not None:
        return None
    if wish.image_ref:
        return wish.image_ref.rstrip("/").rpartition("/")[2]
    return next((disk.uuid for disk in wish.block_device_mapping_v2 if disk.uuid), None)


async def flavor_of(connection: AsyncConnection, flavor_ref: str, identity: Identity) -> Flavor:
    """The flavor by id or link, as far as somebody may use it. Raises Fault 400."""
    flavor_id = flavor_ref.rstrip("/").rpartition("/")[2]
    row = (await connection.execute(_FLAVOR, {"id": flavor_id})).first()
    if row is None or not await may_use(connection, row, identity):
        raise Fault(400, f"Flavor {flavor_id[:64]} could not be found.")
    return Flavor(
        row.id,
        row.name,
        row.vcpus,
        row.ram_mib,
        row.disk_gib,
        row.ephemeral_gib,
        row.swap_mib,
        dict(row.extra_specs),
    )


async def may_use(connection: AsyncConnection, flavor: Any, identity: Identity) -> bool:
    """Whether a flavor is for everybody, or for somebody's project; admins may use all."""
    if flavor.is_public or identity.is_admin:
        return True
    query = select(FLAVOR_ACCESS.c.project_id).where(
        FLAVOR_ACCESS.c.flavor_id == flavor.id, FLAVOR_ACCESS.c.project_id == identity.project_id
    )
    return (await connection.execute(query)).first() is not None


async def may_use_image(connection: AsyncConnection, image: Any, project_id: str) -> bool:
    """Whether an image is the project's, for everybody, or shared with the project."""
    if image.owner == project_id or image.visibility in {"public", "community"}:
        return True
    if image.visibility != "shared":
        return False
    query = select(IMAGE_MEMBERS.c.member_id).where(
        IMAGE_MEMBERS.c.image_id == image.id, IMAGE_MEMBERS.c.member_id == project_id
    )
    return (await connection.execute(query)).first() is not None


async def check_image(
    connection: AsyncConnection, image_id: str | None, flavor: Flavor, project_id: str
) -> None:
    """Raise Fault 400 unless the image is there, active, and fits the flavor."""
    if image_id is None:
        raise Fault(400, "Invalid imageRef provided.")
    row = (await connection.execute(_IMAGE, {"id": image_id})).first()
    if row is None or not await may_use_image(connection, row, project_id):
        raise Fault(400, f"Image {image_id[:64]} could not be found.")
    if row.status != "active":
        raise Fault(400, f"Image {image_id} is not active.")
    try:
        image_properties.read(row.properties)
    except InvalidSpec as error:
        raise Fault(400, str(error)) from error
    if too_small := image_fit.why_too_small(flavor, needs_of(row)):
        raise Fault(400, too_small)


def needs_of(image: Any) -> image_fit.ImageNeeds:
    """What an image's row asks of a flavor."""
    return image_fit.ImageNeeds(image.min_ram, image.min_disk, image.virtual_size)


async def check_resize(connection: AsyncConnection, server: Server, flavor: Flavor) -> None:
    """Raise Fault 400 unless the server's disk and its image, where that is still there, fit the flavor.

    A volume that the server boots from stays as large as it is, whatever the flavor's disk.
    """
    wrong = "" if server.boots_from_volume else image_fit.why_not_resize(server.flavor, flavor)
    row = (await connection.execute(_IMAGE, {"id": server.image_id})).first()
    if not wrong and row is not None:
        wrong = image_fit.why_too_small(flavor, needs_of(row))
    if wrong:
        raise Fault(400, wrong)


async def public_key(connection: AsyncConnection, user_id: str, name: str | None) -> str | None:
    """The public key of a key pair. Raises Fault 400."""
    if name is None:
        return None
    query = select(KEYPAIRS.c.public_key).where(KEYPAIRS.c.user_id == user_id, KEYPAIRS.c.name == name)
    found = (await connection.execute(query)).scalar()
    if found is None:
        raise Fault(400, "Invalid key_name provided.")
    return str(found).strip()


def user_data(text: str | None) -> bytes | None:
    """The bytes of base64 user data. Raises Fault 400."""
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise Fault(400, "Userdata content cannot be decoded") from None


async def group_names(
    connection: AsyncConnection, project_id: str, wished: list[GroupWish], missing: int = 400
) -> tuple[str, ...]:
    """Security groups by name; some clients put an id into the name field."""
    if not wished:
        return ("default",)
    query = select(SECURITY_GROUPS).where(SECURITY_GROUPS.c.project_id == project_id)
    rows = (await connection.execute(query)).all()
    names = []
    for entry in wished:
        wanted = entry.name
        found = [row.name for row in rows if wanted in {row.name, row.id}]
        if not found:
            raise Fault(missing, f"Security group {wanted[:64]} not found for project {project_id}.")
        names.append(found[0])
    return tuple(dict.fromkeys(names))


async def group_of(connection: AsyncConnection, project_id: str, group_id: object) -> str | None:
    """The id of a server group of the project. Raises Fault 400."""
    if not group_id:
        return None
    query = select(SERVER_GROUPS.c.id).where(
        SERVER_GROUPS.c.id == str(group_id), SERVER_GROUPS.c.project_id == project_id
    )
    if (await connection.execute(query)).scalar() is None:
        raise Fault(400, f"Instance group {str(group_id)[:64]} could not be found.")
    return str(group_id)


def placement_hints(wish: NewServer) -> dict[str, str]:
    """Where the server shall be; `zone:host` names both."""
    zone, _, host = (wish.availability_zone or "").partition(":")
    hints = {"availability_zone": zone, "host": wish.host or wish.hypervisor_hostname or host}
    return {name: value for name, value in hints.items() if value}


def hostname(name: str, server_id: str) -> str:
    """A host name from a display name, as Nova makes it."""
    plain = re.sub(r"[^a-z0-9-]+", "-", name.lower().replace("_", "-").replace(" ", "-").replace(".", "-"))
    return plain.strip("-")[:63].strip("-") or f"server-{server_id}"
