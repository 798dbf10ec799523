"""The relay: every byte in both directions, half-close included, and no more connections than its bound."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spawner.network import relay

BIG = os.urandom(1 << 20)


@pytest.fixture
def metadata(public: Path) -> Iterator[Path]:
    """A server on a unix socket that answers with what it got, reversed, once the other side has closed."""
    path = public / "m.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen(200)
        threading.Thread(target=_serve, args=(listener,), daemon=True).start()
        yield path
        listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection:
        got = b"".join(iter(lambda: connection.recv(65536), b""))
        connection.sendall(got[::-1])


@pytest.fixture
def connect(metadata: Path) -> Callable[[], socket.socket]:
    """Connections to a relay that listens on the loopback address, as it does on the metadata address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(200)
    threading.Thread(
        target=relay.serve, args=(lambda _: os.fspath(metadata), [listener]), daemon=True
    ).start()
    return lambda: socket.create_connection(listener.getsockname(), timeout=10)


def exchange(connection: socket.socket, body: bytes) -> bytes:
    with connection:
        threading.Thread(target=_send, args=(connection, body), daemon=True).start()
        return b"".join(iter(lambda: connection.recv(65536), b""))


def _send(connection: socket.socket, body: bytes) -> None:
    connection.sendall(body)
    connection.shutdown(socket.SHUT_WR)


def test_a_mebibyte_each_way(connect: Callable[[], socket.socket]) -> None:
    assert exchange(connect(), BIG) == BIG[::-1]


def test_sixteen_at_once(connect: Callable[[], socket.socket]) -> None:
    answers: dict[int, bytes] = {}

    def one(number: int) -> None:
        answers[number] = exchange(connect(), b"%d" % number * 1000)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert answers == {number: (b"%d" % number * 1000)[::-1] for number in range(16)}


def test_the_65th_connection_is_closed_and_the_others_live(connect: Callable[[], socket.socket]) -> None:
    held = [connect() for _ in range(relay.CONNECTION_LIMIT)]
    for connection in held:
        connection.sendall(b"x")
    with connect() as one_too_many:
        assert one_too_many.recv(1) == b""
    assert exchange(held.pop(), b"yz") == b"zyx"
    assert [exchange(connection, b"") for connection in held] == [b"x"] * len(held)


def test_without_a_server_the_connection_is_closed(public: Path) -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    threading.Thread(
        target=relay.serve, args=(lambda _: os.fspath(public / "missing"), [listener]), daemon=True
    ).start()
    with socket.create_connection(listener.getsockname(), timeout=10) as connection:
        assert connection.recv(1) == b""


def helper(path: Path, body: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-IS", relay.__file__, os.fspath(path)]
    return subprocess.run(command, input=body, capture_output=True, check=False, timeout=20)


def test_the_helper_of_guestfwd_relays_its_standard_streams(metadata: Path) -> None:
    done = helper(metadata, BIG)
    assert (done.returncode, done.stdout == BIG[::-1], done.stderr) == (0, True, b"")


def test_the_helper_says_nothing_to_the_guest_when_there_is_no_server(public: Path) -> None:
    done = helper(public / "missing", b"GET / HTTP/1.0\r\n\r\n")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
