"""instance-data.json: what this boot knows of its instance, for people, templates and other programs.

The full document is root's; the public one has every value that may be secret replaced by a text.
Source: guest-agent.md 1.9.
"""

from __future__ import annotations

import os
import sys

from boot_stages.distros import parse_os_release
from guest_agent.plain import BYTES_PREFIX, plain, to_json
from guest_agent.state import RUN, RUN_CLOUD_ID, RUN_COMBINED_CONFIG, RUN_INSTANCE_DATA, RUN_SENSITIVE_DATA

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from guest_agent.datasources.source_data import SourceData
    from guest_agent.machine import Machine

REDACTED = "redacted for non-root user"
SENSITIVE_NAMES = frozenset(
    {
        "combined_cloud_config",
        "merged_cfg",
        "merged_system_cfg",
        "security-credentials",
        "userdata",
        "user-data",
        "user_data",
        "vendordata",
        "vendor-data",
    }
)
SENSITIVE_PATHS = frozenset({"ds/vendor_data", "ds/vendor_data2"})
# What an agent of this version does; names and meanings as in cloud-init.
FEATURES = {
    "ALLOW_EC2_MIRRORS_ON_NON_AWS_INSTANCE_TYPES": False,
    "APT_DEB822_SOURCE_LIST_FILE": True,
    "EXPIRE_APPLIES_TO_HASHED_USERS": True,
    "NETPLAN_CONFIG_ROOT_READ_ONLY": True,
    "ERROR_ON_USER_DATA_FAILURE": True,
    "NOCLOUD_SEED_URL_APPEND_FORWARD_SLASH": False,
    "DEPRECATION_INFO_BOUNDARY": "devel",
    "MANUAL_NETWORK_WAIT": True,
}
DOC = (
    "EXPERIMENTAL: The structure and format of content scoped under the 'ds' key"
    " may change in subsequent releases of cloud-init."
)
COMBINED_DOC = (
    "Aggregated cloud-config created by merging merged_system_cfg (/etc/cloud/cloud.cfg and"
    " /etc/cloud/cloud.cfg.d), metadata, vendordata and userdata. The combined_cloud_config represents the"
    " aggregated desired configuration acted upon by cloud-init."
)
# Region prefixes that are clouds of their own. Source: cloudinit.sources.canonical_cloud_id.
CLOUD_BY_REGION = (
    ("aws", "cn-", "aws-china"),
    ("aws", "us-gov-", "aws-gov"),
    ("azure", "china", "azure-china"),
)


def cloud_id(cloud_name: str, region: str, platform: str) -> str:
    """The name of the cloud, or of the platform when the cloud is unknown; some regions have their own."""
    name = cloud_name or "unknown"
    for cloud, prefix, own in CLOUD_BY_REGION:
        if name == cloud and region.startswith(prefix):
            return own
    return (platform or "unknown") if name == "unknown" else name


def system_info(machine: Machine) -> dict[str, Any]:
    """The system below the agent: distribution, kernel, Python."""
    release = parse_os_release(machine.read_text("/etc/os-release") or "")
    kernel = os.uname()
    dist = [release.get("ID", ""), release.get("VERSION_ID", ""), release.get("VERSION_CODENAME", "")]
    return {
        "dist": dist,
        "platform": f"{kernel.sysname}-{kernel.release}-{kernel.machine}-with-{_libc()}",
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "release": kernel.release,
        "system": kernel.sysname,
        "uname": [kernel.sysname, kernel.nodename, kernel.release, kernel.version, kernel.machine, ""],
        "variant": dist[0] or "unknown",
    }


def _libc() -> str:
    """glibc2.36, or libc where it does not say."""
    try:
        name = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        name = ""
    return name.replace(" ", "") or "libc"


def document(source: SourceData, config: Mapping[str, object], info: Mapping[str, Any]) -> dict[str, Any]:
    """Everything, with sensitive values in it and their paths listed."""
    data: dict[str, Any] = {
        "ds": {"_doc": DOC, "meta_data": dict(source.metadata), **source.crawled},
        "merged_cfg": {"_doc": "DEPRECATED: Use merged_system_cfg. Will be dropped from 24.1", **config},
        "merged_system_cfg": {"_doc": "Merged cloud-init system config", **config},
        "sys_info": dict(info),
        "system_info": dict(info),
        "features": FEATURES,
        "v1": _v1(source, info),
    }
    whole = plain(data)
    if not isinstance(whole, dict):
        raise TypeError("instance data is a map")
    whole["base64_encoded_keys"] = sorted(_strip_base64(whole, ""))
    whole["sensitive_keys"] = sorted(_sensitive(whole, ""))
    return whole


def _v1(source: SourceData, info: Mapping[str, Any]) -> dict[str, Any]:
    metadata = source.metadata
    cloud_name = str(metadata.get("cloud-name") or source.cloud_name or "unknown").lower()
    platform = source.platform or "unknown"
    zone = source.availability_zone or None
    host = source.local_hostname.partition(".")[0]
    keys = {
        "availability_zone": zone,
        "cloud_id": cloud_id(cloud_name, source.region, platform),
        "cloud_name": cloud_name,
        "distro": info["dist"][0],
        "distro_release": info["dist"][2],
        "distro_version": info["dist"][1],
        "instance_id": source.instance_id,
        "kernel_release": info["uname"][2],
        "local_hostname": host,
        "machine": info["uname"][4],
        "platform": platform,
        "public_ssh_keys": list(source.public_keys),
        "python_version": info["python"],
        "region": source.region or None,
        "subplatform": source.subplatform,
        "system_platform": info["platform"],
        "variant": info["variant"],
        "_beta_keys": ["subplatform"],
    }
    dashed = ("availability_zone", "cloud_name", "instance_id", "local_hostname")
    return {**keys, **{name.replace("_", "-"): keys[name] for name in dashed}}


def _strip_base64(node: dict[str, Any], prefix: str) -> Iterator[str]:
    """Take the `ci-b64:` prefix off values; the slash paths where it was."""
    for name, value in node.items():
        path = f"{prefix}{name}"
        if isinstance(value, str) and value.startswith(BYTES_PREFIX):
            node[name] = value[len(BYTES_PREFIX) :]
            yield path
        elif isinstance(value, dict):
            yield from _strip_base64(value, f"{path}/")


def _sensitive(node: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, value in node.items():
        path = f"{prefix}{name}"
        if name in SENSITIVE_NAMES or path in SENSITIVE_PATHS:
            yield path
        elif isinstance(value, dict):
            yield from _sensitive(value, f"{path}/")


def redacted(whole: Mapping[str, Any]) -> dict[str, Any]:
    """The document as everybody may read it."""
    public: dict[str, Any] = _copy(whole)
    for path in whole["sensitive_keys"]:
        node = public
        *parents, last = path.split("/")
        for step in parents:
            node = node.get(step, {})
        if last in node:
            node[last] = REDACTED
    return public


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(child) for name, child in value.items()}
    return list(value) if isinstance(value, list) else value


def write(machine: Machine, whole: Mapping[str, Any]) -> None:
    """Both documents, and the cloud's id with the link that leads to it."""
    machine.write(RUN_SENSITIVE_DATA.path, to_json(whole), RUN_SENSITIVE_DATA.mode)
    machine.write(RUN_INSTANCE_DATA.path, to_json(redacted(whole)), RUN_INSTANCE_DATA.mode)
    name = whole["v1"]["cloud_id"]
    named = f"{RUN}/cloud-id-{name}"
    machine.write(named, f"{name}\n")
    place = machine.path(RUN) + "/cloud-id"
    before = os.readlink(place) if os.path.islink(place) else ""
    machine.link(RUN_CLOUD_ID.path, named)
    if before and before != named:
        machine.remove(before)


def write_combined(machine: Machine, config: Mapping[str, object]) -> None:
    """The config of all sources together, for root."""
    combined = {**config, "_doc": COMBINED_DOC, "features": FEATURES}
    machine.write(RUN_COMBINED_CONFIG.path, to_json(combined), RUN_COMBINED_CONFIG.mode)
