"""The JSON schema of a whole cloud-config: the keys of every module, and the agent's own.

Making it imports all modules (some 40 ms), so it is made once and only when a document is to be checked.
Source: guest-agent.md 5.4; the verdicts are held against cloud-init's own schema by tests/contract/modules.
"""

from __future__ import annotations

from boot_stages.registry import MODULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from boot_stages.registry import Entry

    Schema = dict[str, Any]

# These two never had the spelling with dashes.
_WITHOUT_DASHES = ("raspberry_pi", "ubuntu_pro")
_OLD_NAMES = ("ubuntu_advantage",)

_MERGE_SETTINGS = (
    "allow_delete",
    "no_replace",
    "replace",
    "append",
    "prepend",
    "recurse_dict",
    "recurse_list",
    "recurse_array",
    "recurse_str",
)
_MERGE: Schema = {
    "oneOf": [
        {"type": "string"},
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "settings"],
                "properties": {
                    "name": {"type": "string", "enum": ["list", "dict", "str"]},
                    "settings": {
                        "type": "array",
                        "items": {"type": "string", "enum": list(_MERGE_SETTINGS)},
                    },
                },
            },
        },
    ]
}
_STREAM: Schema = {
    "oneOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": ["string"]}, "minItems": 2, "maxItems": 2},
        {
            "type": "object",
            "additionalProperties": False,
            "properties": {"output": {"type": "string"}, "error": {"type": "string"}},
        },
    ]
}
_OUTPUT: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": dict.fromkeys(("all", "init", "config", "final"), _STREAM),
}


def _handler(name: str, properties: Schema, *required: str) -> Schema:
    return {
        "additionalProperties": False,
        "required": ["type", *required],
        "properties": {"type": {"type": "string", "enum": [name]}, **properties},
    }


_TEXT: Schema = {"type": "string"}
_LEVEL: Schema = {"type": "string", "enum": ["DEBUG", "INFO", "WARN", "ERROR", "FATAL"]}
_WEBHOOK: Schema = {
    "endpoint": {"type": "string", "format": "uri"},
    **dict.fromkeys(("consumer_key", "token_key", "token_secret", "consumer_secret"), _TEXT),
    "timeout": {"type": "number", "minimum": 0},
    "retries": {"type": "integer", "minimum": 0},
}
_REPORTING: Schema = {
    "type": "object",
    "additionalProperties": False,
    "patternProperties": {
        "^.+$": {
            "type": "object",
            "oneOf": [
                _handler("log", {"level": _LEVEL}),
                _handler("print", {}),
                _handler("webhook", _WEBHOOK, "endpoint"),
                _handler("signal", _WEBHOOK, "endpoint"),  # ours: OpenStack's wait conditions
                _handler(
                    "hyperv", {"kvp_file_path": _TEXT, "event_types": {"type": "array", "items": _TEXT}}
                ),
            ],
        }
    },
}


def _module_lists() -> Schema:
    names = [entry.name for entry in MODULES] + list(_OLD_NAMES)
    dashed = [name.replace("_", "-") for name in names if name not in _WITHOUT_DASHES]
    return {"type": "array", "items": {"oneOf": [{"enum": sorted({*names, *dashed})}, {"type": "array"}]}}


_MADE: list[Schema] = []


def schema() -> Schema:
    """The schema, draft 4. Do not change what is returned: it is the same every time."""
    if not _MADE:
        _MADE.append(schema_of(MODULES))
    return _MADE[0]


def schema_for(config: Mapping[object, object]) -> Schema:
    """As much of the schema as this config needs: only the modules that know one of its keys are imported."""
    return schema_of(entry for entry in MODULES if any(name in config for name in entry.keys))


def schema_of(entries: Iterable[Entry]) -> Schema:
    """The agent's own keys and those of some modules. Several modules may declare a key: alike."""
    properties = _base_properties()
    for entry in entries:
        properties.update(entry.load().config.schema()["properties"])
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _base_properties() -> Schema:
    lists = _module_lists()
    return {
        "cloud_init_modules": lists,
        "cloud_config_modules": lists,
        "cloud_final_modules": lists,
        "launch-index": {"type": "integer"},
        "merge_how": _MERGE,
        "merge_type": _MERGE,
        "migrate": {},
        "output": _OUTPUT,
        "reporting": _REPORTING,
        "system_info": {
            "type": "object",
            "deprecated": True,
            "deprecated_description": "It belongs into the image's cloud.cfg.",
        },
        "version": {},
    }


def key_faults(config: object) -> list[tuple[str, str]]:
    """Every (path, what is wrong) of a document; an unknown key comes with the nearest known one."""
    from boot_stages.registry import nearest_key
    from boot_stages.validate import faults_of

    known = schema()["properties"]
    faults = []
    for path, what in faults_of(config, schema()):
        near = nearest_key(path) if isinstance(config, dict) and path in config and path not in known else ""
        faults.append((path, f"{what}. Did you mean {near!r}?" if near else what))
    return faults
