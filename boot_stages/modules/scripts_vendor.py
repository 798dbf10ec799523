"""`scripts_vendor`: run the scripts of the vendor data, each behind `vendor_data.prefix`.

Source: guest-agent.md 3.3.
"""

from __future__ import annotations

from boot_stages.module import Module
from boot_stages.run_parts import run_parts
from boot_stages.schema import BOOL, TEXT, Keys, Kind, key, list_of, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts
    from boot_stages.schema import Fault

_ENABLED: Kind[bool] = Kind(
    {"oneOf": [{"type": "boolean"}, {"type": "string", "deprecated": True}]}, BOOL.read
)


def _read_prefix(value: object, path: str, faults: list[Fault]) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,) if value else ()
    return list_of(TEXT).read(value, path, faults)


_PREFIX: Kind[tuple[str, ...]] = Kind(
    {"type": ["array", "string"], "items": {"type": ["string", "integer"]}}, _read_prefix
)


class VendorKeys(Keys):
    """The map below `vendor_data`."""

    enabled: bool = key("Whether vendor data is used at all.", _ENABLED, default=True)
    disabled_handlers: tuple[str, ...] = key(
        "Content types of vendor data that are left out.", list_of(TEXT), default=()
    )
    prefix: tuple[str, ...] = key("A command put before each vendor script.", _PREFIX, default=())


class Config(Keys):
    """Keys of `scripts_vendor`."""

    vendor_data: VendorKeys = key("What is done with vendor data.", record(VendorKeys), default=VendorKeys())


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """The scripts that are there when the module has its turn."""
    return run_parts(f"{facts.instance_directory}/scripts/vendor", facts, config.vendor_data.prefix)


MODULE = Module("scripts_vendor", Config, plan)
