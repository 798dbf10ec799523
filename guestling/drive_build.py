"""`guestling drive build` and `convert`: everything that writes a drive."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from types import FrameType

from configdrive import builder, envelope, plain_files, reader, whole
from configdrive.errors import DriveError, UnwritableOutput
from configdrive.layouts import LABELS, NOCLOUD, OPENSTACK, layout_of
from configdrive.tree import plant
from guestling.output import complain, print_json, print_pairs
from instance_metadata import documents, nocloud
from instance_metadata.errors import InvalidInstance
from instance_metadata.instance import Instance
from instance_metadata.instance import read as read_instance
from instance_metadata.versions import OPENSTACK as VERSIONS

_PLAIN = ("user_data", "meta_data", "network_config", "vendor_data")
_SEED_BYTES = 512


class _UsageError(Exception):
    """Arguments that do not go together; the text says which and what to do."""


def build(arguments: argparse.Namespace) -> int:
    """Build a drive from an instance document or plain files."""
    try:
        layout, tree = _tree(arguments)
        return _write(arguments, tree, arguments.label or LABELS[layout][0])
    except _UsageError as error:
        complain(f"guestling drive build: {error}. See `guestling drive build --help`. error=usage")
    except InvalidInstance as error:
        complain(*(f"{fault} error=instance-invalid" for fault in error.faults))
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}. Name a file that can be read. error=input-unreadable")
    except DriveError as error:
        return _failed(arguments, arguments.output, error)
    return 2


def convert(arguments: argparse.Namespace) -> int:
    """Write the tree of any drive in another format; keeps its label unless another is given."""
    try:
        drive = reader.inspect(arguments.drive)
    except DriveError as error:
        return _failed(arguments, arguments.drive, error)
    label = arguments.label or drive.label or LABELS[layout_of(drive.tree) or OPENSTACK][0]
    try:
        return _write(arguments, drive.tree, label)
    except DriveError as error:
        return _failed(arguments, arguments.output, error)


def _failed(arguments: argparse.Namespace, place: str, error: DriveError) -> int:
    complain(f"{place}: {error} error={error.code}")
    if arguments.format == "json" and arguments.output != "-":
        print_json({"error": error.code, "message": str(error)})
    return 1 if isinstance(error, UnwritableOutput) else 2


def _tree(arguments: argparse.Namespace) -> tuple[str, dict[str, bytes]]:
    """The layout and the tree. Raises _UsageError, InvalidInstance, OSError."""
    plain = [name for name in (*_PLAIN, "hostname", "dsmode") if getattr(arguments, name) is not None]
    if arguments.instance is None:
        return NOCLOUD, _plain_tree(arguments)
    if plain:
        raise _UsageError(
            f"--{plain[0].replace('_', '-')} goes with plain files, not with an instance document"
        )
    instance = read_instance(Path(arguments.instance).read_bytes(), arguments.instance)
    complain(*instance.warnings)
    if arguments.layout == NOCLOUD:
        return NOCLOUD, nocloud.tree(instance)
    return OPENSTACK, _openstack_tree(instance, arguments)


def _plain_tree(arguments: argparse.Namespace) -> dict[str, bytes]:
    if arguments.user_data is None and arguments.meta_data is None:
        raise _UsageError("name an instance document, or plain files with --user-data and --meta-data")
    if arguments.layout == OPENSTACK:
        raise _UsageError("plain files make a NoCloud drive; the OpenStack layout needs an instance document")
    if arguments.meta_data is not None and (arguments.hostname or arguments.dsmode):
        raise _UsageError("--hostname and --dsmode stand in for --meta-data: give one or the other")
    files = {name: _content(getattr(arguments, name)) for name in _PLAIN}
    user_data = files.pop("user_data") or b""
    return plain_files.nocloud_tree(user_data, **files, hostname=arguments.hostname, dsmode=arguments.dsmode)


def _content(name: str | None) -> bytes | None:
    if name is None:
        return None
    return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()


def _openstack_tree(instance: Instance, arguments: argparse.Namespace) -> dict[str, bytes]:
    skip: frozenset[str] = frozenset()
    if arguments.versions is not None:
        chosen = arguments.versions.split(",")
        unknown = [version for version in chosen if version not in VERSIONS]
        if unknown:
            raise _UsageError(f"there is no version {unknown[0]!r}; there are {', '.join(VERSIONS)}")
        skip = frozenset(VERSIONS) - frozenset(chosen)
    seed = os.urandom(_SEED_BYTES) if arguments.fresh_seed else _seed(instance)
    # On a drive every version stands, whatever today is: the same instance gives the same bytes on any day.
    tree = documents.tree(
        instance, random_seed=seed, today=date.max, skip_versions=skip - {"latest"}, minimal=arguments.minimal
    )
    unwanted = tuple(f"openstack/{version}/" for version in skip) + (("ec2/",) if arguments.no_ec2 else ())
    return {path: content for path, content in tree.items() if not path.startswith(unwanted)}


def _seed(instance: Instance) -> bytes:
    """The same for the same instance, another for any other: a hash of all that is on its drive."""
    tree = documents.tree(instance, random_seed=b"", today=date.max, minimal=True)
    digest = hashlib.shake_256(b"guestling random_seed")
    for path in sorted(tree):
        digest.update(f"\0{path}\0{len(tree[path])}\0".encode() + tree[path])
    return digest.digest(_SEED_BYTES)


def _write(arguments: argparse.Namespace, tree: Mapping[str, bytes], label: str) -> int:
    """Write the drive whole or not at all, and say what was written. Raises DriveError."""
    with _cleaning_up_when_ended():
        if arguments.filesystem == "dir":
            return _write_directory(arguments, tree)
        filesystem = builder.Format("iso9660" if arguments.filesystem == "iso" else arguments.filesystem)
        size_mib = arguments.size_mib if arguments.size_mib is not None else builder.VFAT_MIB
        used, size = builder.parts(tree, label, filesystem, date_s=None, size_mib=size_mib)
        if arguments.gzip_base64:
            used = envelope.pack(used.ljust(size, b"\0"))
            size = len(used)
        if arguments.output == "-":
            sys.stdout.buffer.write(used.ljust(size, b"\0"))
            sys.stdout.buffer.flush()
            return 0
        whole.write_file(Path(arguments.output), used, size)
    digest = hashlib.sha256(used.ljust(size, b"\0")).hexdigest()
    made = {
        "filesystem": filesystem.value,
        "label": label,
        "bytes": size,
        "files": len(tree),
        "sha256": digest,
    }
    return _say(arguments, made)


def _write_directory(arguments: argparse.Namespace, tree: Mapping[str, bytes]) -> int:
    if arguments.output == "-" or arguments.gzip_base64:
        complain(
            "guestling drive: a directory is neither printed nor packed. Choose iso9660 or vfat. error=usage"
        )
        return 2
    plant(tree)
    whole.write_directory(Path(arguments.output), tree)
    size = sum(map(len, tree.values()))
    return _say(arguments, {"filesystem": "dir", "label": None, "bytes": size, "files": len(tree)})


def _say(arguments: argparse.Namespace, made: Mapping[str, object]) -> int:
    document = {"output": arguments.output, **made}
    if arguments.format == "json":
        print_json(document)
    else:
        print_pairs({name: value for name, value in document.items() if value is not None})
    return 0


@contextlib.contextmanager
def _cleaning_up_when_ended() -> Iterator[None]:
    """SIGTERM ends the command as an exception does, so that nothing unfinished stays behind."""

    def end(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
