"""`cloud-init init`, `modules` and `--all-stages`: what a boot runs. Source: guest-agent.md 1.1, 1.7, 5.1."""

from __future__ import annotations

import os

from boot_stages.commands import SystemCommands
from boot_stages.stages import CONFIG, FINAL, LOCAL, NETWORK
from guest_agent import stop
from guest_agent.boot import Boot

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from guest_agent.machine import Machine

ALL = "all"
STAGE_BY_NAME = {"init-local": LOCAL, "init": NETWORK, "modules-config": CONFIG, "modules-final": FINAL}
MODES = ("init", "config", "final")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `init` and of `modules`: which one it is, its name says."""
    parser.add_argument("-f", "--file", action="append", default=[], dest="files", help="more config")
    if parser.prog.endswith(" init"):
        parser.add_argument("-l", "--local", action="store_true", help="the stage before the network")
    else:
        parser.add_argument("-m", "--mode", choices=MODES, default="config", help="whose modules")


def run(arguments: argparse.Namespace, machine: Machine) -> int:
    """Run the stage that the arguments name; the number of its errors."""
    files = tuple(arguments.files)
    boot = Boot(machine, is_verbose=arguments.debug, force=arguments.force, files=files, is_one_of_four=True)
    if arguments.command == "init":
        return _until_stopped(machine, lambda: boot.run(LOCAL if arguments.local else NETWORK))
    if arguments.mode == "init":
        return _until_stopped(machine, lambda: _init_modules(boot))
    return _until_stopped(machine, lambda: boot.run(CONFIG if arguments.mode == "config" else FINAL))


def run_stage(machine: Machine, name: str, *, is_verbose: bool = False, force: bool = False) -> int:
    """Run one stage by its key in status.json, or all of them."""
    import gc

    # A boot is short and makes few cycles: looking for them costs a tenth of its time.
    gc.disable()
    if name != ALL:
        boot = Boot(machine, is_verbose=is_verbose, force=force, is_one_of_four=True)
        return _until_stopped(machine, lambda: boot.run(STAGE_BY_NAME[name]))
    from guest_agent import all_stages

    is_by_hand = os.isatty(0)
    brings_up = is_by_hand and not os.path.isdir(machine.path("/run/systemd/system"))
    boot = Boot(machine, is_verbose=is_verbose, force=force, brings_up_network=brings_up)
    return _until_stopped(machine, lambda: all_stages.run(boot, is_by_hand=is_by_hand))


def _until_stopped(machine: Machine, work: Callable[[], int]) -> int:
    """Do the work; 0 when a signal ended it, which is not an error of the boot (guest-agent.md 6)."""
    if machine.is_live:
        os.chdir("/")
        if isinstance(machine.commands, SystemCommands):
            machine.commands.shield()
    stop.on_signals(machine)
    try:
        return work()
    except stop.Stopped:
        return 0


def _init_modules(boot: Boot) -> int:
    """`modules --mode init`: the first list again, without status.json."""
    from guest_agent import init_stages, module_stages
    from guest_agent.state import Lock

    end_log = boot.log.start()
    try:
        with Lock(boot.machine):
            boot.use_config()
            boot.source = init_stages.from_cache(boot)
            if boot.source is None:
                boot.machine.output.warn(
                    "cloud-init: no datasource was found in this boot; run: cloud-init init"
                )
                return 1
            boot.use_config()
            return len(module_stages.run(boot, NETWORK.key))
    finally:
        end_log()
