"""Top-level keys of cloud-config that belong to the agent itself, not to a module.

Declared like a module's keys, so that the schema of all keys together comes from one kind of declaration.
Keys of the image's own configuration (datasource_list, limits and so on) are not allowed in user data.
Source: guest-agent.md 1.10, 2.5, 3.2, 5.8.
"""

from __future__ import annotations

from boot_stages.schema import ANY, Keys, key, list_of, with_schema

_MODULE_ITEM = with_schema(
    ANY,
    {
        "oneOf": [
            {"type": "string"},
            {
                "type": "array",
                "items": {"type": ["string", "array", "object", "number", "boolean"]},
                "minItems": 1,
            },
            {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
        ]
    },
)
_SETTINGS = [
    "allow_delete",
    "no_replace",
    "replace",
    "append",
    "prepend",
    "recurse_dict",
    "recurse_list",
    "recurse_array",
    "recurse_str",
]
_MERGER = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "settings"],
    "properties": {
        "name": {"type": "string", "enum": ["list", "dict", "str"]},
        "settings": {"type": "array", "items": {"type": "string", "enum": _SETTINGS}},
    },
}
_MERGE = with_schema(ANY, {"oneOf": [{"type": "string"}, {"type": "array", "items": _MERGER}]})
_STREAM = {
    "oneOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
        {
            "type": "object",
            "properties": {"output": {"type": "string"}, "error": {"type": "string"}},
            "additionalProperties": False,
        },
    ]
}
_OUTPUT = with_schema(
    ANY,
    {
        "type": "object",
        "properties": dict.fromkeys(("all", "init", "config", "final"), _STREAM),
        "additionalProperties": False,
    },
)


def _reporter(kind: str, required: list[str], **properties: object) -> dict[str, object]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["type", *required],
        "properties": {"type": {"type": "string", "enum": [kind]}, **properties},
    }


_LEVELS = ["DEBUG", "INFO", "WARN", "ERROR", "FATAL"]
_BY_HTTP: dict[str, object] = {
    "endpoint": {"type": "string", "format": "uri"},
    "consumer_key": {"type": "string"},
    "token_key": {"type": "string"},
    "token_secret": {"type": "string"},
    "consumer_secret": {"type": "string"},
    "timeout": {"type": "number", "minimum": 0},
    "retries": {"type": "integer", "minimum": 0},
}
_REPORTING = with_schema(
    ANY,
    {
        "type": "object",
        "additionalProperties": False,
        "patternProperties": {
            "^.+$": {
                "oneOf": [
                    _reporter("log", [], level={"type": "string", "enum": _LEVELS}),
                    _reporter("print", []),
                    _reporter("webhook", ["endpoint"], **_BY_HTTP),
                    _reporter("signal", ["endpoint"], **_BY_HTTP),
                    _reporter(
                        "hyperv",
                        [],
                        kvp_file_path={"type": "string"},
                        event_types={"type": "array", "items": {"type": "string"}},
                    ),
                ]
            }
        },
    },
)
_SYSTEM_INFO = with_schema(ANY, {"type": "object"})
_MODULES = list_of(_MODULE_ITEM)


class BaseKeys(Keys):
    """What every config may hold, whatever modules there are."""

    cloud_init_modules: tuple[object, ...] = key("Modules of the network stage.", _MODULES, default=())
    cloud_config_modules: tuple[object, ...] = key("Modules of the config stage.", _MODULES, default=())
    cloud_final_modules: tuple[object, ...] = key("Modules of the final stage.", _MODULES, default=())
    launch_index: object = key(
        "Which instance of a launch this part is for.", with_schema(ANY, {"type": "integer"}), default=None,
        aliases=("launch-index",),
    )  # fmt: skip
    merge_how: object = key("How this document is put onto those before it.", _MERGE, default=None)
    merge_type: object = key("Another name of merge_how.", _MERGE, default=None)
    output: object = key("Where the output of the stages goes.", _OUTPUT, default=None)
    reporting: object = key("Who is told of the stages, and how.", _REPORTING, default=None)
    system_info: object = key("What the image says of its distribution.", _SYSTEM_INFO, default=None)
    version: object = key(
        "Cloud-config version, for people.", with_schema(ANY, {"type": "string"}), default=None
    )
