"""`yum_add_repo`: one .repo file for each repository, on the Red Hat family. Source: guest-agent.md 3.3."""

from __future__ import annotations

from boot_stages.actions import WriteFile, note, warn
from boot_stages.module import Module
from boot_stages.schema import TEXT, Keys, Kind, key, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from boot_stages.actions import Action
    from boot_stages.facts import Facts
    from boot_stages.schema import Fault

    Repos = Mapping[str, Mapping[str, object]]

SOURCES = ("baseurl", "metalink", "mirrorlist")
_URI = {"type": "string", "format": "uri"}
_REPO = {
    "type": "object",
    "properties": {
        "baseurl": _URI,
        "metalink": _URI,
        "mirrorlist": _URI,
        "name": {"type": "string"},
        "enabled": {"type": "boolean"},
    },
    "patternProperties": {
        "^[0-9a-zA-Z_]+$": {"oneOf": [{"type": "integer"}, {"type": "boolean"}, {"type": "string"}]}
    },
    "additionalProperties": False,
    "anyOf": [{"required": [name]} for name in SOURCES],
}


def _read_repos(value: object, path: str, _faults: list[Fault]) -> Repos:
    if not isinstance(value, dict):
        raise wrong(path, "a map", value, "Write 'NAME:' and below it 'baseurl: ...'")
    repos: dict[str, Mapping[str, object]] = {}
    for name, settings in value.items():
        if not isinstance(settings, dict):
            raise wrong(f"{path}.{name}", "a map", settings, "Write 'baseurl: ...' below it")
        repos[str(name)] = {str(each): setting for each, setting in settings.items()}
    return repos


REPOS: Kind[Repos] = Kind(
    {
        "type": "object",
        "patternProperties": {"^[0-9a-zA-Z -_]+$": _REPO},
        "additionalProperties": False,
        "minProperties": 1,
    },
    _read_repos,
)


class Config(Keys):
    """Keys of `yum_add_repo`."""

    yum_repo_dir: str = key("Where the files are written.", TEXT, default="/etc/yum.repos.d")
    yum_repos: Repos = key(
        "Repositories by id; each needs baseurl, metalink or mirrorlist; any setting of yum is taken.",
        REPOS,
        default={},
    )


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """A file for each repository that has none."""
    return tuple(
        action
        for name, settings in config.yum_repos.items()
        for action in _repo(name, settings, config.yum_repo_dir, facts)
    )


def _repo(name: str, settings: Mapping[str, object], directory: str, facts: Facts) -> tuple[Action, ...]:
    identity = name.strip().replace(" ", "-").replace("/", "-")
    path = f"{directory}/{identity}.repo"
    if facts.exists(path):
        return (note(f"yum_repos.{name}: {path} exists: it stays as it is"),)
    lines = {each.strip().lower().replace("-", "_"): value for each, value in settings.items()}
    if not any(lines.get(source) for source in SOURCES):
        return (warn(f"yum_repos.{name} has none of {', '.join(SOURCES)}: it is left out"),)
    stamp = facts.clock().rfc_2822()
    body = "".join(f"{each} = {_setting(value)}\n" for each, value in lines.items())
    content = f"# Written by guestling on {stamp}\n[{identity}]\n{body}"
    return (WriteFile(path, content.encode()),)


def _setting(value: object) -> str:
    """As yum writes it: 1 and 0 for booleans, further items of a list on lines of their own."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (list, tuple)):
        return "\n    ".join(str(each) for each in value)
    return str(value)


MODULE = Module("yum_add_repo", Config, plan)
