"""`timezone`: the guest's time zone. Source: guest-agent.md 3.3."""

from __future__ import annotations

from boot_stages.actions import MakeLink, Remove, WriteFile
from boot_stages.errors import ModuleFailed
from boot_stages.module import Module
from boot_stages.schema import TEXT, Keys, key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts

ZONES = "/usr/share/zoneinfo"
LOCALTIME = "/etc/localtime"


class Config(Keys):
    """Keys of `timezone`."""

    timezone: str = key("A name below /usr/share/zoneinfo, such as Europe/Berlin.", TEXT, default="")


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """Name and link (or copy, where the image has a copy), when they are not so yet."""
    zone = config.timezone
    if not zone:
        return ()
    source = f"{ZONES}/{zone}"
    if ".." in zone.split("/") or not facts.is_file(source):
        raise ModuleFailed(f"timezone: {source} is not there. Check the name, or install tzdata")
    actions: list[Action] = []
    if facts.distro.family != "redhat" and facts.read_text("/etc/timezone") != f"{zone}\n":
        actions.append(WriteFile("/etc/timezone", f"{zone}\n".encode()))
    actions.extend(_local_time(source, facts))
    return tuple(actions)


def _local_time(source: str, facts: Facts) -> tuple[Action, ...]:
    target = facts.link_target(LOCALTIME)
    is_copy = target is None and facts.is_file(LOCALTIME) and facts.distro.family != "redhat"
    if is_copy:
        content = facts.read_bytes(source) or b""
        return () if facts.read_bytes(LOCALTIME) == content else (WriteFile(LOCALTIME, content),)
    if target is not None and target.endswith(source):
        return ()
    remove = (Remove(LOCALTIME),) if target is None and facts.is_file(LOCALTIME) else ()
    return (*remove, MakeLink(LOCALTIME, source))


MODULE = Module("timezone", Config, plan)
