"""The check of a document against the schema of all modules together, or of network config.

At boot only the modules whose keys are in the config are loaded; the command loads all of them.
Source: guest-agent.md 5.4.
"""

from __future__ import annotations

from boot_stages.cloud_config_schema import schema_for
from boot_stages.log import logger
from boot_stages.validate import deprecations_of, faults_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from guest_agent.merge import Merged

LOG = logger("schema")

BOOT_WARNING = (
    "{kind} failed schema validation! You may run 'sudo cloud-init schema --system' to check the details."
)
BOOT_DEPRECATED = "Deprecated cloud-config provided: {list}"


def at_boot(merged: Merged) -> None:
    """One warning for everything the schema does not allow, and in the log each fault with its place, before
    any module runs (GA-P12); nothing is dropped because of it.
    """
    config = dict(merged.value)
    schema = schema_for(config)
    faults = faults_of(config, schema)
    for path, what in faults:
        LOG.info("%s%s: %s", _place(merged, path), path, _without_values(what))
    if faults:
        LOG.warning("%s", BOOT_WARNING.format(kind="cloud-config"))
    old = deprecations_of(config, schema)
    if old:
        listed = ", ".join(f"{path}: {text}" for path, text in old)
        LOG.deprecated("%s", BOOT_DEPRECATED.format(list=listed))


def network_at_boot(document: Mapping[str, object]) -> None:
    """The same for a network config of version 1 or 2."""
    from guest_agent.network_schema import faults_of_network

    if faults_of_network(document):
        kind = f"network-config-v{document.get('version')}"
        LOG.warning("%s", BOOT_WARNING.format(kind=kind))


def _place(merged: Merged, path: str) -> str:
    """`user-data part-001:7: `, as far as it is known who said it."""
    steps = tuple(int(step) if step.isdigit() else step for step in path.split("."))
    return next((f"{one.layer}:{one.line}: " for one in merged.where(steps) if one.line), "")


def _without_values(what: str) -> str:
    """The words of a fault without the value it shows: that may be a secret (G7)."""
    head, separator, tail = what.rpartition(" is ")
    return f"the value is {tail}" if separator and head else what
