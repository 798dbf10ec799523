"""Images: build one, list what is there, show what one is made of, seal and compare roots."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from guestling import image_bake, image_build, image_packages, image_seal, output

if TYPE_CHECKING:
    from image_harness.store import Image


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `guestling image`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = actions.add_parser("build", help="build an image from Debian packages, or find it built")
    image_build.add_arguments(build)
    adding = actions.add_parser("add", help="put an image file from elsewhere into the store")
    adding.add_argument("file", type=Path, metavar="FILE", help="a disk: raw, qcow2, vmdk or vhd")
    adding.add_argument("--name", required=True, help="what it is asked for by")
    adding.add_argument(
        "--property", action="append", default=[], metavar="KEY=VALUE",
        help="an image property as Glance names it: min_ram=512, hw_disk_bus=scsi, ... (repeat for more)",
    )  # fmt: skip
    deleting = actions.add_parser("delete", help="remove an image, all builds of it, from the store")
    deleting.add_argument("name", metavar="NAME")
    listing = actions.add_parser("list", help="what is in the store")
    show = actions.add_parser("show", help="packages, versions and checksums of one image")
    show.add_argument("name", metavar="NAME")
    for each in (adding, deleting, listing, show):
        output.add_format(each)
    image_seal.add_seal(actions.add_parser("seal", help="make, or prove, a root clean for a first boot"))
    image_seal.add_diff(actions.add_parser("diff", help="what differs between two roots"))
    image_bake.add_arguments(
        actions.add_parser("bake", help="put the agent into an image file, without booting it")
    )
    image_packages.add_arguments(
        actions.add_parser("packages", help="the agent as .deb, .rpm, .apk and as one file")
    )


def run(arguments: argparse.Namespace) -> int:
    """Exit status 1 for what could not be built or is not there, 2 for a name that is none."""
    from image_harness.errors import HarnessError, UnknownImage

    try:
        return _ACTIONS[arguments.action](arguments)
    except HarnessError as error:
        output.complain(error)
        return 2 if isinstance(error, UnknownImage) else 1


def _add(arguments: argparse.Namespace) -> int:
    from image_harness import added
    from image_harness.errors import InvalidImage

    properties = dict(text.partition("=")[::2] for text in arguments.property)
    if bad := [text for text in arguments.property if not text.partition("=")[0] or "=" not in text]:
        output.complain(f"--property {bad[0]}: this is no KEY=VALUE. Write it as hw_disk_bus=virtio.")
        return 2
    try:
        built = added.add(arguments.file, arguments.name, properties)
    except OSError as error:
        output.complain(
            f"{error.filename or arguments.file}: {error.strerror}. Give a file that can be read."
        )
        return 2
    except InvalidImage as error:
        output.complain(error)
        return 2
    _print({**facts(built.image), "cached": built.cached}, arguments.format)
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    from image_harness import images

    _print({"name": arguments.name, "deleted": images.delete(arguments.name)}, arguments.format)
    return 0


def _print(facts: Mapping[str, object], form: str) -> None:
    if form == "json":
        output.print_json(facts)
    else:
        output.print_pairs(facts)


def _list(arguments: argparse.Namespace) -> int:
    from image_harness import store

    found = [facts(image) for image in store.images()]
    if arguments.format == "json":
        output.print_json(found)
    else:
        columns = ("name", "digest", "suite", "kernel", "size_mb", "built")
        output.print_rows(columns, [[each[column] for column in columns] for each in found])
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from image_harness import images

    image = images.show(arguments.name)
    packages = [asdict(package) for package in image.manifest.packages]
    if arguments.format == "json":
        output.print_json({**facts(image), "packages": packages})
    else:
        output.print_pairs(facts(image))
        print()
        output.print_rows(("package", "version", "sha256"), [list(package.values()) for package in packages])
    return 0


def facts(image: Image) -> dict[str, object]:
    manifest = image.manifest
    return {
        "name": manifest.name, "digest": manifest.digest, "suite": manifest.suite, "kernel": manifest.kernel,
        "agent": manifest.agent, "built": manifest.built, "size_mb": round(image.size_bytes / 1e6),
        "cmdline": manifest.cmdline, "directory": str(image.directory),
        "properties": " ".join(f"{name}={value}" for name, value in manifest.properties.items()),
    }  # fmt: skip


_ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "add": _add,
    "build": image_build.run,
    "delete": _delete,
    "list": _list,
    "show": _show,
    "seal": image_seal.seal,
    "diff": image_seal.diff,
    "packages": image_packages.run,
    "bake": image_bake.run,
}
