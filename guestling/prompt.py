"""Looking into a guest that is kept: lines of standard input are carried out in it, as root."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from image_harness.guest import Guest

PROMPT = "guest# "
WELCOME = "The guest stays up. Each line is carried out in it by /bin/sh, as root; Ctrl-D ends it."
WAITING = "The guest stays up until it ends or Ctrl-C is pressed: standard input held no commands."


def talk(guest: Guest, format_: str) -> None:
    """Carry out line after line, until the input or the guest ends, or Ctrl-C is pressed.

    With `--format json` stdout is the result's, and what the commands write goes to stderr.
    """
    out = sys.stderr if format_ == "json" else sys.stdout
    try:
        if sys.stdin.isatty():
            _prompt(guest, out)
        elif not _lines(guest, out):
            print(WAITING, file=sys.stderr, flush=True)
            _wait(guest)
    except KeyboardInterrupt:
        return


def _prompt(guest: Guest, out: TextIO) -> None:
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 -- gives input() its history

    print(WELCOME, file=sys.stderr)
    while True:
        try:
            line = input(PROMPT)
        except EOFError:
            print(file=sys.stderr)
            return
        if line.strip() == "exit" or (line.strip() and not _carry_out(guest, line, out)):
            return


def _lines(guest: Guest, out: TextIO) -> int:
    """How many commands there were."""
    count = 0
    for line in sys.stdin:
        if line.strip():
            count += 1
            if not _carry_out(guest, line.rstrip("\n"), out):
                break
    return count


def _carry_out(guest: Guest, line: str, out: TextIO) -> bool:
    """Whether the guest is still there."""
    from image_harness.errors import GuestBroken

    try:
        answer = guest.run(line)
    except GuestBroken as error:
        print(error, file=sys.stderr)
        return False
    out.write(answer.stdout)
    out.flush()
    sys.stderr.write(answer.stderr)
    if not answer.ok:
        print(f"(status {answer.status})", file=sys.stderr)
    return True


def _wait(guest: Guest) -> None:
    """Until the guest ends; TERM ends it in order, as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        guest.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
