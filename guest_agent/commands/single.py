"""`cloud-init single`: run one module. Source: guest-agent.md 5.1."""

from __future__ import annotations

from boot_stages import registry
from boot_stages.module import ALWAYS, ONCE, PER_INSTANCE
from boot_stages.stages import CONFIG
from guest_agent import init_stages, listeners, module_stages
from guest_agent.boot import Boot
from guest_agent.state import AnotherAgent, Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from guest_agent.machine import Machine

FREQUENCIES = {"instance": PER_INSTANCE, "always": ALWAYS, "once": ONCE}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `single`."""
    parser.add_argument("-n", "--name", required=True, help="the module")
    parser.add_argument("--frequency", choices=sorted(FREQUENCIES), help="instead of the module's own")
    parser.add_argument("--report", action="store_true", help="tell the configured reporters")
    parser.add_argument("-f", "--file", action="append", default=[], dest="files", help="more config")
    parser.add_argument("module_args", nargs="*", metavar="argument", help="handed to the module")


def run(arguments: argparse.Namespace, machine: Machine) -> int:
    """0 when it ran well; 1 for an unknown module, a failed run or no datasource."""
    if registry.entry(arguments.name) is None:
        machine.output.warn(
            f"Did not run module {arguments.name}: there is no such module. See the lists of cloud.cfg"
        )
        return 1
    boot = Boot(machine, is_verbose=arguments.debug, force=arguments.force, files=tuple(arguments.files))
    end_log = boot.log.start()
    try:
        with Lock(machine):
            return _run(boot, arguments)
    except AnotherAgent as error:
        machine.output.warn(str(error))
        return 1
    finally:
        end_log()


def _run(boot: Boot, arguments: argparse.Namespace) -> int:
    boot.use_config()
    boot.source = init_stages.from_cache(boot)
    if boot.source is None:
        boot.machine.output.warn("Failed to fetch your datasource: none is known. Run: cloud-init init")
        return 1
    boot.use_config()
    boot.reporter.listeners = listeners.configured(boot.machine, boot.config) if arguments.report else []
    item: list[object] = [arguments.name, FREQUENCIES.get(arguments.frequency), *arguments.module_args]
    errors = module_stages.run(boot, CONFIG.key, [item])
    for error in errors:
        boot.machine.output.warn(f"module {arguments.name} failed: {error}")
    return 1 if errors else 0
