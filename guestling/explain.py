"""Say where a key of a guest's config, or a change of the guest, came from: from the report of its boot.

A key is written with dots (`users.0.name`), a path with its first slash (`/etc/hostname`).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from guestling import output

if TYPE_CHECKING:
    from image_harness.explain import Origins


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`explain KEY-OR-PATH --from REPORT`."""
    parser.add_argument("what", metavar="KEY-OR-PATH", help="such as users.0.name or /etc/hostname")
    parser.add_argument(
        "--from",
        dest="report",
        type=Path,
        required=True,
        metavar="REPORT",
        help="a boot's report, a directory",
    )
    output.add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """0 it is explained, 1 there is no such key or change in that boot, 2 no such report."""
    from image_harness import explain
    from image_harness.errors import NoOrigins
    from image_harness.narrator import printable

    try:
        origins = explain.read(arguments.report)
    except NoOrigins as error:
        output.complain(error)
        return 2
    found = (
        _changes(origins, arguments.what)
        if arguments.what.startswith("/")
        else _keys(origins, arguments.what)
    )
    if not found.rows:
        output.complain(f"{arguments.what}: nothing in that boot set it. Ask for another key or path.")
        return 1
    if arguments.format == "json":
        output.print_json(found.document)
    else:
        output.print_rows(found.titles, [[printable(str(cell)) for cell in row] for row in found.rows])
    return 0


class _Found(NamedTuple):
    """The answer as a table, and as a document."""

    titles: tuple[str, ...]
    rows: list[tuple[object, ...]]
    document: list[dict[str, object]]


def _changes(origins: Origins, path: str) -> _Found:
    from msgspec import to_builtins

    from image_harness.explain import of_path

    found = of_path(origins, path)
    rows: list[tuple[object, ...]] = [
        (f"{each.uptime_s:.2f} s", each.stage, each.module, did) for each in found for did in each.did
    ]
    return _Found(("AT", "STAGE", "MODULE", "DID"), rows, [to_builtins(each) for each in found])


def _keys(origins: Origins, key: str) -> _Found:
    from msgspec import to_builtins

    from image_harness.explain import of_key

    found = of_key(origins, key)
    rows: list[tuple[object, ...]] = [
        (each.key, each.layer, each.line or "", each.rule, " -> ".join(each.includes)) for each in found
    ]
    return _Found(("KEY", "FROM", "LINE", "BY", "INCLUDED BY"), rows, [to_builtins(each) for each in found])
