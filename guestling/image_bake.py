"""`guestling image bake`: put the agent, and what of user data can be done offline, into an image file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guestling import output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `guestling image bake`."""
    parser.add_argument("image", type=Path, metavar="IMAGE", help="a raw or qcow2 file with a Linux in it")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT",
        help="where the result goes (default: in the place of IMAGE)",
    )
    parser.add_argument(
        "--user-data",
        type=Path,
        metavar="FILE",
        help="do offline what can be done, leave the rest for the first boot",
    )
    parser.add_argument(
        "--vendor-data",
        type=Path,
        metavar="FILE",
        help="a cloud-config of yours, below that of clouds and users",
    )
    parser.add_argument(
        "--datasource",
        action="append",
        default=[],
        metavar="NAME",
        help="a source to look for, in this order",
    )
    parser.add_argument(
        "--package",
        action="store_true",
        help="by the image's package manager, which removes a cloud-init that is there",
    )
    output.add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Exit status 0 done, 1 it does not fit into the image, 2 input that cannot be read."""
    from guestling.user_data_files import UnreadableDocument
    from image_harness import bake
    from image_harness.errors import NotAnImage
    from spawner.errors import SpawnerError

    try:
        order = bake.Order(
            by_package=arguments.package,
            datasources=_datasources(arguments.datasource),
            vendor_data=_checked(arguments.vendor_data, "vendor-data"),
            user_data=_checked(arguments.user_data, "user-data"),
        )
    except UnreadableDocument as error:
        output.complain(error)
        return 2
    out: Path = arguments.output or arguments.image
    say = output.complain if arguments.format == "table" else lambda _: None
    try:
        done = bake.bake(order, arguments.image, out, say)
    except NotAnImage as error:
        output.complain(error)
        return 2
    except SpawnerError as error:
        output.complain(error)
        return 1
    if arguments.format == "json":
        output.print_json({"image": str(out), **done})
    else:
        _show(out, done)
    return 0


def _datasources(names: list[str]) -> tuple[str, ...]:
    """The names, as the agent has them. Raises UnreadableDocument for one that is none."""
    from guest_agent.datasources import DEFAULT_LIST as NAMES
    from guestling.user_data_files import UnreadableDocument

    known = {name.lower(): name for name in NAMES}
    for name in names:
        if name.lower() not in known:
            raise UnreadableDocument(f"--datasource: {name}: there is none. Use {', '.join(NAMES)}.")
    return tuple(known[name.lower()] for name in names)


def _checked(path: Path | None, source: str) -> str | None:
    """The text of a document without faults. Raises UnreadableDocument with all that is wrong."""
    from guest_agent.user_data import Script
    from guestling import user_data_files as files

    if path is None:
        return None
    document = files.read(path, source)
    faults = [str(fault) for fault in document.faults]
    faults += [
        f"{path}: a {type(step).__name__.lower()} cannot be baked. Give it to the instance."
        for step in document.meaning.steps
        if not isinstance(step, Script) or source == "vendor-data"
    ]
    if faults:
        raise files.UnreadableDocument("\n".join(faults))
    try:
        return document.raw.decode()
    except UnicodeDecodeError as error:
        raise files.UnreadableDocument(f"{path}: it is no text. Unpack it first.") from error


def _show(out: Path, done: Mapping[str, Any]) -> None:
    from image_harness.narrator import printable

    root = done["root"]
    print(f"{out}: the agent is in {printable(str(done['system']))}, cloud-init there: {done['cloud_init']}.")
    print(f"its root: {printable(str(root['device']))} ({root['kind']})")
    for each in done["performed"]:
        for action in each["actions"]:
            print(printable(f"done: {each['module']}: {action}"))
    for each in done["left"]:
        print(printable(f"left for the first boot: {each['module']}: {each['why']}"))
    for path in done["scripts"]:
        print(printable(f"left for the first boot: {path}"))
    for note in done["notes"]:
        print(printable(f"note: {note}"))
