"""Into a server's guest: `guestling server exec`, and its console followed or attached to.

Guest output is hostile text: on a terminal control characters are shown, not carried out, except when
somebody attaches to the console, whose programs draw with them.
"""

from __future__ import annotations

import argparse
import base64
import os
import shlex
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from guestling import output

if TYPE_CHECKING:
    from spawner.client import Client

DETACH = b"\x1d"
"""Ctrl-] as in telnet and virsh."""
TYPED_BYTES = 1024
TIMED_OUT = 124
"""The exit status for a command whose time was up, as timeout(1) has it."""
OVERDUE = 504


def execute(client: Client, arguments: argparse.Namespace) -> int:
    """The exit status of the command in the guest; 124 when its time was up."""
    from spawner.client import NoAnswer, Refused
    from spawner.compute.command_limits import whole_s

    if not arguments.words:
        output.complain(
            "server exec: there is no command. Write for example: server exec web-1 -- cat /etc/hostname"
        )
        return 2
    server = client.server(arguments.server)
    command = command_line(arguments.words)
    try:
        done = client.execute(server["id"], command, arguments.timeout)
    except NoAnswer as error:
        output.complain(f"server exec: {server['name']}: {command!r}: {error}")
        return TIMED_OUT
    except Refused as error:
        if error.status != OVERDUE:
            raise
        output.complain(f"server exec: {server['name']}: {error}")
        return TIMED_OUT
    _show_answer(done, arguments.format)
    if done["timed_out"]:
        output.complain(
            f"server exec: {server['name']}: {command!r} was ended after {whole_s(arguments.timeout)} s."
            " Give it more with --timeout SECONDS, or let it run on there: 'nohup COMMAND >/tmp/said 2>&1 &'"
        )
        return TIMED_OUT
    return int(done["status"])


def _show_answer(done: Mapping[str, Any], form: str) -> None:
    stdout, stderr = base64.b64decode(done["stdout"]), base64.b64decode(done["stderr"])
    if form == "json":
        texts = {"stdout": stdout.decode(errors="replace"), "stderr": stderr.decode(errors="replace")}
        output.print_json({**done, **texts})
    else:
        _show(stdout, sys.stdout)
        _show(stderr, sys.stderr)
        if done["cut"]:
            output.complain("the output was longer than a guest sends: its end is missing")


def command_line(words: Sequence[str]) -> str:
    """For /bin/sh in the guest: one word is a line of it; several reach their program as they are."""
    return words[0] if len(words) == 1 else shlex.join(words)


def follow(client: Client, arguments: argparse.Namespace) -> int:
    """Print the console until the guest ends or Ctrl-C."""
    server = client.server(arguments.server)
    try:
        for chunk in client.stream(f"/compute/v2.1/servers/{server['id']}/x-console"):
            _show(chunk, sys.stdout)
    except KeyboardInterrupt:
        return 0
    return 0


def attach(client: Client, arguments: argparse.Namespace) -> int:
    """The console with this terminal as its keyboard and screen, until Ctrl-] or the guest ends."""
    if not sys.stdin.isatty():
        output.complain("console --attach: standard input is no terminal. Use --follow to read only")
        return 2
    import termios
    import tty

    server = client.server(arguments.server)
    path = f"/compute/v2.1/servers/{server['id']}/x-console"
    output.complain(f"attached to {server['name']}; Ctrl-] ends it")
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin)
        reader = threading.Thread(target=_draw, args=(client, path), daemon=True)
        reader.start()
        while reader.is_alive():
            typed = os.read(sys.stdin.fileno(), TYPED_BYTES)
            if not typed or DETACH in typed:
                break
            client.call("POST", path, {"data": base64.b64encode(typed).decode()})
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
    print()
    return 0


def _draw(client: Client, path: str) -> None:
    for chunk in client.stream(path):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


def _show(chunk: bytes, target: TextIO) -> None:
    """Bytes as they are into a pipe or file; escaped on a terminal."""
    from spawner.compute.qemu.console import printable

    if target.isatty():
        target.write(printable(chunk))
    else:
        target.buffer.write(chunk)
    target.flush()
