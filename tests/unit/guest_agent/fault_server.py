"""An HTTP server on loopback that answers wrongly on purpose."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Answer = bytes | Callable[[socket.socket], None]


def ok(body: bytes = b"good", *headers: str) -> bytes:
    """A right answer."""
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def status(code: int, *headers: str, body: bytes = b"") -> bytes:
    """An answer with a status."""
    return (
        "\r\n".join([f"HTTP/1.1 {code} x", f"Content-Length: {len(body)}", *headers, "", ""]).encode() + body
    )


def reset(connection: socket.socket) -> None:
    """RST in the place of an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def silence(_connection: socket.socket) -> None:
    """Nothing, for longer than the tests wait."""
    time.sleep(0.6)


def drip(connection: socket.socket) -> None:
    """A byte every 50 ms: each read succeeds, the whole never comes."""
    try:
        for letter in ok(b"x" * 100):
            connection.sendall(bytes([letter]))
            time.sleep(0.05)
    except OSError:
        return


class FaultServer:
    """Gives the answers of a path one after the other; the last one again and again."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(5)
            head = b""
            try:
                while b"\r\n\r\n" not in head:
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    head += piece
            except OSError:
                return
            lines = head.decode("latin-1").split("\r\n")
            method, path, _ = lines[0].split(" ")
            headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
            self.requests.append((method, path, {name.lower(): value for name, value in headers.items()}))
            listed = self.answers.get(f"{method} {path}") or self.answers.get(path) or [status(404)]
            answer = listed.pop(0) if len(listed) > 1 else listed[0]
            if callable(answer):
                answer(connection)
                return
            try:
                connection.sendall(answer)
            except OSError:
                return

    def close(self) -> None:
        self._listener.close()

    def paths(self) -> list[str]:
        return [path for _, path, _ in self.requests]


@contextmanager
def fault_server() -> Iterator[FaultServer]:
    """A running server."""
    server = FaultServer()
    try:
        yield server
    finally:
        server.close()
