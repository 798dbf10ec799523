"""Shows the lines of a boot: in colour on a terminal, plain in a pipe, none for `--format json`."""

from __future__ import annotations

import sys
from collections.abc import Callable

from image_harness.narrator import Line, Tone

STYLES = {
    Tone.PLAIN: "",
    Tone.HEADING: "bold",
    Tone.GOOD: "green",
    Tone.BAD: "bold red",
    Tone.WARNING: "yellow",
    Tone.QUIET: "bright_black",
}


def printer(output_format: str) -> Callable[[tuple[Line, ...]], None]:
    """What shows lines in this form of output."""
    if output_format == "json":
        return lambda _: None
    return _coloured() if sys.stdout.isatty() else _plain


def _plain(lines: tuple[Line, ...]) -> None:
    for line in lines:
        print(line.text, flush=True)


def _coloured() -> Callable[[tuple[Line, ...]], None]:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)

    def show(lines: tuple[Line, ...]) -> None:
        for line in lines:
            console.print(Text(line.text, STYLES[line.tone]))

    return show
