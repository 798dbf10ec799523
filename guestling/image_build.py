"""`guestling image build`: an image from Debian packages, in the store or as a disk that boots by itself."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from guestling import output

if TYPE_CHECKING:
    from image_harness.debian import Pinning

FORMATS = ("qcow2", "raw")
_SIZE = re.compile(r"(\d+)([KMGT]?)")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_DATE = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)(?:T(\d{6})Z)?")


class _Unreadable(Exception):
    """An argument that cannot be followed; the text says what to do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `guestling image build`."""
    parser.add_argument(
        "name", metavar="NAME", help="tiny, debian-12, debian-13, debian-sid, debian-13-cloud-init"
    )
    parser.add_argument(
        "--refresh", action="store_true", help="fetch the packages anew, for security updates"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE",
        help="also make a disk that UEFI and BIOS boot; its manifest goes to FILE.manifest.json",
    )  # fmt: skip
    parser.add_argument("--disk-format", choices=FORMATS, help="default: by the name of FILE, else qcow2")
    parser.add_argument(
        "--size", metavar="SIZE", help="of that disk, as 8G; the root grows at its first boot"
    )
    parser.add_argument(
        "--snapshot-date", metavar="DATE",
        help="packages as they were then: 2026-01-31 or 20260131T120000Z (GUESTLING_SNAPSHOT_MIRROR)",
    )  # fmt: skip
    parser.add_argument(
        "--like",
        type=Path,
        metavar="MANIFEST",
        help="exactly the versions of this manifest of an earlier build",
    )
    output.add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Exit status 0 done, 2 for arguments that cannot be followed. Raises HarnessError."""
    from image_harness import images

    try:
        pinning = _pinning(arguments.snapshot_date, arguments.like)
        size_bytes = _size(arguments.size)
        if arguments.output is None and (arguments.size or arguments.disk_format):
            raise _Unreadable("--size and --disk-format are of a disk. Give its name with -o FILE")
    except _Unreadable as error:
        output.complain(f"guestling image build: {error}.")
        return 2
    say = output.complain if arguments.format == "table" else lambda _: None
    built = images.build(arguments.name, say, refresh=arguments.refresh, pinning=pinning)
    from guestling.image import facts

    told = {**facts(built.image), "cached": built.cached}
    if arguments.output is not None:
        from image_harness.bootable import disk

        kind = arguments.disk_format or ("raw" if arguments.output.suffix in {".raw", ".img"} else "qcow2")
        composed = disk.compose(
            built.image, arguments.output, qcow2=kind == "qcow2", size_bytes=size_bytes, say=say
        )
        manifest = arguments.output.with_name(f"{arguments.output.name}.manifest.json")
        manifest.write_text(json.dumps(disk.manifest(built.image, composed), indent=1) + "\n")
        told |= {
            "disk": str(arguments.output), "disk_format": kind, "disk_bytes": composed.size_bytes,
            "manifest": str(manifest), "boots": "UEFI, BIOS",
        }  # fmt: skip
    if arguments.format == "json":
        output.print_json(told)
    else:
        output.print_pairs(told)
    return 0


def _size(text: str | None) -> int | None:
    """Bytes. Raises _Unreadable."""
    if text is None:
        return None
    found = _SIZE.fullmatch(text.upper())
    if found is None:
        raise _Unreadable(f"--size {text}: this is no size. Write 8G, 512M or a number of bytes")
    return int(found[1]) * _UNITS[found[2]]


def _pinning(date: str | None, like: Path | None) -> Pinning:
    """Raises _Unreadable for what is no date and no manifest."""
    from image_harness.debian import NEWEST, Pinning

    snapshot = ""
    if date is not None:
        found = _DATE.fullmatch(date)
        if found is None:
            raise _Unreadable(
                f"--snapshot-date {date}: this is no date. Write 2026-01-31 or 20260131T120000Z"
            )
        snapshot = f"{found[1]}{found[2]}{found[3]}T{found[4] or '000000'}Z"
    if like is None:
        return Pinning(snapshot) if snapshot else NEWEST
    try:
        document = json.loads(like.read_text())
        versions = tuple((str(each["name"]), str(each["version"])) for each in document["packages"])
        return Pinning(snapshot, versions, int(document.get("epoch_s", 0)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _Unreadable(
            f"--like {like}: this is no manifest ({error}). Give manifest.json of a build"
        ) from error
