"""Modules that are known and not supported yet: their keys are checked, and using one is a warning.

One table; a module that gets support moves to a file of its own. Source: guest-agent.md, priority LATER.
"""

from __future__ import annotations

from boot_stages.actions import warn
from boot_stages.module import Module
from boot_stages.schema import Keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from boot_stages.actions import Action
    from boot_stages.facts import Facts

    Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_NUMBER: Schema = {"type": "integer"}
_MAP: Schema = {"type": "object"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}


def _words(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


def _map(properties: Schema, **limits: Any) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties, **limits}


def _texts(names: str) -> Schema:
    return dict.fromkeys(names.split(), _TEXT)


_PROXY: Schema = {"type": ["string", "null"], "format": "uri"}
_PRO = _map(
    {
        "enable": _TEXTS,
        "enable_beta": _TEXTS,
        "token": _TEXT,
        "features": _map({"disable_auto_attach": _FLAG}),
        "config": {
            "type": "object",
            "properties": dict.fromkeys(
                (
                    "http_proxy",
                    "https_proxy",
                    "global_apt_http_proxy",
                    "global_apt_https_proxy",
                    "ua_apt_http_proxy",
                    "ua_apt_https_proxy",
                ),
                _PROXY,
            ),
        },
    }
)
# The Red Hat names that were spelled with a dash before.
_RHSM = {
    "activation_key": _TEXT,
    "auto_attach": _FLAG,
    "service_level": _TEXT,
    "add_pool": _TEXTS,
    "enable_repo": _TEXTS,
    "disable_repo": _TEXTS,
    "rhsm_baseurl": _TEXT,
    "server_hostname": _TEXT,
}
_CHEF = {
    **_texts(
        "config_path validation_cert validation_key firstboot_path client_key encrypted_data_bag_secret"
        " environment file_backup_path file_cache_path json_attribs log_level log_location node_name"
        " omnibus_url omnibus_version pid_file server_url ssl_verify_mode validation_name"
    ),
    **dict.fromkeys(("exec", "show_time", "force_install"), _FLAG),
    "directories": {**_TEXTS, "minItems": 1, "uniqueItems": True},
    "omnibus_url_retries": _NUMBER,
    "initial_attributes": {"type": "object", "items": _TEXT},
    "install_type": _words("packages", "gems", "omnibus"),
    "run_list": _TEXTS,
    "chef_license": _words("accept", "accept-silent", "accept-no-persist"),
}
_LXD = _map(
    {
        "init": _map(
            {
                **_texts("network_address storage_create_device storage_pool trust_password"),
                **dict.fromkeys(("network_port", "storage_create_loop"), _NUMBER),
                "storage_backend": _words("zfs", "dir", "lvm", "btrfs"),
            }
        ),
        "bridge": _map(
            {
                **_texts("name ipv4_address ipv4_dhcp_first ipv4_dhcp_last ipv6_address domain"),
                **dict.fromkeys(("ipv4_netmask", "ipv4_dhcp_leases", "ipv6_netmask"), _NUMBER),
                **dict.fromkeys(("ipv4_nat", "ipv6_nat"), _FLAG),
                "mode": _words("none", "existing", "new"),
                "mtu": {"type": "integer", "minimum": -1},
            },
            required=["mode"],
        ),
        "preseed": _TEXT,
    },
    minProperties=1,
)
_PUPPET = _map(
    {
        **_texts("version collection aio_install_url conf_file ssl_dir csr_attributes_path package_name"),
        **dict.fromkeys(("install", "cleanup", "exec", "start_service"), _FLAG),
        "install_type": _words("packages", "aio"),
        "exec_args": _TEXTS,
        "conf": _map({**dict.fromkeys(("main", "server", "agent", "user"), _MAP), "ca_cert": _TEXT}),
        "csr_attributes": _map(dict.fromkeys(("custom_attributes", "extension_requests"), _MAP)),
    }
)
_LANDSCAPE_CLIENT: Schema = {
    "type": "object",
    "required": ["account_name", "computer_title"],
    "properties": {
        **_texts(
            "url ping_url data_path computer_title account_name registration_key http_proxy https_proxy"
        ),
        "log_level": _words("debug", "info", "warning", "error", "critical"),
        "tags": {"type": "string", "pattern": "^[-_0-9a-zA-Z]+(,[-_0-9a-zA-Z]+)*$"},
    },
}
_SERIAL: Schema = {"oneOf": [_FLAG, {"type": "object", "properties": {"console": _FLAG, "hardware": _FLAG}}]}
_SCALAR: Schema = {"oneOf": [_FLAG, _NUMBER, _TEXT]}


def _subscription() -> Schema:
    old = {
        name.replace("_", "-"): {
            **kind,
            "deprecated": True,
            "deprecated_description": f"Use '{name}' instead.",
        }
        for name, kind in _RHSM.items()
    }
    organisation = {"oneOf": [_TEXT, {"type": "integer", "deprecated": True}]}
    properties = {**_texts("username password release_version"), "org": organisation, **_RHSM, **old}
    both = [{"not": {"required": [name, name.replace("_", "-")]}} for name in _RHSM]
    return _map(properties, allOf=both)


# Module to its keys and their schemas.
LATER: dict[str, dict[str, Schema]] = {
    "byobu": {
        "byobu_by_default": _words(
            "enable-system",
            "enable-user",
            "disable-system",
            "disable-user",
            "enable",
            "disable",
            "user",
            "system",
        )
    },
    "chef": {"chef": _map(_CHEF, minProperties=1)},
    "fan": {"fan": _map(_texts("config config_path"), required=["config"])},
    "landscape": {"landscape": _map({"client": _LANDSCAPE_CLIENT}, required=["client"])},
    "lxd": {"lxd": _LXD},
    "mcollective": {
        "mcollective": _map(
            {"conf": _map(_texts("public-cert private-cert"), patternProperties={"^.+$": _SCALAR})}
        )
    },
    "puppet": {"puppet": _PUPPET},
    "raspberry_pi": {
        "rpi": {
            "type": "object",
            "properties": {
                "interfaces": {
                    "type": "object",
                    "properties": {"spi": _FLAG, "i2c": _FLAG, "serial": _SERIAL, "onewire": _FLAG},
                },
                "enable_usb_gadget": _FLAG,
            },
        }
    },
    "reset_rmc": {},
    "rh_subscription": {"rh_subscription": _subscription()},
    "salt_minion": {
        "salt_minion": _map(
            {
                **_texts("pkg_name service_name config_dir public_key private_key pki_dir"),
                **dict.fromkeys(("conf", "grains"), _MAP),
            }
        )
    },
    "spacewalk": {"spacewalk": _map(_texts("server proxy activation_key"))},
    "ubuntu_autoinstall": {
        "autoinstall": {"type": "object", "properties": {"version": _NUMBER}, "required": ["version"]}
    },
    "ubuntu_drivers": {
        "drivers": _map(
            {"nvidia": _map({"license-accepted": _FLAG, "version": _TEXT}, required=["license-accepted"])}
        )
    },
    "ubuntu_pro": {
        "ubuntu_pro": _PRO,
        "ubuntu_advantage": {
            **_PRO,
            "deprecated": True,
            "deprecated_description": "Use 'ubuntu_pro' instead.",
        },
    },
    "zypper_add_repo": {
        "zypper": {
            "type": "object",
            "minProperties": 1,
            "properties": {
                "repos": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "properties": {"id": _TEXT, "baseurl": {"type": "string", "format": "uri"}},
                        "required": ["id", "baseurl"],
                    },
                },
                "config": _MAP,
            },
        }
    },
}


class LaterKeys(Keys):
    """Keys of a module that is not supported: taken as they are, under the schemas of the table."""

    _row = ""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The keys of the table."""
        return tuple(LATER[cls._row])

    @classmethod
    def schema(cls) -> Schema:
        """The schemas of the table."""
        return {"type": "object", "properties": dict(LATER[cls._row]), "additionalProperties": False}


def later_module(name: str) -> Module:
    """The module of a row of the table: its plan is a warning."""

    def plan(_config: LaterKeys, facts: Facts) -> tuple[Action, ...]:
        if name == "reset_rmc" and not facts.is_directory("/opt/rsct/bin"):
            return ()
        keys = ", ".join(key for key in LATER[name] if key in facts.system) or name
        return (warn(f"{keys}: the module {name} is not supported yet: nothing was done"),)

    keys = type("Config", (LaterKeys,), {"_row": name, "__annotations__": {}})
    return Module(name, keys, plan)
