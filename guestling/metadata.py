"""Show the metadata of an instance document as a guest would see it, without a server."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from guestling import output

if TYPE_CHECKING:
    from instance_metadata.instance import Instance

DIALECTS = ("openstack", "ec2", "nocloud")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`metadata show INSTANCE [PATH]`."""
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = commands.add_parser("show", help="print one file, or list them all")
    show.add_argument("instance", type=Path, metavar="INSTANCE", help="an instance document, YAML or JSON")
    show.add_argument(
        "path", nargs="?", metavar="PATH", help="such as latest/meta_data.json; all names without it"
    )
    show.add_argument("--dialect", choices=DIALECTS, default="openstack")
    show.add_argument("--ec2-profile", choices=("nova", "aws"), default="nova")
    output.add_format(show)


def run(arguments: argparse.Namespace) -> int:
    """0 shown, 1 no such path, 2 the document is refused."""
    from instance_metadata.errors import InvalidInstance
    from instance_metadata.instance import read

    try:
        instance = read(arguments.instance.read_bytes(), str(arguments.instance))
    except OSError as error:
        output.complain(f"{arguments.instance}: cannot be read: {error.strerror}. Name an instance document.")
        return 2
    except InvalidInstance as refused:
        output.complain(*refused.faults)
        return 2
    output.complain(*instance.warnings)
    files = _files(instance, arguments)
    return _list(files, arguments) if arguments.path is None else _print(files, arguments)


def _files(instance: Instance, arguments: argparse.Namespace) -> dict[str, bytes]:
    """Path -> body of the dialect's tree, with its listings."""
    import os
    from datetime import UTC, datetime

    from instance_metadata import documents, ec2, nocloud

    if arguments.dialect == "nocloud":
        return nocloud.tree(instance)
    if arguments.dialect == "ec2":
        return {
            f"{version}/{path}".rstrip("/"): body
            for version in ec2.versions(arguments.ec2_profile)
            for path, body in ec2.files(instance, version, arguments.ec2_profile).items()
        }
    tree = documents.http_tree(instance, random_seed=os.urandom(512), today=datetime.now(UTC).date())
    return {path.removeprefix("openstack/"): body for path, body in tree.items()}


def _list(files: dict[str, bytes], arguments: argparse.Namespace) -> int:
    if arguments.format == "json":
        output.print_json({path: _text(body) for path, body in files.items()})
    else:
        output.print_rows(("path", "bytes"), [(path or "/", len(body)) for path, body in files.items()])
    return 0


def _print(files: dict[str, bytes], arguments: argparse.Namespace) -> int:
    path = arguments.path.strip("/").removeprefix(f"{arguments.dialect}/")
    body = files.get(path)
    if body is None:
        output.complain(
            f"{arguments.instance}: {arguments.path}: no such file here. Leave PATH out to list them."
        )
        return 1
    if arguments.format == "json":
        output.print_json({"path": path, "body": _text(body)})
        return 0
    sys.stdout.flush()
    sys.stdout.buffer.write(body)
    return 0


def _text(body: bytes) -> str | dict[str, str]:
    """Text as it is, other bytes as base64."""
    import base64

    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}
