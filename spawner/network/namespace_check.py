"""A program that tries what the backend `namespace` needs, in a namespace that ends with it.

Exit status 0: it works. 1: standard error says in one line what does not.
"""

from __future__ import annotations

import socket
import sys

from spawner.compute.qemu import launch
from spawner.network import loopback, relay


def main(_arguments: list[str]) -> int:
    """Make the namespace, listen on the metadata address as the relay does, connect to it."""
    try:
        launch.own_network()
        loopback.bring_up_loopback(relay.METADATA_ADDRESS)
        listening = relay.listeners()
        with socket.create_connection((relay.METADATA_ADDRESS, relay.METADATA_PORT), timeout=1):
            pass
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    for listener in listening:
        listener.close()
    return 0
