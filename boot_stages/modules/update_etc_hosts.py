"""`update_etc_hosts`: the guest's own name in /etc/hosts, on every boot.

`true` writes the whole file from a template (the image's hosts.FAMILY, or ours); `localhost` makes sure of
one line and leaves the rest. Source: guest-agent.md 3.3 (host names).
"""

from __future__ import annotations

from boot_stages.actions import Report, WriteFile, warn
from boot_stages.hostname import Names, wanted_names
from boot_stages.module import Module
from boot_stages.schema import TEXT, Keys, Kind, key, one_of
from boot_stages.templates import image_template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts

HOSTS = "/etc/hosts"
BUILT_IN = """\
# This file is written by guestling on every boot, because manage_etc_hosts is true.
# To change it, change the template /etc/cloud/templates/hosts.{family}.tmpl or set
# 'manage_etc_hosts: false' in /etc/cloud/cloud.cfg or in the user data.
{address} {fqdn} {hostname}
127.0.0.1 localhost

# The following lines are desirable for IPv6 capable hosts
::1 localhost ip6-localhost ip6-loopback
ff02::1 ip6-allnodes
ff02::2 ip6-allrouters
"""

_WORD = one_of(True, False, "localhost", "template")
MANAGE: Kind[str] = Kind(
    {
        "oneOf": [
            {"enum": [True, False, "localhost"]},
            {
                "enum": ["template"],
                "deprecated": True,
                "deprecated_description": "Use 'true' instead.",
            },
        ]
    },
    _WORD.read,
)


class Config(Keys):
    """Keys of `update_etc_hosts`."""

    manage_etc_hosts: str = key(
        "true: write the whole file; localhost: only make sure of the guest's own line.",
        MANAGE,
        default="false",
    )
    fqdn: str = key("The fully qualified name.", TEXT, default="")
    hostname: str = key("The host name.", TEXT, default="")


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """The file as it shall be, when it is not so yet."""
    if config.manage_etc_hosts == "false":
        return ()
    names = wanted_names(config.hostname, config.fqdn, facts.cloud)
    if not names.hostname:
        return (warn("manage_etc_hosts is set, and no host name is known: /etc/hosts stays as it is"),)
    old = facts.read_text(HOSTS) or ""
    notes: tuple[Action, ...] = ()
    if config.manage_etc_hosts == "localhost":
        content = _with_line(old, facts.distro.hosts_address, names)
    else:
        content = _whole(names, facts)
        if config.manage_etc_hosts == "template":
            notes = (Report("DEPRECATED", "manage_etc_hosts: template: Use 'true' instead"),)
    return notes if content == old else (*notes, WriteFile(HOSTS, content.encode("utf-8", "surrogateescape")))


def _whole(names: Names, facts: Facts) -> str:
    values: dict[str, object] = {"fqdn": names.fqdn, "hostname": names.hostname}
    family = facts.distro.family
    rendered = image_template((f"hosts.{family}",), values, facts)
    if rendered is not None:
        return rendered
    return BUILT_IN.format(
        address=facts.distro.hosts_address, family=family, fqdn=names.fqdn, hostname=names.hostname
    )


def _with_line(old: str, address: str, names: Names) -> str:
    """The old file with a line for the guest's own address, behind the ones that are there for it."""
    lines = old.splitlines()
    places = [index for index, line in enumerate(lines) if line.partition("#")[0].split()[:1] == [address]]
    for index in places:
        words = lines[index].partition("#")[0].split()
        if words[1] == names.fqdn and names.hostname in words[2:]:
            return old
    lines.insert(places[-1] + 1 if places else len(lines), f"{address} {names.fqdn} {names.hostname}")
    return "".join(f"{line}\n" for line in lines)


MODULE = Module("update_etc_hosts", Config, plan)
