"""The check of a document against the schema of all modules together, or of network config.

At boot only the modules whose keys are in the config are loaded; the command loads all of them.
Source: guest-agent.md 5.4.
"""

from __future__ import annotations

from boot_stages import registry
from boot_stages.log import logger
from boot_stages.validate import deprecations_of, faults_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from boot_stages.registry import Entry
    from boot_stages.schema import Schema

LOG = logger("schema")

BOOT_WARNING = (
    "{kind} failed schema validation! You may run 'sudo cloud-init schema --system' to check the details."
)
BOOT_DEPRECATED = "Deprecated cloud-config provided: {list}"


def schema_of(entries: Iterable[Entry]) -> Schema:
    """The JSON schema of the agent's own keys and those of some modules.

    A key of several modules has the schema of the first one that declares it.
    """
    from guest_agent.base_keys import BaseKeys

    properties = dict(BaseKeys.schema()["properties"])
    for entry in entries:
        for name, inner in entry.load().config.schema()["properties"].items():
            properties.setdefault(name, inner)
    return {"type": "object", "properties": properties, "additionalProperties": False}


def cloud_config_schema() -> Schema:
    """The schema of a whole cloud-config."""
    return schema_of(registry.MODULES)


def schema_for(config: Mapping[object, object]) -> Schema:
    """As much of the schema as this config needs: the modules that know one of its keys."""
    return schema_of(entry for entry in registry.MODULES if any(name in config for name in entry.keys))


def at_boot(config: dict[object, object]) -> None:
    """One warning for everything the schema does not allow; nothing is dropped because of it."""
    schema = schema_for(config)
    for path, what in faults_of(config, schema):
        LOG.debug("schema: %s: %s", path, _without_values(what))
    if faults_of(config, schema):
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


def _without_values(what: str) -> str:
    """The words of a fault without the value it shows: that may be a secret (G7)."""
    head, separator, tail = what.rpartition(" is ")
    return f"the value is {tail}" if separator and head else what
