"""`install_hotplug`: let udev tell the agent about network devices that come and go.

Source: guest-agent.md 3.3.
"""

from __future__ import annotations

from boot_stages.actions import Remove, RunCommand, WriteFile, note, warn
from boot_stages.module import Module
from boot_stages.schema import Keys, key, list_of, one_of, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts

RULE_FILE = "/etc/udev/rules.d/90-cloud-init-hook-hotplug.rules"
HOOK = "/usr/lib/cloud-init/hook-hotplug"
RULE = f"""\
# Written by guestling, because 'updates: network: when: [hotplug]' is set.
ACTION!="add|remove", GOTO="cloudinit_end"
LABEL="cloudinit_hook"
SUBSYSTEM=="net", RUN+="{HOOK}"
LABEL="cloudinit_end"
"""
# Sources whose metadata tells of interfaces that are added later.
SUPPORTED = ("ec2", "openstack", "configdrive")
RELOAD = RunCommand(("udevadm", "control", "--reload-rules"))


class When(Keys):
    """The map below `updates.network`."""

    when: tuple[str, ...] = key(
        "Events on which the network configuration is written again.",
        list_of(one_of("boot-new-instance", "boot-legacy", "boot", "hotplug")),
        default=(),
        required=True,
    )


class Updates(Keys):
    """The map below `updates`."""

    network: When = key("Updates of the network configuration.", record(When), default=When())


class Config(Keys):
    """Keys of `install_hotplug`."""

    updates: Updates = key(
        "When parts of the configuration are brought up to date.", record(Updates), default=Updates()
    )


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """The rule, where it is wanted and can work; no rule, where it is not."""
    wanted = "hotplug" in config.updates.network.when
    if facts.which("udevadm") is None:
        return (note("udevadm is not installed: there is nobody to tell of devices"),)
    is_supported = facts.cloud.name in SUPPORTED
    if wanted and is_supported:
        rule = RULE.encode()
        return () if facts.read_bytes(RULE_FILE) == rule else (WriteFile(RULE_FILE, rule), RELOAD)
    remove: tuple[Action, ...] = (Remove(RULE_FILE), RELOAD) if facts.exists(RULE_FILE) else ()
    if not wanted:
        return remove
    text = f"hotplug is asked for, and the source {facts.cloud.name} does not support it"
    return (*remove, warn(f"updates.network.when: {text}"))


MODULE = Module("install_hotplug", Config, plan)
