"""`cloud-init clean`: make this machine forget that it was ever booted. Source: guest-agent.md 5.5 (D7)."""

from __future__ import annotations

import os
import sys

from boot_stages.commands import Command
from boot_stages.paths import below
from guest_agent.log import DEFAULT_LOG_FILE
from guest_agent.output import tee_file, ways_of
from guest_agent.state import CLOUD

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from guest_agent.machine import Machine

MACHINE_ID = "/etc/machine-id"
CLEAN_D = "/etc/cloud/clean.d"
FSTAB = "/etc/fstab"
FSTAB_MARK = "comment=cloudconfig"
# What each renderer can write, as glob patterns: all of it, whichever wrote (D7).
NETWORK = (
    "/etc/netplan/50-cloud-init.yaml",
    "/etc/network/interfaces.d/50-cloud-init",
    "/etc/network/interfaces.d/50-cloud-init.cfg",
    "/etc/systemd/network/10-cloud-init-*.network",
    "/etc/systemd/network/10-cloud-init-*.netdev",
    "/etc/NetworkManager/system-connections/cloud-init-*.nmconnection",
    "/etc/NetworkManager/conf.d/30-cloud-init-ip6-addr-gen-mode.conf",
    "/etc/NetworkManager/conf.d/99-cloud-init.conf",
    "/etc/udev/rules.d/70-persistent-net.rules",
)
# Files that other programs write too: only ours are removed.
NETWORK_IF_OURS = (
    "/etc/network/interfaces",
    "/etc/sysconfig/network-scripts/ifcfg-*",
    "/etc/sysconfig/network-scripts/route-*",
    "/etc/sysconfig/network-scripts/route6-*",
)
OUR_MARKS = (
    b"# Created by cloud-init",
    b"# This file is generated from information provided by the datasource",
)
SSH_CONFIG = ("/etc/ssh/sshd_config.d/50-cloud-init.conf",)
CONFIGS = ("all", "ssh_config", "network", "datasource", "fstab")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `clean`."""
    parser.add_argument("-l", "--logs", action="store_true", help="the log files, too")
    parser.add_argument("-r", "--reboot", action="store_true", help="reboot afterwards")
    parser.add_argument("-s", "--seed", action="store_true", help="the seed directory, too")
    parser.add_argument(
        "--machine-id", action="store_true", help="make the next boot choose a new machine id"
    )
    parser.add_argument(
        "-c", "--configs", nargs="+", choices=CONFIGS, default=[], help="files that were made from the config"
    )


def run(arguments: argparse.Namespace, machine: Machine) -> int:
    """0 when everything is gone; 1, and no reboot, when something could not be removed."""
    try:
        for path in _listed(arguments, machine):
            _remove(machine, path)
        if _wants(arguments, "fstab"):
            _clean_fstab(machine)
        if arguments.machine_id:
            _reset_machine_id(machine)
    except OSError as error:
        print(f"Error: could not remove {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    if not _run_clean_d(machine):
        return 1
    if arguments.reboot:
        answer = machine.commands.run(Command(("shutdown", "-r", "now")))
        if answer.status != 0:
            print(f"Could not reboot this system: {answer.tail()}", file=sys.stderr)
            return 1
    return 0


def _wants(arguments: argparse.Namespace, what: str) -> bool:
    return bool({"all", what} & set(arguments.configs))


def _listed(arguments: argparse.Namespace, machine: Machine) -> Iterator[str]:
    """Every path to be removed."""
    if arguments.logs:
        yield from _log_files(machine)
    if _wants(arguments, "network"):
        for pattern in NETWORK:
            yield from _matching(machine, pattern)
        for pattern in NETWORK_IF_OURS:
            yield from (path for path in _matching(machine, pattern) if _is_ours(machine, path))
    if _wants(arguments, "ssh_config"):
        yield from SSH_CONFIG
    try:
        names = sorted(os.listdir(machine.path(CLOUD)))
    except FileNotFoundError:
        print(f"{CLOUD} is not there: nothing to clean", file=sys.stderr)
        return
    for name in names:
        if name != "seed" or arguments.seed:
            yield f"{CLOUD}/{name}"


def _log_files(machine: Machine) -> Iterator[str]:
    """The log, and the files that `output:` sends to; never a device."""
    from guest_agent import config

    values: dict[str, object] = dict(config.system(machine).values)  # type: ignore[arg-type]  # keys are texts
    named = [str(values.get("def_log_file") or DEFAULT_LOG_FILE)]
    for mode in ("init", "config", "final"):
        named.extend(tee_file(way) or way.lstrip("> ") for way in ways_of(values, mode))
    for path in dict.fromkeys(named):
        if path.startswith("/") and os.path.isfile(below(machine.root, path)):
            yield path


def _matching(machine: Machine, pattern: str) -> list[str]:
    import fnmatch

    directory, _, last = pattern.rpartition("/")
    try:
        names = sorted(os.listdir(machine.path(directory)))
    except OSError:
        return []
    return [f"{directory}/{name}" for name in names if fnmatch.fnmatchcase(name, last)]


def _is_ours(machine: Machine, path: str) -> bool:
    head = (machine.read_bytes(path) or b"")[:4096]
    return any(mark in head for mark in OUR_MARKS)


def _remove(machine: Machine, path: str) -> None:
    """Remove a file, a link (not what it leads to) or a directory with all below it. Raises OSError."""
    directory, _, name = path.rpartition("/")
    place = f"{machine.path(directory)}/{name}"
    if os.path.isdir(place) and not os.path.islink(place):
        import shutil

        shutil.rmtree(place)
    else:
        machine.remove(path)


def _clean_fstab(machine: Machine) -> None:
    text = machine.read_text(FSTAB)
    if text is None:
        return
    kept = [line for line in text.splitlines(keepends=True) if FSTAB_MARK not in line]
    if len(kept) != len(text.splitlines()):
        machine.write(FSTAB, "".join(kept), os.stat(machine.path(FSTAB)).st_mode & 0o7777)


def _reset_machine_id(machine: Machine) -> None:
    if machine.exists("/run/systemd/system") or machine.commands.which("systemctl"):
        machine.write(MACHINE_ID, "uninitialized\n", 0o444)
    else:
        machine.remove(MACHINE_ID)


def _run_clean_d(machine: Machine) -> bool:
    """Run what the image wants to clean itself with, in the order of the names."""
    is_good = True
    for path in _matching(machine, f"{CLEAN_D}/*"):
        place = machine.path(path)
        if not os.path.isfile(place) or not os.access(place, os.X_OK):
            continue
        answer = machine.commands.run(Command((path,), show=True))
        if answer.status != 0:
            print(f"Error: {path} failed with exit status {answer.status}: {answer.tail()}", file=sys.stderr)
            is_good = False
    return is_good
