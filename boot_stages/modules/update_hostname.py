"""`update_hostname`: keep the guest's name on every boot, unless its administrator has changed it.

data/previous-hostname remembers what the agent wrote; a system file that differs from it was changed by hand.
Source: guest-agent.md 3.3 (host names).
"""

from __future__ import annotations

from boot_stages.actions import RunCommand, WriteFile, note
from boot_stages.hostname import chosen_name, hostname_file, read_hostname, wanted_names
from boot_stages.module import Module
from boot_stages.modules.set_hostname import Config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts

PREVIOUS = "/var/lib/cloud/data/previous-hostname"
SYSTEM = "/etc/hostname"


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """Write whichever of the two files is missing or outdated; leave a name that was set by hand."""
    names = wanted_names(config.hostname, config.fqdn, facts.cloud)
    if config.preserve_hostname or not names.hostname:
        return ()
    if names.is_from_cloud and names.hostname == "localhost":
        return ()
    wanted = chosen_name(names, config.prefer_fqdn_over_hostname, facts.distro)
    previous = read_hostname(facts.read_text(PREVIOUS))
    system = read_hostname(facts.read_text(SYSTEM))
    if previous and system and previous != system:
        return (note(f"{SYSTEM} says {system}, which was set by hand: it stays"),)
    actions: list[Action] = []
    if previous != wanted:
        actions.append(WriteFile(PREVIOUS, f"{wanted}\n".encode()))
    if system != wanted and (system or config.create_hostname_file):
        actions.append(WriteFile(SYSTEM, hostname_file(facts.read_text(SYSTEM), wanted)))
        actions.append(RunCommand(("hostname", wanted)))
    return tuple(actions)


MODULE = Module("update_hostname", Config, plan)
