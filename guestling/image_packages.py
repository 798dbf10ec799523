"""`guestling image packages`: the agent as .deb, .rpm, .apk and as one file."""

from __future__ import annotations

import argparse
from pathlib import Path

from guestling import output

# As `image_harness.agent_packages.build.FORMS` has them, which is not imported before it is asked for.
FORMS = ("deb", "rpm", "apk", "pyz")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `guestling image packages`."""
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("dist"),
        metavar="DIR",
        help="where to put them (default: dist)",
    )
    parser.add_argument("--form", action="append", choices=FORMS, help="only this; may be given again")
    output.add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Exit status 0 when all were made. Raises HarnessError."""
    import hashlib

    from image_harness.agent_packages import build

    made = build.build(arguments.output, arguments.form or FORMS, build.source_date_epoch())
    facts = [
        {
            "path": str(each.path),
            "form": each.form,
            "family": each.family or "any",
            "bytes": each.path.stat().st_size,
            "sha256": hashlib.sha256(each.path.read_bytes()).hexdigest(),
        }
        for each in made
    ]
    if arguments.format == "json":
        output.print_json(facts)
    else:
        columns = ("path", "family", "bytes", "sha256")
        output.print_rows(columns, [[fact[column] for column in columns] for fact in facts])
    return 0
