"""`resolv_conf`: write /etc/resolv.conf where no service of the distribution does it.

Source: guest-agent.md 3.3.
"""

from __future__ import annotations

from boot_stages.actions import WriteFile, warn
from boot_stages.module import Module
from boot_stages.schema import BOOL, TEXT, Keys, Kind, key, list_of, record
from boot_stages.templates import image_template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from boot_stages.actions import Action
    from boot_stages.facts import Facts

PATH = "/etc/resolv.conf"
_TEXTS: Kind[tuple[str, ...]] = Kind({"type": "array"}, list_of(TEXT).read)
_OPTIONS: Kind[Mapping[str, object]] = Kind(
    {"type": "object"}, lambda value, _path, _faults: dict(value) if isinstance(value, dict) else {}
)


class ResolverKeys(Keys):
    """The map below `resolv_conf`."""

    nameservers: tuple[str, ...] = key("Addresses of name servers.", _TEXTS, default=())
    searchdomains: tuple[str, ...] = key("Domains to look names up in.", _TEXTS, default=())
    domain: str = key("The local domain.", TEXT, default="")
    sortlist: tuple[str, ...] = key("Networks whose addresses come first.", _TEXTS, default=())
    options: Mapping[str, object] = key("Options: `name: true`, or `name: value`.", _OPTIONS, default={})


class Config(Keys):
    """Keys of `resolv_conf`."""

    manage_resolv_conf: bool = key("Write the file.", BOOL, default=False)
    resolv_conf: ResolverKeys | None = key("What stands in it.", record(ResolverKeys), default=None)


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """The file, when it is not so yet."""
    if not config.manage_resolv_conf:
        return ()
    if config.resolv_conf is None:
        return (warn("manage_resolv_conf is true, and there is no 'resolv_conf' map: nothing is written"),)
    content = (_from_image(config.resolv_conf, facts) or _own(config.resolv_conf)).encode()
    return () if facts.read_bytes(PATH) == content else (WriteFile(PATH, content),)


def _from_image(keys: ResolverKeys, facts: Facts) -> str | None:
    values: dict[str, object] = {name: getattr(keys, name) for name in keys.FIELDS}
    values["flags"] = [name for name, value in keys.options.items() if value is True]
    values["options"] = {name: value for name, value in keys.options.items() if value is not True}
    return image_template(("resolv.conf",), values, facts)


def _own(keys: ResolverKeys) -> str:
    options = [name if value is True else f"{name}:{value}" for name, value in keys.options.items()]
    lines = [
        "# Written by guestling, because manage_resolv_conf is true.",
        *(f"nameserver {address}" for address in keys.nameservers),
        *([f"search {' '.join(keys.searchdomains)}"] if keys.searchdomains else []),
        *([f"domain {keys.domain}"] if keys.domain else []),
        *(f"sortlist {network}" for network in keys.sortlist),
        *([f"options {' '.join(options)}"] if options else []),
    ]
    return "".join(f"{line}\n" for line in lines)


MODULE = Module("resolv_conf", Config, plan)
