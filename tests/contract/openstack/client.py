"""Runs under the clients' Python: the `openstack` program, loaded once, then forked for each command.

A process of `openstack` takes a second to load what it needs and a third of one to work. Each command here
has a process of its own all the same, and runs what the program's entry point runs; only the loading is
shared. `boots.sh` starts the program itself.

Standard input: for each command the name of the file for its standard output, that for its errors, the number
of its words, and the words, each ended by a NUL. Standard output: the exit status of each, a line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

# What almost every command loads when it begins.
import keystoneauth1.session  # noqa: F401
import openstack.connection  # noqa: F401
import openstackclient.common.clientmanager  # noqa: F401
from openstackclient import shell

PROGRAM = "openstack"


def words(count: int) -> list[str]:
    """The next words of standard input; fewer at its end."""
    found: list[str] = []
    word = b""
    while len(found) < count and (byte := os.read(0, 1)):
        if byte != b"\0":
            word += byte
            continue
        found.append(word.decode())
        word = b""
    return found


def run(stdout: str, stderr: str, command: Sequence[str]) -> int:
    """The exit status of one command in a process of its own."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    status = 70
    try:
        sys.argv = [PROGRAM, *command]
        status = shell.main(list(command)) or 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    while len(head := words(3)) == 3:
        stdout, stderr, count = head
        print(run(stdout, stderr, words(int(count))), flush=True)


if __name__ == "__main__":
    main()
