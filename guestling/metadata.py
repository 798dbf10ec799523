"""Show the metadata of an instance document as a guest would see it, without a server."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guestling import output

if TYPE_CHECKING:
    from instance_metadata.instance import Instance

DIALECTS = ("openstack", "ec2", "nocloud")


class _AnyOrder(argparse.ArgumentParser):
    """Takes PATH after the options as well: `show web-1.yaml --dialect ec2 latest`."""

    _inside = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._inside:
            return super().parse_known_args(args, namespace)
        self._inside = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._inside = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`metadata show INSTANCE [PATH]`."""
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=_AnyOrder)
    show = commands.add_parser("show", help="print one file, or list them all")
    show.add_argument("instance", type=Path, metavar="INSTANCE", help="an instance document, YAML or JSON")
    show.add_argument(
        "path", nargs="?", metavar="PATH", help="such as latest/meta_data.json; all names without it"
    )
    show.add_argument("--dialect", choices=DIALECTS, default="openstack")
    show.add_argument("--ec2-profile", choices=("nova", "aws"), default="nova")
    show.add_argument("--network", action="store_true", help="draw links and networks instead, as text")
    show.add_argument("--svg", type=Path, metavar="FILE", help="with --network: as a picture into FILE")
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
    if arguments.network:
        return _draw(_files(instance, arguments), arguments)
    if arguments.path is not None:
        return _print(instance, arguments)
    return _list(_files(instance, arguments), arguments)


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


def _draw(files: dict[str, bytes], arguments: argparse.Namespace) -> int:
    """The links and networks that `network_data.json` names; 1 when the instance has none."""
    import json

    from instance_metadata import picture

    document = files.get("latest/network_data.json")
    if document is None:
        output.complain(f"{arguments.instance}: the instance has no network: its guest falls back to DHCP.")
        return 1
    network = json.loads(document)
    if arguments.svg is not None:
        arguments.svg.write_text(picture.as_svg(network))
    elif arguments.format == "json":
        output.print_json(network)
    else:
        print(picture.as_text(network))
    return 0


def _list(files: dict[str, bytes], arguments: argparse.Namespace) -> int:
    if arguments.format == "json":
        output.print_json({path: _text(body) for path, body in files.items()})
    else:
        output.print_rows(("path", "bytes"), [(path or "/", len(body)) for path, body in files.items()])
    return 0


def _print(instance: Instance, arguments: argparse.Namespace) -> int:
    body = _asked(instance, arguments)
    if body is None:
        output.complain(
            f"{arguments.instance}: {arguments.path}: not found here. Leave PATH out to list all names."
        )
        return 1
    if arguments.format == "json":
        output.print_json({"path": arguments.path, "body": _text(body)})
        return 0
    sys.stdout.flush()
    sys.stdout.buffer.write(body)
    return 0


def _asked(instance: Instance, arguments: argparse.Namespace) -> bytes | None:
    """What the server's own rules answer to this path, None when that is not 200."""
    import time

    from metadata_server.http import Request
    from metadata_server.pages import Options
    from metadata_server.responder import Context, Send, respond
    from metadata_server.seeds import Seeds

    options = Options(ec2_profile=arguments.ec2_profile, profiles=frozenset(DIALECTS))
    prefix = "" if arguments.dialect == "ec2" else f"/{arguments.dialect}"
    path = arguments.path.strip("/").removeprefix(f"{arguments.dialect}/")
    outcome = respond(Request("GET", f"{prefix}/{path}"), instance, time.time(), Context(options=options))
    if not isinstance(outcome, Send):
        return None
    seed = Seeds().take() if outcome.page.rest else b""
    return outcome.page.body + seed + outcome.page.rest


def _text(body: bytes) -> str | dict[str, str]:
    """Text as it is, other bytes as base64."""
    import base64

    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}
