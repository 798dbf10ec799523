"""NoCloud: a seed from the SMBIOS serial number, the kernel command line, a directory, the image's
configuration, a disk labelled cidata, or an address that one of those names (`seedfrom`).

Meta-data are put together key by key, and the first place that names a key wins, as cloud-init does it;
user data, vendor data and network config come from the last place that has them.
"""

from __future__ import annotations

from guest_agent import yaml_guard
from guest_agent.datasources.devices import drives, read_drive
from guest_agent.datasources.source_data import (
    ENI,
    LOCAL,
    NETWORK_CONFIG,
    SourceData,
    dsmode_of,
    public_keys,
)
from guest_agent.errors import FetchFailed, LimitExceeded, SourceUnusable, UnreadableYaml

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from guest_agent.datasources.source_data import Search

SEED_DIRECTORIES = ("/var/lib/cloud/seed/nocloud", "/var/lib/cloud/seed/nocloud-net")
REQUIRED = ("user-data", "meta-data")
OPTIONAL = ("vendor-data", "network-config")
SHORT_KEYS = {"h": "local-hostname", "i": "instance-id", "s": "seedfrom"}
SCHEMES = {LOCAL: ("/", "file://"), "network": ("http://", "https://", "ftp://", "ftps://")}
DMI_NAMES = {
    "baseboard-asset-tag": "board_asset_tag", "baseboard-manufacturer": "board_vendor",
    "baseboard-product-name": "board_name", "baseboard-serial-number": "board_serial",
    "baseboard-version": "board_version", "bios-release-date": "bios_date", "bios-vendor": "bios_vendor",
    "bios-version": "bios_version", "chassis-asset-tag": "chassis_asset_tag",
    "chassis-manufacturer": "chassis_vendor", "chassis-serial-number": "chassis_serial",
    "chassis-version": "chassis_version", "system-manufacturer": "sys_vendor",
    "system-product-name": "product_name", "system-serial-number": "product_serial",
    "system-uuid": "product_uuid", "system-version": "product_version",
}  # fmt: skip


def detect(_search: Search) -> bool:
    """Reading is the detection: there is nothing cheaper."""
    return True


def read(search: Search) -> SourceData | None:
    """The seed, put together. None when there is none, or when it is for the other stage."""
    seed = _Seed(search)
    for place, found in _places(search):
        seed.add(place, found)
    if not seed.places:
        return None
    start = seed.metadata.get("seedfrom")
    if start is not None and not seed.fetch(str(start)):
        return None
    dsmode = dsmode_of((seed.metadata.get("dsmode"),), "net")
    seed.metadata.setdefault("dsmode", dsmode)
    instance_id = seed.metadata.setdefault("instance-id", "nocloud")
    if dsmode == "disabled":
        return None
    return _data(search, seed, str(instance_id), dsmode)


def is_same_instance(search: Search, instance_id: str) -> bool:
    """The cheap check at boot: the id on the command line or in a seed directory (spec 1.6)."""
    named = command_line_keys(search.command_line())
    if named and "instance-id" in named:
        return named["instance-id"] == instance_id
    for directory in SEED_DIRECTORIES:
        content = search.machine.read_bytes(f"{directory}/meta-data")
        if content is not None:
            metadata = _mapping(content, f"{directory}/meta-data", search)
            if "instance-id" in metadata:
                return str(metadata["instance-id"]) == instance_id
    return False


def command_line_keys(line: str) -> dict[str, object] | None:
    """The keys of `ds=nocloud[;key=value...]` in a line of words; None when it does not name us."""
    for name, dsmode in (("ds=nocloud-net", "net"), ("ds=nocloud", "local")):
        words = [word for word in line.split() if word == name or word.startswith(f"{name};")]
        if words:
            keys: dict[str, object] = {}
            for pair in words[-1].split(";")[1:]:
                key, separator, value = pair.partition("=")
                if key:
                    keys[SHORT_KEYS.get(key, key)] = value if separator else None
            keys.setdefault("dsmode", _dsmode_by(str(keys.get("seedfrom") or ""), dsmode))
            return keys
    return None


def _dsmode_by(start: str, default: str) -> str:
    """The stage that can reach the seed decides, where one is named."""
    if start.startswith(SCHEMES["network"]):
        return "net"
    return "local" if start.startswith(SCHEMES[LOCAL]) else default


def _places(search: Search) -> Iterator[tuple[str, Mapping[str, object]]]:
    """(place, its parts) in the order of the contract; parts are bytes, or values from the configuration."""
    for place, line in (("dmi", search.dmi("product_serial")), ("cmdline", search.command_line())):
        keys = command_line_keys(line)
        if keys is not None:
            yield place, {"meta-data": keys}
    for directory in SEED_DIRECTORIES:
        parts = _directory(search, directory)
        if parts is not None:
            yield directory, parts
            break
    settings = search.settings("NoCloud")
    if settings.get("seedfrom"):
        yield "ds_config_seedfrom", {"seedfrom": settings["seedfrom"]}
    if all(name in settings for name in REQUIRED):
        yield "ds_config", {name: settings[name] for name in (*REQUIRED, *OPTIONAL) if name in settings}
    yield from _drive(search, settings.get("fs_label", "cidata"))


def _directory(search: Search, directory: str) -> dict[str, object] | None:
    parts: dict[str, object] = {}
    for name in (*REQUIRED, *OPTIONAL):
        content = search.machine.read_bytes(f"{directory}/{name}")
        if content is not None:
            parts[name] = content
        elif name in REQUIRED:
            return None
    return parts


def _drive(search: Search, label: object) -> Iterator[tuple[str, Mapping[str, object]]]:
    """The first labelled drive that holds a whole seed."""
    if label is None:
        return
    wanted = {str(label), str(label).lower(), str(label).upper()}
    for device in drives(search.machine):
        if device.label not in wanted:
            continue
        try:
            tree = read_drive(search.machine, device.path, (*REQUIRED, *OPTIONAL))
        except SourceUnusable as error:
            search.warn(f"NoCloud: {error.text}")
            continue
        missing = [name for name in REQUIRED if name not in tree]
        if missing:
            search.warn(f"device {device.path} with label={label} not a valid seed: no {', '.join(missing)}")
            continue
        yield device.path, {name: tree[name] for name in (*REQUIRED, *OPTIONAL) if name in tree}
        return


class _Seed:
    """What was found so far."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self.places: list[str] = []
        self.metadata: dict[str, object] = {}
        self.user_data: object = b""
        self.vendor_data: object = b""
        self.network: object = None

    def add(self, place: str, parts: Mapping[str, object]) -> None:
        self.places.append(place)
        if "seedfrom" in parts:
            self.metadata["seedfrom"] = parts["seedfrom"]
        found = parts.get("meta-data", {})
        mapping = found if isinstance(found, dict) else _mapping(found, f"{place} meta-data", self.search)
        self.metadata = _first_wins(self.metadata, mapping)
        self.user_data = parts.get("user-data", self.user_data)
        self.vendor_data = parts.get("vendor-data", self.vendor_data)
        if parts.get("network-config"):
            self.network = self.parsed(parts["network-config"], f"{place} network-config")

    def fetch(self, start: str) -> bool:
        """Read the seed that `seedfrom` names. False when this stage cannot reach it. Raises FetchFailed."""
        if not start.startswith(SCHEMES[self.search.stage]):
            return False
        start = dmi_replaced(start, self.search)
        parts: dict[str, object] = {}
        for name in (*REQUIRED, *OPTIONAL):
            content = self.one(start, name)
            if content is not None:
                parts[name] = content
            elif name in REQUIRED:
                raise FetchFailed(seed_address(start, name), "it is not there, and a seed needs it", 404)
        self.network = None if parts.get("network-config") is None else self.network
        self.add(start, parts)
        return True

    def one(self, start: str, name: str) -> bytes | None:
        """One file of the seed; None when it is absent."""
        address = seed_address(start, name)
        if self.search.stage == LOCAL:
            return self.search.machine.read_bytes(address.removeprefix("file://"))
        if address.startswith(("ftp://", "ftps://")):
            raise FetchFailed(address, "FTP is not supported. Serve the seed over HTTP")
        from guest_agent.fetch import INCLUDE

        reply = self.search.web.request(address, INCLUDE)
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise FetchFailed(address, f"HTTP {reply.status}", reply.status)
        return reply.body

    def parsed(self, content: object, place: str) -> object:
        if isinstance(content, dict):
            return content
        return _mapping(content, place, self.search) or None


def seed_address(start: str, name: str) -> str:
    """`%s` stands for the file's name; else it is appended, after a `/` where there is no query."""
    if "%s" in start:
        return start.replace("%s", name)
    return f"{start}{'' if start.endswith('/') or '?' in start else '/'}{name}"


def dmi_replaced(text: str, search: Search) -> str:
    """`__dmi.KEY__` replaced by that DMI value."""
    pieces = text.split("__dmi.")
    for number, piece in enumerate(pieces[1:], 1):
        key, closed, rest = piece.partition("__")
        if closed and key in DMI_NAMES:
            pieces[number] = search.dmi(DMI_NAMES[key]) + rest
        else:
            pieces[number] = f"__dmi.{piece}"
    return "".join(pieces)


def _mapping(content: object, place: str, search: Search) -> dict[str, object]:
    """A YAML mapping; anything else is a warning and counts as empty (spec 6)."""
    data = content if isinstance(content, (bytes, str)) else b""
    try:
        value = yaml_guard.load(data, place)
    except (UnreadableYaml, LimitExceeded) as error:
        search.warn(f"NoCloud: {error.text}")
        return {}
    if value is None:
        return {}
    if not isinstance(value, dict):
        search.warn(f"NoCloud: {place}: a mapping is expected; not used")
        return {}
    return value


def _first_wins(old: Mapping[str, object], new: Mapping[str, object]) -> dict[str, object]:
    merged = dict(old)
    for key, value in new.items():
        mine = merged.get(key)
        if key not in merged:
            merged[key] = value
        elif isinstance(mine, dict) and isinstance(value, dict):
            merged[key] = _first_wins(mine, value)
    return merged


def _data(search: Search, seed: _Seed, instance_id: str, dsmode: str) -> SourceData:
    metadata = seed.metadata
    network, kind = seed.network, NETWORK_CONFIG
    if network is None and metadata.get("network-interfaces"):
        network, kind = str(metadata["network-interfaces"]), ENI
    if isinstance(network, dict) and isinstance(network.get("network"), dict) and "version" not in network:
        network = network["network"]
    places = ",".join(seed.places)
    class_name = "DataSourceNoCloud" if search.stage == LOCAL else "DataSourceNoCloudNet"
    return SourceData(
        name="NoCloud",
        class_name=class_name,
        text=f"{class_name} [seed={places}]{'' if dsmode == 'net' else f'[dsmode={dsmode}]'}",
        instance_id=instance_id,
        metadata=metadata,
        dsmode=dsmode,
        user_data=seed.user_data,
        vendor_data=seed.vendor_data,
        network=network,
        network_kind=None if network is None else kind,
        local_hostname=str(metadata.get("local-hostname") or ""),
        public_keys=public_keys(metadata.get("public-keys")),
        availability_zone=str(metadata.get("availability-zone") or metadata.get("availability_zone") or ""),
        region=str(metadata.get("region") or ""),
        platform="nocloud",
        cloud_name=str(metadata.get("cloud-name") or "unknown").lower(),
        subplatform=f"{'config-disk' if places.startswith('/dev') else 'seed-dir'} ({places})",
        seed=places,
        launch_index=_whole(metadata.get("launch-index")),
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
