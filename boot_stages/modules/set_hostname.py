"""`set_hostname`: name the guest.

The name is written where the distribution keeps it and made current; what was last set is remembered in
data/set-hostname, so that nothing happens twice. Source: guest-agent.md 3.3 (host names).
"""

from __future__ import annotations

from boot_stages.actions import RunCommand, WriteFile
from boot_stages.hostname import Names, chosen_name, hostname_file, wanted_names
from boot_stages.module import Module
from boot_stages.plain_json import write_indented
from boot_stages.schema import BOOL, TEXT, Keys, key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts

MEMORY = "/var/lib/cloud/data/set-hostname"


class Config(Keys):
    """Keys of `set_hostname`; `update_hostname` reads the same."""

    hostname: str = key("The host name; with a dot in it, it is also the fqdn.", TEXT, default="")
    fqdn: str = key("The fully qualified name.", TEXT, default="")
    preserve_hostname: bool = key("Keep the name that the image has.", BOOL, default=False)
    prefer_fqdn_over_hostname: bool | None = key(
        "Set the fqdn as the host name. Default: true on the Red Hat family, else false.",
        BOOL,
        default=None,
    )
    create_hostname_file: bool = key("Make the host name file when the image has none.", BOOL, default=True)


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """Write the name, make it current, remember it; nothing when it was set before or is not known."""
    if config.preserve_hostname:
        return ()
    names = wanted_names(config.hostname, config.fqdn, facts.cloud)
    if not names.hostname or (names.is_from_cloud and names.hostname == "localhost"):
        return ()
    memory = memory_of(names)
    if facts.read_bytes(MEMORY) == memory:
        return ()
    chosen = chosen_name(names, config.prefer_fqdn_over_hostname, facts.distro)
    return (*set_name(chosen, config.create_hostname_file, facts), WriteFile(MEMORY, memory))


def memory_of(names: Names) -> bytes:
    """What data/set-hostname holds for these names."""
    document = {"hostname": names.hostname, "fqdn": names.fqdn}
    return (write_indented(document) + "\n").encode()


def set_name(name: str, create_file: bool, facts: Facts) -> tuple[Action, ...]:
    """The actions that make `name` the host name, now and after a reboot."""
    if facts.distro.hostname_by == "hostnamectl":
        transient = () if create_file or facts.exists("/etc/hostname") else ("--transient",)
        return (RunCommand(("hostnamectl", "set-hostname", *transient, name)),)
    write: tuple[Action, ...] = ()
    if create_file or facts.exists("/etc/hostname"):
        write = (WriteFile("/etc/hostname", hostname_file(facts.read_text("/etc/hostname"), name)),)
    return (*write, RunCommand(("hostname", name)))


MODULE = Module("set_hostname", Config, plan)
