"""What a datasource gives: one value, whatever the source (spec 1.5), and what it may look at."""

from __future__ import annotations

from boot_stages.value import Value
from guest_agent.plain import BYTES_PREFIX, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from guest_agent.fetch import Web
    from guest_agent.machine import Machine

LOCAL, NETWORK = "local", "network"
DSMODES = ("disabled", "local", "net", "pass")

NETWORK_DATA = "network_data.json"  # OpenStack's own format
ENI = "eni"  # text of /etc/network/interfaces
NETWORK_CONFIG = "network-config"  # version 1 or 2, parsed


class InjectedFile(Value):
    """A file that OpenStack's `files[]` puts into the guest on first boot (mode 0660)."""

    path: str
    content: bytes


class SourceData(Value):
    """All that a boot knows from outside.

    `metadata` is what templates see as `ds.meta_data`; `crawled` is the rest of `ds`. User data and vendor
    data are as delivered (bytes, text, or a list of those). `network` is a parsed document or text,
    `network_kind` says which. `text` is what logs and status call the source; `seed` where it was found.
    """

    name: str
    class_name: str
    text: str
    instance_id: str
    metadata: Mapping[str, object]
    dsmode: str = "net"
    user_data: object = None
    vendor_data: object = None
    vendor_data2: object = None
    network: object = None
    network_kind: str | None = None
    local_hostname: str = ""
    public_keys: tuple[str, ...] = ()
    random_seed: bytes = b""
    availability_zone: str = ""
    region: str = ""
    platform: str = ""
    cloud_name: str = ""
    subplatform: str = ""
    seed: str = ""
    launch_index: int | None = None
    files: tuple[InjectedFile, ...] = ()
    device_names: tuple[tuple[str, str], ...] = ()
    crawled: Mapping[str, object] = {}  # never written: fields are frozen
    update_events: tuple[str, ...] = ("boot-new-instance",)
    is_fallback: bool = False


class Search:
    """What a source may look at: the machine, the merged system configuration, the network, this stage."""

    def __init__(
        self,
        machine: Machine,
        config: Mapping[str, object],
        stage: str,
        *,
        web: Web | None = None,
        warn: Callable[[str], None],
    ) -> None:
        self.machine = machine
        self.config = config
        self.stage = stage
        self.warn = warn
        self._web = web

    @property
    def web(self) -> Web:
        """HTTP, made when it is first needed."""
        if self._web is None:
            from guest_agent.fetch import web_for
            from guest_agent.limits import from_config

            self._web = web_for(self.machine, from_config(self.config)[0])
        return self._web

    def settings(self, name: str) -> Mapping[str, object]:
        """The `datasource: NAME:` mapping of the configuration; empty when there is none."""
        table = self.config.get("datasource")
        own = table.get(name) if isinstance(table, dict) else None
        return own if isinstance(own, dict) else {}

    def dmi(self, key: str) -> str:
        """A DMI field by its name below /sys/class/dmi/id; '' when there is none."""
        return dmi(self.machine, key)

    def command_line(self) -> str:
        """The kernel command line; of PID 1 in a container that hides the kernel's."""
        return (self.machine.read_text("/proc/cmdline") or "").strip()


def dmi(machine: Machine, key: str) -> str:
    """A DMI field; '' when absent, and when the firmware filled it with 0xff (an unset field)."""
    raw = machine.read_bytes(f"/sys/class/dmi/id/{key}") or b""
    if raw and not raw.strip(b"\xff\n"):
        return ""
    return raw.decode("utf-8", "replace").strip()


def dsmode_of(candidates: tuple[object, ...], default: str = "net") -> str:
    """The first of the candidates that is a dsmode word."""
    return next((str(word) for word in candidates if word in DSMODES), default)


def public_keys(value: object) -> tuple[str, ...]:
    """Keys from a text (one a line), a list, or a mapping of names to either."""
    if isinstance(value, str):
        return tuple(line for line in value.splitlines() if line.strip())
    if isinstance(value, list):
        return tuple(str(key) for key in value if key)
    if isinstance(value, dict):
        return tuple(
            key for one in value.values() for key in public_keys([one] if isinstance(one, str) else one)
        )
    return ()


# Kept for the later stages and the next boot as JSON, never as a pickle.

# Fields that are tuples in SourceData and lists in JSON.
_TUPLES = ("public_keys", "update_events")


def to_document(source: SourceData) -> dict[str, Any]:
    """The source as plain data; bytes as `ci-b64:` texts."""
    document = {name: plain(getattr(source, name)) for name in SourceData.FIELDS if name != "files"}
    document["files"] = [[file.path, plain(file.content)] for file in source.files]
    return document


def from_document(document: dict[str, Any]) -> SourceData:
    """The source again. Raises TypeError, ValueError, KeyError for a document of another shape."""
    fields = {name: _revived(document[name]) for name in SourceData.FIELDS if name in document}
    for name in _TUPLES:
        if name in fields:
            fields[name] = tuple(str(item) for item in fields[name])
    fields["device_names"] = tuple((str(name), str(to)) for name, to in fields.get("device_names", ()))
    fields["files"] = tuple(InjectedFile(str(path), content) for path, content in fields.get("files", ()))
    return SourceData(**fields)


def _revived(value: Any) -> Any:
    """Bytes again where JSON has their text form."""
    if isinstance(value, str):
        if not value.startswith(BYTES_PREFIX):
            return value
        import binascii

        return binascii.a2b_base64(value[len(BYTES_PREFIX) :])
    if isinstance(value, list):
        return [_revived(item) for item in value]
    if isinstance(value, dict):
        return {name: _revived(item) for name, item in value.items()}
    return value
