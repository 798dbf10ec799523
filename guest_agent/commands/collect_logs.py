"""`cloud-init collect-logs`: logs and state in one archive, for whoever helps. Source: guest-agent.md 5.1."""

from __future__ import annotations

import os
import sys

from boot_stages.commands import Command
from boot_stages.version import VERSION
from guest_agent.state import CLOUD, RUN

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    import tarfile
    from collections.abc import Iterator

    from guest_agent.machine import Machine

LOGS = ("/var/log/cloud-init.log", "/var/log/cloud-init-output.log")
TREES = (RUN, "/etc/cloud", "/etc/netplan", f"{CLOUD}/data", f"{CLOUD}/instance")
JOURNALS = {"journal.txt": "0", "journal-previous.txt": "-1"}
FILE_LIMIT = 64 * 1024 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `collect-logs`."""
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say what is collected")
    parser.add_argument("-t", "--tarfile", default="cloud-init.tar.gz", help="the archive to make")
    parser.add_argument(
        "-u", "--include-userdata", action="store_true", help="does nothing: it is always there"
    )
    parser.add_argument("-r", "--redact", action="store_true", help="leave out what only root may read")


def run(arguments: argparse.Namespace, machine: Machine) -> int:
    """Make the archive; what cannot be read is left out."""
    import io
    import tarfile
    import time

    if os.geteuid() != 0:
        print(
            "To collect all logs, root user is required. Try: sudo cloud-init collect-logs", file=sys.stderr
        )
        return 1
    top = f"cloud-init-logs-{time.strftime('%Y-%m-%d', time.gmtime(machine.clock().epoch_s))}"
    try:
        descriptor = os.open(arguments.tarfile, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        print(f"Cannot write {arguments.tarfile}: {error.strerror}", file=sys.stderr)
        return 1
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in _texts(machine):
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(content)
            member.mode = 0o600
            archive.addfile(member, io.BytesIO(content))
        for path in _paths(machine, is_redacted=arguments.redact):
            _add(archive, machine, path, f"{top}{path}", is_verbose=bool(arguments.verbose))
    print(f"Wrote {os.path.abspath(arguments.tarfile)}", file=sys.stderr)
    return 0


def _texts(machine: Machine) -> Iterator[tuple[str, bytes]]:
    """What programs say; a program that is missing says so in its place."""
    yield "version", f"cloud-init {VERSION}\n".encode()
    yield "dmesg.txt", _said(machine, "dmesg")
    for name, boot in JOURNALS.items():
        yield name, _said(machine, "journalctl", f"--boot={boot}", "-o", "short-precise")


def _said(machine: Machine, *argv: str) -> bytes:
    answer = machine.commands.run(Command(argv, timeout_s=60.0, question=True))
    return answer.out or answer.err


def _paths(machine: Machine, *, is_redacted: bool) -> Iterator[str]:
    """Regular files of the logs and trees, links followed only at the top of a tree."""
    for path in LOGS:
        if os.path.isfile(machine.path(path)):
            yield path
    for tree in TREES:
        real = machine.path(tree)
        for directory, _names, files in os.walk(os.path.realpath(real) if machine.is_live else real):
            for name in sorted(files):
                place = os.path.join(directory, name)
                is_plain = os.path.isfile(place) and not os.path.islink(place)
                if is_plain and not (is_redacted and not os.stat(place).st_mode & 0o044):
                    yield place[len(machine.root.rstrip("/")) :]


def _add(archive: tarfile.TarFile, machine: Machine, path: str, name: str, *, is_verbose: bool) -> None:
    import io
    import tarfile

    try:
        with open(machine.path(path), "rb") as file:
            content = file.read(FILE_LIMIT)
    except OSError as error:
        print(f"left out {path}: {error.strerror}", file=sys.stderr)
        return
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o600
    archive.addfile(member, io.BytesIO(content))
    if is_verbose:
        print(f"collected {path}", file=sys.stderr)
