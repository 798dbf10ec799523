"""The relay between a guest's metadata requests and the unix socket of its metadata server.

Two forms, both byte for byte and with half-close kept:

- `serve(socket_of, listeners())`: listens on 169.254.169.254:80 and [::1]:80 of the network namespace it
  runs in; the launcher forks it off before it becomes QEMU.
- `relay.py SOCKET` as a program: standard input and output to the socket, which is what QEMU's `guestfwd`
  runs once for each connection. It imports nothing of ours, so that a copy beside the socket is enough.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing and collections.abc would cost each start of the helper some milliseconds
    from collections.abc import Callable

METADATA_ADDRESS = "169.254.169.254"
METADATA_PORT = 80

IP_FREEBIND = 15
"""From linux/in.h; Python's socket module has no name for it."""

CHUNK = 65536
CONNECTION_LIMIT = 64
"""Connections of one guest at a time (faults-and-threats section 3, HTTP server, per source)."""

IDLE_S = 120.0
"""A connection on which nothing moved for so long is closed; the server's own limits are tighter."""


def listeners() -> list[socket.socket]:
    """Sockets on port 80 of both metadata addresses; IPv6 only where the kernel has it."""
    sockets = [_listen(socket.AF_INET, METADATA_ADDRESS)]
    with contextlib.suppress(OSError):
        sockets.append(_listen(socket.AF_INET6, "::1"))
    return sockets


def serve(socket_of: Callable[[str], str], sockets: list[socket.socket]) -> None:
    """Accept on each socket and relay to `socket_of(address of the guest)`, for ever."""
    places = _Places()
    for listener in sockets[1:]:
        threading.Thread(target=_accept, args=(listener, socket_of, places), daemon=True).start()
    _accept(sockets[0], socket_of, places)


class _Places:
    """How many connections each guest has open: one that takes all of its own leaves the others theirs."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}
        self._lock = threading.Lock()

    def take(self, source: str) -> bool:
        """Whether `source` may have one more."""
        with self._lock:
            taken = self._taken.get(source, 0)
            if taken >= CONNECTION_LIMIT:
                return False
            self._taken[source] = taken + 1
            return True

    def give_back(self, source: str) -> None:
        with self._lock:
            self._taken[source] -= 1
            if not self._taken[source]:
                del self._taken[source]


def _listen(family: int, address: str) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET:
        # The address may come later: a bridge gets it after the relay is there.
        listener.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
    listener.bind((address, METADATA_PORT))
    listener.listen(CONNECTION_LIMIT)
    return listener


def _accept(listener: socket.socket, socket_of: Callable[[str], str], places: _Places) -> None:
    while True:
        guest, peer = listener.accept()
        source = peer[0]
        if not places.take(source):
            guest.close()
            continue
        threading.Thread(target=_relay, args=(guest, socket_of(source), places, source), daemon=True).start()


def _relay(guest: socket.socket, socket_path: str, places: _Places, source: str) -> None:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with guest, server, contextlib.suppress(OSError):
            guest.settimeout(IDLE_S)
            server.settimeout(IDLE_S)
            server.connect(socket_path)
            back = threading.Thread(target=_copy, args=(server, guest), daemon=True)
            back.start()
            _copy(guest, server)
            back.join()
    finally:
        places.give_back(source)


def _copy(source: socket.socket, target: socket.socket) -> None:
    """One direction until its end, which is passed on; the other direction may go on."""
    with contextlib.suppress(OSError):
        while chunk := source.recv(CHUNK):
            target.sendall(chunk)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _from_standard_input(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := os.read(0, CHUNK):
            server.sendall(chunk)
        server.shutdown(socket.SHUT_WR)


def stdio(socket_path: str) -> int:
    """Relay standard input and output to `socket_path`; returns 0 when the server closes, 1 without a server.

    Silent: QEMU hands the guest's connection over as standard error too.
    """
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        server.connect(socket_path)
    except OSError:
        return 1
    threading.Thread(target=_from_standard_input, args=(server,), daemon=True).start()
    with contextlib.suppress(OSError):
        while chunk := server.recv(CHUNK):
            while chunk:
                chunk = chunk[os.write(1, chunk) :]
    return 0


if __name__ == "__main__":
    # The reading thread may still sit in read(); an ordinary exit would wait for its lock on standard input.
    os._exit(stdio(sys.argv[1]))
