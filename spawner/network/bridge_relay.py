"""The process that holds a bridge's network namespace, and relays metadata for all guests on it.

Usage: `bridge_relay MARK DIRECTORY PARENT own|given [UID GID]`. Which instance is asking is told by the
source address, which the bridge's filter lets nobody forge: DIRECTORY/ADDRESS is a link to that instance's
socket. It prints `ready` once the namespace is there (`given`: it was started in it, in place of one that
was killed), and dies with its parent, unless that is 0; the namespace goes with the last process in it.
MARK is there to be read by whoever looks for the process.
"""

from __future__ import annotations

import os
import sys

from spawner.compute.qemu import launch
from spawner.network import relay


def main(arguments: list[str]) -> int:
    """Hold and relay for ever; returns only with a failure."""
    _mark, directory, parent, namespace, *user = arguments
    try:
        if namespace == "own":
            launch.own_network()
        sockets = relay.listeners()
        if user:
            launch.drop_to(dict(zip(("uid", "gid", "groups"), [*user, ""], strict=True)))
        if int(parent):
            launch.die_with(int(parent))
    except OSError as error:
        print(f"bridge: {error}", file=sys.stderr)
        return launch.EXIT_LAUNCH
    print("ready", flush=True)
    relay.serve(lambda address: os.path.join(directory, address), sockets)  # noqa: PTH118 - pathlib costs start-up
    return 0
