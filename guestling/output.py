"""How every command prints: a table for people, one JSON document for programs, faults for both."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add `--format table|json`, which every command takes."""
    parser.add_argument("--format", choices=("table", "json"), default="table", help="default: table")


def print_json(document: object) -> None:
    """Print one JSON document on stdout; a command that does so prints nothing else there."""
    print(json.dumps(document, indent=2, default=str))


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their column names, each column as wide as its widest cell."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]
    for row in [list(columns), *cells]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_pairs(pairs: Mapping[str, object]) -> None:
    """Print `name  value` lines, the names aligned."""
    width = max((len(name) for name in pairs), default=0)
    for name, value in pairs.items():
        print(f"{name:<{width}}  {value}")


def complain(*faults: object) -> None:
    """Print faults on stderr, one a line, in the form `FILE:LINE: KEY: what is wrong. What to do.`"""
    for fault in faults:
        print(fault, file=sys.stderr)
