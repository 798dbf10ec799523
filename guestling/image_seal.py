"""`guestling image seal` and `guestling image diff`: is an image clean, and what differs between two."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from guestling import output

if TYPE_CHECKING:
    from image_harness.seal import Finding

# As `image_harness.root_diff.ASPECTS` has them, which is not imported before it is asked for.
ASPECTS = ("user", "group", "package", "unit", "file")
_ROOT = "a directory, or a raw file that is an ext4 file system"


def add_seal(parser: argparse.ArgumentParser) -> None:
    """Arguments of `guestling image seal`."""
    parser.add_argument("image", nargs="?", type=Path, metavar="PATH", help=_ROOT)
    parser.add_argument("--root", type=Path, metavar="DIR", help="the root of an image, unpacked or mounted")
    parser.add_argument("--check", action="store_true", help="change nothing: exit 1 if it is not clean")
    output.add_format(parser)


def add_diff(parser: argparse.ArgumentParser) -> None:
    """Arguments of `guestling image diff`."""
    for name in ("first", "second"):
        parser.add_argument(name, type=Path, metavar=name.upper(), help=_ROOT)
    parser.add_argument("--by", action="append", choices=ASPECTS, help="only this; may be given again")
    output.add_format(parser)


def seal(arguments: argparse.Namespace) -> int:
    """Exit status 0 when it is clean, or was made so; 1 when it is not; 2 for what is no image."""
    from image_harness import root_view
    from image_harness import seal as sealing
    from image_harness.errors import NotARoot

    path: Path | None = arguments.root or arguments.image
    if path is None or (arguments.root and arguments.image):
        output.complain("guestling image seal: one root is expected. Give PATH or --root DIR.")
        return 2
    if not arguments.check and path.is_file():
        output.complain(
            f"{path}: files in an image file can be checked, not removed. "
            "Use --check, or seal the root before it is packed."
        )
        return 2
    try:
        with root_view.opened(path) as root:
            found = sealing.inspect(root)
            if not arguments.check:
                sealing.clean(root, found)
            left = found if arguments.check else sealing.inspect(root)
    except NotARoot as error:
        output.complain(error)
        return 2
    except OSError as error:
        output.complain(f"{error.filename}: {error.strerror}. Be root, or own the files.")
        return 1
    _print_seal(arguments, path, found, left)
    return 1 if left else 0


def _print_seal(
    arguments: argparse.Namespace, path: Path, found: tuple[Finding, ...], left: tuple[Finding, ...]
) -> None:
    from image_harness.narrator import printable

    if arguments.format == "json":
        findings = [
            {**asdict(each), "kind": each.kind.value, "remedy": each.remedy.value, "mended": each not in left}
            for each in found
        ]
        output.print_json({"path": str(path), "clean": not left, "findings": findings})
        return
    for each in found:
        mended = f"{each.path}: {each.detail or each.rule}: {each.remedy.value}: done."
        print(printable(str(each) if each in left else mended))
    print(f"{path}: {f'{len(left)} findings, NOT clean' if left else 'clean'}.")


def diff(arguments: argparse.Namespace) -> int:
    """Exit status 0 when the two are alike, 1 when not, 2 for what is no image."""
    from image_harness import root_diff, root_view
    from image_harness.errors import NotARoot
    from image_harness.narrator import printable

    aspects = arguments.by or ASPECTS
    try:
        with root_view.opened(arguments.first) as first, root_view.opened(arguments.second) as second:
            found = [each for each in root_diff.differences(first, second) if each.aspect in aspects]
    except NotARoot as error:
        output.complain(error)
        return 2
    except OSError as error:
        output.complain(f"{error.filename}: {error.strerror}. Be root, or own the files.")
        return 2
    if arguments.format == "json":
        output.print_json([{**asdict(each), "change": each.change} for each in found])
    else:
        cells = [[e.change, e.aspect, e.name, e.first or "-", e.second or "-"] for e in found]
        rows = [[printable(cell) for cell in row] for row in cells]
        output.print_rows(("change", "aspect", "name", "first", "second"), rows)
    return 1 if found else 0
