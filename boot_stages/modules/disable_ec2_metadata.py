"""`disable_ec2_metadata`: close the way to 169.254.169.254 on every boot. Source: guest-agent.md 3.3."""

from __future__ import annotations

from boot_stages.actions import RunCommand
from boot_stages.errors import ModuleFailed
from boot_stages.module import Module
from boot_stages.schema import BOOL, Keys, key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.actions import Action
    from boot_stages.facts import Facts

METADATA = "169.254.169.254"


class Config(Keys):
    """Keys of `disable_ec2_metadata`."""

    disable_ec2_metadata: bool = key("Prohibit the route to the metadata service.", BOOL, default=False)


def plan(config: Config, facts: Facts) -> tuple[Action, ...]:
    """One route, unless it is there."""
    if not config.disable_ec2_metadata:
        return ()
    if facts.which("ip") is not None:
        if b"prohibit" in facts.ask("ip", "route", "show", METADATA).out:
            return ()
        return (RunCommand(("ip", "route", "add", "prohibit", METADATA)),)
    if facts.which("ifconfig") is not None:
        return (RunCommand(("route", "add", "-host", METADATA, "reject")),)
    raise ModuleFailed("disable_ec2_metadata: neither ip nor ifconfig is installed. Install iproute2")


MODULE = Module("disable_ec2_metadata", Config, plan)
