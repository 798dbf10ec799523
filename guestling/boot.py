"""Boot an image with an instance's metadata, follow the agent, show its result, delete the guest."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from guestling import output

if TYPE_CHECKING:
    from image_harness.expectations import Expectation
    from image_harness.guest import Guest
    from image_harness.guest_mark import Wanted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `guestling boot`."""
    parser.add_argument(
        "image",
        metavar="IMAGE",
        help="an image's name, such as tiny (see `guestling image list`), or a raw or qcow2 file",
    )
    parser.add_argument("--name", default="guest", help="the instance's name and host name (default: guest)")
    parser.add_argument(
        "--user-data", type=Path, metavar="FILE", help="user data, as it would be given to Nova"
    )
    parser.add_argument(
        "--key", type=Path, action="append", default=[], metavar="FILE", help="an SSH public key"
    )
    add_source(parser)
    parser.add_argument(
        "--faults", type=Path, metavar="FILE", help="a script by which the metadata service misbehaves"
    )
    parser.add_argument(
        "--timeout", type=float, default=300.0, metavar="SECONDS", help="end the guest then (default: 300)"
    )
    parser.add_argument(
        "--assert",
        dest="expected",
        type=Path,
        metavar="FILE",
        help="hold the guest against these expectations (docs/reference/expectations.md)",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave the guest up and carry out the lines of standard input in it, as root, until Ctrl-D",
    )
    output.add_format(parser)


def add_source(parser: argparse.ArgumentParser) -> None:
    """`--source` and `--report`, which the demo takes too."""
    parser.add_argument(
        "--source",
        choices=("metadata", "config-drive", "nocloud"),
        default="metadata",
        help="how the metadata reaches the guest (default: metadata, the service at 169.254.169.254)",
    )
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="where to put the report (default: in the cache)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Exit status 0 when the guest itself reported success, and is as expected where that is asked."""
    from image_harness.errors import InvalidExpectations, InvalidMark
    from instance_metadata.errors import InvalidInstance

    try:
        expected = _expected(arguments)
        wanted = _wanted(arguments)
        return _boot(arguments, wanted, expected)
    except (InvalidExpectations, InvalidInstance, InvalidMark) as error:
        output.complain(error)
        return 2
    except UnicodeDecodeError:
        output.complain("--key: this is no text. Give the public key, which `ssh-keygen` named FILE.pub.")
        return 2
    except OSError as error:
        output.complain(f"{error.filename}: {error.strerror}. Give a file that can be read.")
        return 2


def _expected(arguments: argparse.Namespace) -> tuple[Expectation, ...]:
    """Raises InvalidExpectations, OSError."""
    from image_harness.expectations import parse

    file: Path | None = arguments.expected
    return () if file is None else parse(file.read_bytes(), str(file))


def _wanted(arguments: argparse.Namespace) -> Wanted:
    """The guest that is asked for. Raises InvalidInstance, OSError, UnicodeDecodeError."""
    import uuid

    from image_harness.guest_mark import Wanted
    from image_harness.instances import describe
    from image_harness.progress import Source
    from metadata_server import faults

    keys = tuple(path.read_text().strip() for path in arguments.key)
    user_data = arguments.user_data.read_bytes() if arguments.user_data else None
    script = arguments.faults.read_bytes() if arguments.faults else None
    # What cannot be said is said before an image is built for it.
    describe(arguments.name, uuid.uuid4(), user_data, keys)
    if script is not None:
        faults.parse(script, str(arguments.faults))
    source = Source(arguments.source)
    return Wanted(arguments.image, user_data, source, arguments.name, keys, arguments.timeout, faults=script)


def _boot(arguments: argparse.Namespace, wanted: Wanted, expected: tuple[Expectation, ...]) -> int:
    from guestling.screen import printer
    from image_harness.errors import HarnessError, InvalidImage, UnknownImage
    from image_harness.narrator import expectation_lines, lines, outcome_lines
    from image_harness.one_guest import visit
    from image_harness.report import new_directory
    from spawner.errors import SpawnerError

    show = printer(arguments.format)
    report = (arguments.report or new_directory(wanted.name)).absolute()
    found: list[str] = []

    def look(guest: Guest) -> None:
        if expected:
            from image_harness.expectations import failures

            found.extend(failures(guest, expected))
            show(expectation_lines(len(expected), found))
        if arguments.keep:
            from guestling.prompt import talk

            talk(guest, arguments.format)

    try:
        seen = visit(wanted, report, lambda happening, at_s: show(lines(happening, at_s)), look)
    except (HarnessError, SpawnerError) as error:
        output.complain(error)
        return 2 if isinstance(error, InvalidImage | UnknownImage) else 1
    if seen.failure is not None:
        output.complain(seen.failure)
    succeeded = seen.outcome.succeeded and seen.failure is None and not found
    show(outcome_lines(seen.outcome, report, succeeded=succeeded))
    if arguments.format == "json":
        asserted = {"failures": found} if expected else {}
        output.print_json({**seen.summary, **asserted, "report": str(report)})
    return 0 if succeeded else 1
