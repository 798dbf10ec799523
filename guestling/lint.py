"""Check user data before a server gets it: every fault with its line, old keys, keys nobody reads, sizes."""

from __future__ import annotations

import argparse
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from guestling import output

if TYPE_CHECKING:
    from guestling.user_data_files import Document, Fault

# What a cloud takes as user data: the most bytes, and whether they are counted as base64.
BUDGETS: dict[str, tuple[int, bool]] = {
    "nova": (65535, True),
    "ec2": (16384, False),
    "config-drive": (64 * 1024 * 1024, False),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`lint USER-DATA [--for CLOUDS]`."""
    parser.add_argument("user_data", type=Path, metavar="USER-DATA", help="a file as it is given to a server")
    parser.add_argument(
        "--for",
        dest="clouds",
        default="nova",
        metavar="CLOUDS",
        help=f"among {','.join(BUDGETS)}; default: nova",
    )
    output.add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """0 nothing wrong, 1 faults, 2 input that cannot be read."""
    from guestling import user_data_files as files

    clouds = [name for name in arguments.clouds.split(",") if name]
    unknown = [name for name in clouds if name not in BUDGETS]
    if unknown:
        output.complain(f"--for: {', '.join(unknown)} is not known. Use {', '.join(BUDGETS)}.")
        return 2
    try:
        document = files.read(arguments.user_data, "user-data")
    except files.UnreadableDocument as error:
        output.complain(error)
        return 2
    faults = faults_of(document, clouds)
    errors = [fault for fault in faults if fault.is_error]
    if arguments.format == "json":
        output.print_json([_plain(fault) for fault in faults])
    else:
        output.complain(*faults)
        if not faults:
            print(f"{document.file}: nothing wrong")
    return 1 if errors else 0


def faults_of(document: Document, clouds: list[str]) -> list[Fault]:
    """All that is wrong with user data for these clouds."""
    return [*document.faults, *_of_parts(document), *_of_sizes(document, clouds)]


def _plain(fault: Fault) -> dict[str, object]:
    return {
        "file": fault.file,
        "line": fault.line,
        "key": fault.key,
        "what": fault.what,
        "level": "error" if fault.is_error else "note",
    }


def _of_parts(document: Document) -> Iterator[Fault]:
    """Faults of each cloud-config part; in a document of several parts the file is FILE[PART]."""
    from boot_stages.cloud_config_schema import key_faults, schema
    from boot_stages.registry import BY_NAME, Later
    from boot_stages.validate import deprecations_of
    from guest_agent.commands.schema import line_of
    from guestling.user_data_files import Fault, cloud_configs

    later = {key: entry.name for entry in BY_NAME.values() if isinstance(entry, Later) for key in entry.keys}
    for part, value, lines in cloud_configs(document):
        file = document.file if len(document.parts) == 1 else f"{document.file}[{part.filename}]"
        for path, what in _told_once(key_faults(value)).items():
            yield Fault(file, line_of(path, lines), path, _ended(what))
        for path, what in deprecations_of(value, schema()):
            yield Fault(
                file, line_of(path, lines), path, f"this is an old spelling. {_ended(what)}", is_error=False
            )
        for key in value:
            if key in later:
                text = f"the module {later[key]} is not supported yet: nothing will be done"
                yield Fault(file, line_of(str(key), lines), str(key), text, is_error=False)


def _told_once(faults: list[tuple[str, str]]) -> dict[str, str]:
    """One text for each place: of several alternatives that do not fit, the ones of the right type."""
    by_path: dict[str, list[str]] = {}
    for path, what in faults:
        by_path.setdefault(path, []).append(what)
    told = {}
    for path, texts in by_path.items():
        near = [text for text in texts if "is not of type" not in text] or texts
        told[path] = "; or ".join(dict.fromkeys(near))
    return told


def _ended(text: str) -> str:
    return text if text.endswith((".", "?")) else f"{text}."


def _of_sizes(document: Document, clouds: list[str]) -> Iterator[Fault]:
    from guestling.user_data_files import Fault

    for cloud in clouds:
        limit, in_base64 = BUDGETS[cloud]
        size = len(base64.b64encode(document.raw)) if in_base64 else len(document.raw)
        if size > limit:
            counted = " in base64" if in_base64 else ""
            what = (
                f"{size} bytes{counted}, and {cloud} takes {limit}. Compress it with gzip, or #include a URL."
            )
            yield Fault(document.file, 1, "", what)
