"""What a datasource gives: one value, whatever the source (spec 1.5), and what it may look at."""

from __future__ import annotations

from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
