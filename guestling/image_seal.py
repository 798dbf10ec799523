"""`guestling image seal` and `guestling image diff`: is an image clean, and what differs between two."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from guestling import output

if TYPE_CHECKING:
    from image_harness.seal import Finding

# As `image_harness.root_diff.ASPECTS` has them, which is not imported before it is asked for.
ASPECTS = ("user", "group", "package", "unit", "file")
_ROOT = "a directory, or a raw or qcow2 file with a Linux in it"


def add_seal(parser: argparse.ArgumentParser) -> None:
    """Arguments of `guestling image seal`."""
    parser.add_argument("image", nargs="?", type=Path, metavar="PATH", help=_ROOT)
    parser.add_argument("--root", type=Path, metavar="DIR", help="the root of an image, unpacked or mounted")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT",
        help="where a sealed image file goes (default: in its place)",
    )
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
    from image_harness import image_files
    from image_harness.errors import NotAnImage, NotARoot
    from spawner.errors import SpawnerError

    path: Path | None = arguments.root or arguments.image
    if path is None or (arguments.root and arguments.image):
        output.complain("guestling image seal: one root is expected. Give PATH or --root DIR.")
        return 2
    if arguments.output and (arguments.check or path.is_dir()):
        output.complain("--output: only a sealed image file goes there. Leave it out.")
        return 2
    out: Path = arguments.output or path
    try:
        sealed = image_files.sealed(path, out, mend=not arguments.check, say=_say(arguments))
    except (NotARoot, NotAnImage) as error:
        output.complain(error)
        return 2
    except SpawnerError as error:
        output.complain(error)
        return 1
    except OSError as error:
        output.complain(f"{error.filename}: {error.strerror}. Be root, or own the files.")
        return 1
    _print_seal(arguments, out, sealed.found, sealed.left)
    return 1 if sealed.left else 0


def _say(arguments: argparse.Namespace) -> Callable[[str], None]:
    """What shows progress to people at a terminal."""
    quiet = arguments.format == "json" or not sys.stderr.isatty()
    return (lambda _: None) if quiet else output.complain


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
    from image_harness import image_files, root_diff
    from image_harness.errors import NotAnImage, NotARoot
    from image_harness.narrator import printable
    from spawner.errors import SpawnerError

    aspects = [aspect for aspect in ASPECTS if aspect in (arguments.by or ASPECTS)]
    say = _say(arguments)
    try:
        first, second = (
            image_files.described(path, aspects, say) for path in (arguments.first, arguments.second)
        )
    except (NotARoot, NotAnImage, SpawnerError) as error:
        output.complain(error)
        return 2
    except OSError as error:
        output.complain(f"{error.filename}: {error.strerror}. Be root, or own the files.")
        return 2
    found = list(root_diff.differences(first, second))
    if arguments.format == "json":
        output.print_json([{**asdict(each), "change": each.change} for each in found])
    else:
        cells = [[e.change, e.aspect, e.name, e.first or "-", e.second or "-"] for e in found]
        rows = [[printable(cell) for cell in row] for row in cells]
        output.print_rows(("change", "aspect", "name", "first", "second"), rows)
    return 1 if found else 0
