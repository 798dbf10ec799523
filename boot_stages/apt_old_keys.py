"""The keys of apt from before `apt:`: each on the top level, each under a name of its own.

cloud-init still reads them, its schema does not know them. Source: guest-agent.md 3.2 (apt_configure), D3.
"""

from __future__ import annotations

from boot_stages.errors import ModuleFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# Old key to its name below `apt`.
RENAMED = {
    "add_apt_repo_match": "add_apt_repo_match",
    "apt_custom_sources_list": "sources_list",
    "apt_ftp_proxy": "ftp_proxy",
    "apt_http_proxy": "http_proxy",
    "apt_https_proxy": "https_proxy",
    "apt_preserve_sources_list": "preserve_sources_list",
    "apt_proxy": "proxy",
    "apt_sources": "sources",
}
# Old key to its name in an item of `apt.primary`.
OF_THE_MIRROR = {"apt_mirror": "uri", "apt_mirror_search": "search", "apt_mirror_search_dns": "search_dns"}
OLD_KEYS = (*RENAMED, *OF_THE_MIRROR)
SOURCES_FILE = "cloud_config_sources.list"


def given(config: Mapping[str, object]) -> tuple[str, ...]:
    """The old keys that a config sets to something."""
    return tuple(sorted(key for key in OLD_KEYS if config.get(key) not in (None, "")))


def as_apt(config: Mapping[str, object]) -> dict[str, object]:
    """What the old keys of a config say, as the map below `apt`.

    Raises ModuleFailed where `apt` is there as well and says something else; where it says the same or
    nothing, `apt` alone counts.
    """
    names = given(config)
    apt = config.get("apt")
    if isinstance(apt, dict):
        for name in names:
            new = apt.get(RENAMED.get(name, ""))
            if new is not None and new != config[name]:
                raise ModuleFailed(f"{name} and apt.{RENAMED[name]} do not agree. Remove the old key {name}")
        return apt
    found: dict[str, object] = {RENAMED[name]: config[name] for name in names if name in RENAMED}
    mirror = {OF_THE_MIRROR[name]: config[name] for name in names if name in OF_THE_MIRROR}
    if mirror:
        found["primary"] = [{"arches": ["default"], **mirror}]
    if isinstance(found.get("sources"), list):
        found["sources"] = _by_name(found["sources"])
    return found


def _by_name(sources: object) -> dict[str, object]:
    """The oldest form, a list: items without a file name share one file, each counts."""
    named: dict[str, object] = {}
    for number, each in enumerate(sources if isinstance(sources, list) else (), start=1):
        if not isinstance(each, dict):
            raise ModuleFailed(f"apt_sources[{number - 1}] is not a map. Write 'source: deb ...'")
        filename = str(each.get("filename") or SOURCES_FILE)
        name = filename if each.get("filename") else f"{filename}-{number}"
        named[name] = {**each, "filename": filename}
    return named
