"""`guestling drive show`, `verify`, `extract` and `diff`: everything that only reads drives."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from configdrive import openstack_contract, reader, whole
from configdrive.difference import Difference, differences
from configdrive.errors import DriveError, UnwritableOutput
from configdrive.findings import Finding
from configdrive.layouts import layout_of
from configdrive.reader import Drive
from guestling.output import complain, print_json, print_pairs, print_rows


def show(arguments: argparse.Namespace) -> int:
    """Print what is on a drive, or one of its files."""
    try:
        drive = reader.inspect(arguments.drive)
    except DriveError as error:
        return _failed(arguments, arguments.drive, error)
    if arguments.path is not None:
        return _show_file(arguments, drive)
    facts = _facts(drive)
    if arguments.format == "json":
        files = [
            {"path": path, "bytes": len(data), "sha256": _hash(data)} for path, data in drive.tree.items()
        ]
        print_json(
            {"drive": arguments.drive, **facts, "files": sorted(files, key=lambda file: str(file["path"]))}
        )
        return 0
    print_pairs({name: _in_words(value) for name, value in facts.items()})
    print()
    rows = [(printable(path), len(data), _hash(data)[:12]) for path, data in sorted(drive.tree.items())]
    print_rows(("path", "bytes", "sha256"), rows)
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Print every finding. Returns 1 if a guest would not be configured as meant."""
    from configdrive import verify as checks  # the other commands start faster without it

    try:
        report = checks.verify(arguments.drive, lenient=arguments.lenient)
    except DriveError as error:
        return _failed(arguments, arguments.drive, error)
    if arguments.format == "json":
        findings = [_as_json(finding) for finding in report.findings]
        print_json(
            {"drive": arguments.drive, "good": report.is_good, "layout": report.layout, "findings": findings}
        )
    else:
        for finding in report.findings:
            print(printable(f"{arguments.drive}: {finding}"))
        if report.is_good and report.drive is not None:
            facts = f"{report.layout}, {report.drive.filesystem}, {len(report.drive.tree)} files"
            print(f"{arguments.drive}: good ({facts})")
    return 0 if report.is_good else 1


def extract(arguments: argparse.Namespace) -> int:
    """Unpack a drive into a new directory, whole or not at all."""
    try:
        tree = reader.read(arguments.drive)
        whole.write_directory(Path(arguments.output), tree)
    except UnwritableOutput as error:
        return _failed(arguments, arguments.output, error)
    except DriveError as error:
        return _failed(arguments, arguments.drive, error)
    made = {"output": arguments.output, "files": len(tree), "bytes": sum(map(len, tree.values()))}
    if arguments.format == "json":
        print_json(made)
    else:
        print_pairs(made)
    return 0


def diff(arguments: argparse.Namespace) -> int:
    """Print what differs. Returns 0 if nothing does, 1 if something does."""
    drives: list[Drive] = []
    for name in (arguments.first, arguments.second):
        try:
            drives.append(reader.inspect(name))
        except DriveError as error:
            return _failed(arguments, name, error)
    found = differences(drives[0].tree, drives[1].tree)
    labels = [drive.label for drive in drives]
    # A directory has no label to differ.
    if None not in labels and labels[0] != labels[1]:
        found = (Difference("changed", "(label)", f"{labels[0]!r}, now {labels[1]!r}"), *found)
    if arguments.format == "json":
        changes = [{"change": each.change, "path": each.path, "detail": each.detail} for each in found]
        print_json({"equal": not found, "differences": changes})
    elif found:
        print_rows(
            ("change", "path", "detail"), [(each.change, printable(each.path), each.detail) for each in found]
        )
    return 1 if found else 0


def _as_json(finding: Finding) -> dict[str, object]:
    return {
        "severity": finding.severity.value,
        "error": finding.code,
        "path": finding.path or None,
        "line": finding.line,
        "column": finding.column,
        "key": finding.key or None,
        "problem": finding.problem,
        "remedy": finding.remedy,
    }


def printable(text: str) -> str:
    """`text` with control characters escaped: names on a foreign drive reach a terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _show_file(arguments: argparse.Namespace, drive: Drive) -> int:
    content = drive.tree.get(arguments.path.strip("/"))
    if content is None:
        remedy = "See `guestling drive show` for what is"
        complain(f"{arguments.drive}: {arguments.path}: not on the drive. {remedy}. error=drive-no-file")
        return 1
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
    return 0


def _facts(drive: Drive) -> dict[str, object]:
    layout = layout_of(drive.tree)
    versions = sorted(
        {path.split("/")[1] for path in drive.tree if path.startswith("openstack/")} - {"content"}
    )
    return {
        "filesystem": drive.filesystem,
        "label": drive.label,
        "names": drive.names,
        "joliet": drive.has_joliet,
        "bytes": drive.size,
        "layout": layout,
        "versions": versions,
        "version a guest takes": openstack_contract.chosen_version(drive.tree),
        "notes": list(drive.notes),
    }


def _in_words(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(value) or "-"
    return "-" if value is None else value


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _failed(arguments: argparse.Namespace, place: str, error: DriveError) -> int:
    complain(f"{place}: {error} error={error.code}")
    if arguments.format == "json":
        print_json({"error": error.code, "message": str(error)})
    return 1 if isinstance(error, UnwritableOutput) else 2
