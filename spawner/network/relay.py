"""The relay between a guest's metadata requests and the unix socket of its metadata server.

Two forms, both byte for byte and with half-close kept:

- `serve(socket_path)`: listens on 169.254.169.254:80 and [::1]:80 of the network namespace it runs in; the
  launcher forks it off before it becomes QEMU.
- `relay.py SOCKET` as a program: standard input and output to the socket, which is what QEMU's `guestfwd`
  runs once for each connection. It imports nothing of ours, so that a copy beside the socket is enough.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading

METADATA_ADDRESS = "169.254.169.254"
METADATA_PORT = 80

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


def serve(socket_path: str, sockets: list[socket.socket]) -> None:
    """Accept on each socket and relay to `socket_path`, for ever."""
    free = threading.BoundedSemaphore(CONNECTION_LIMIT)
    for listener in sockets[1:]:
        threading.Thread(target=_accept, args=(listener, socket_path, free), daemon=True).start()
    _accept(sockets[0], socket_path, free)


def _listen(family: int, address: str) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, METADATA_PORT))
    listener.listen(CONNECTION_LIMIT)
    return listener


def _accept(listener: socket.socket, socket_path: str, free: threading.BoundedSemaphore) -> None:
    while True:
        guest, _ = listener.accept()
        if not free.acquire(blocking=False):
            guest.close()
            continue
        threading.Thread(target=_relay, args=(guest, socket_path, free), daemon=True).start()


def _relay(guest: socket.socket, socket_path: str, free: threading.BoundedSemaphore) -> None:
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
        free.release()


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
