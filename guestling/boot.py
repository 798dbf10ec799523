"""Boot an image with an instance's metadata, follow the agent, show its result, delete the guest."""

from __future__ import annotations

import argparse
import uuid
from pathlib import Path

from guestling import output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `guestling boot`."""
    parser.add_argument(
        "image", metavar="IMAGE", help="an image's name, such as tiny; see `guestling image list`"
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
        "--timeout", type=float, default=300.0, metavar="SECONDS", help="end the guest then (default: 300)"
    )
    parser.add_argument(
        "--assert",
        dest="expected",
        type=Path,
        metavar="FILE",
        help="hold the guest against these expectations (docs/reference/expectations.md)",
    )
    parser.add_argument("--keep", action="store_true", help="leave the guest up until Ctrl-C")
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
    return _hold(arguments) if arguments.expected is not None else _boot(arguments)


def _hold(arguments: argparse.Namespace) -> int:
    """Boot, and hold the guest against a file of expectations. 1 when it is otherwise."""
    from image_harness.errors import HarnessError, InvalidExpectations, UnknownImage
    from image_harness.expectations import failures, parse
    from image_harness.guest_mark import Wanted
    from image_harness.guest_pool import one
    from image_harness.progress import Source
    from image_harness.report import new_directory
    from spawner.errors import SpawnerError

    try:
        expected = parse(arguments.expected.read_bytes(), str(arguments.expected))
        keys = tuple(path.read_text().strip() for path in arguments.key)
        user_data = arguments.user_data.read_bytes() if arguments.user_data else None
    except (OSError, UnicodeDecodeError) as error:
        output.complain(_unreadable(error))
        return 2
    except InvalidExpectations as error:
        output.complain(error)
        return 2
    reports = (arguments.report or new_directory(arguments.name)).absolute()
    source = Source(arguments.source)
    wanted = Wanted(arguments.image, user_data, source, arguments.name, keys, arguments.timeout)
    try:
        with one(wanted, reports) as guest:
            found = failures(guest, expected)
    except (HarnessError, SpawnerError) as error:
        output.complain(error)
        return 2 if isinstance(error, UnknownImage) else 1
    if arguments.format == "json":
        output.print_json({"failures": list(found), "report": str(guest.report)})
    else:
        output.complain(*found)
        print(f"{'as expected' if not found else f'{len(found)} not as expected'}. Report: {guest.report}")
    return 1 if found else 0


def _boot(arguments: argparse.Namespace) -> int:
    from guestling.screen import printer
    from image_harness import run as harness
    from image_harness.errors import HarnessError, UnknownImage
    from image_harness.instances import describe
    from image_harness.narrator import outcome_lines
    from image_harness.progress import Source
    from image_harness.report import new_directory
    from instance_metadata.errors import InvalidInstance
    from spawner.errors import SpawnerError

    show = printer(arguments.format)
    try:
        keys = tuple(path.read_text().strip() for path in arguments.key)
        user_data = arguments.user_data.read_bytes() if arguments.user_data else None
        request = harness.Request(
            image=arguments.image,
            instance=describe(arguments.name, uuid.uuid4(), user_data, keys),
            source=Source(arguments.source),
            report=(arguments.report or new_directory(arguments.name)).absolute(),
            stay=arguments.keep,
            deadline_s=arguments.timeout,
        )
    except InvalidInstance as error:
        output.complain(error)
        return 2
    except (OSError, UnicodeDecodeError) as error:
        output.complain(_unreadable(error))
        return 2
    try:
        done = harness.run(request, show)
    except (HarnessError, SpawnerError) as error:
        output.complain(error)
        return 2 if isinstance(error, UnknownImage) else 1
    show(outcome_lines(done.outcome, done.report, succeeded=done.outcome.succeeded))
    if arguments.format == "json":
        output.print_json({**done.summary, "report": str(done.report)})
    return 0 if done.outcome.succeeded else 1


def _unreadable(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "--key: this is no text. Give the public key, which `ssh-keygen` named FILE.pub."
    return f"{error.filename}: {error.strerror}. Give a file that can be read."
