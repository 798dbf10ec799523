"""`cloud-init devel hotplug-hook`: udev says that a NIC came or went; the network config is written anew.

Source: guest-agent.md 1.8, 5.7.
"""

from __future__ import annotations

from boot_stages.log import logger
from guest_agent import init_stages, network_apply
from guest_agent.boot import Boot
from guest_agent.state import CLOUD, Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from guest_agent.datasources.source_data import SourceData
    from guest_agent.machine import Machine

LOG = logger("hotplug_hook")

SUBSYSTEM = "net"
EVENT = "hotplug"
MARKER = f"{CLOUD}/hotplug.enabled"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `hotplug-hook`."""
    parser.add_argument("-s", "--subsystem", required=True, choices=[SUBSYSTEM])
    actions = parser.add_subparsers(dest="hotplug_action", metavar="query|handle", required=True)
    actions.add_parser("query", help="say whether hotplug is enabled")
    handle = actions.add_parser("handle", help="take an event of udev")
    handle.add_argument("-d", "--devpath", required=True, metavar="PATH")
    handle.add_argument("-u", "--udevaction", required=True, choices=["add", "remove"])


def run(arguments: argparse.Namespace, machine: Machine) -> int:
    """`query` prints enabled or disabled; `handle` applies the network config of the source again."""
    boot = Boot(machine)
    boot.use_config()
    boot.source = init_stages.from_cache(boot)
    if boot.source is None:
        machine.output.warn("cloud-init: hotplug needs a datasource, and none is known. Run: cloud-init init")
        return 1
    enabled = _is_enabled(boot, boot.source)
    if arguments.hotplug_action == "query":
        print("enabled" if enabled else "disabled")
        return 0
    if not enabled:
        LOG.debug("hotplug of %s is not enabled", arguments.subsystem)
        return 0
    end_log = boot.log.start()
    try:
        with Lock(machine):
            return _handle(boot, arguments.devpath, arguments.udevaction)
    finally:
        end_log()


def _is_enabled(boot: Boot, source: SourceData) -> bool:
    return boot.machine.exists(MARKER) or EVENT in network_apply.allowed_events(boot.config, source)


def _handle(boot: Boot, devpath: str, action: str) -> int:
    """Read the source again, write the network config, bring it up."""
    source = init_stages.refresh(boot)
    LOG.info("hotplug: %s %s", action, devpath)
    applied = network_apply.apply(
        boot.machine,
        boot.config,
        boot.distro().name,
        source,
        boot.instance_directory,
        is_new=True,
        bring_up=True,
    )
    return 0 if applied is not None else 1
