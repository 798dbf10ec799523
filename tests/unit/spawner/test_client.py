"""How long the client of the command line waits, against a server that answers when it is told to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from spawner.client import Client, Credentials, NoAnswer

TAKES_S = 0.6
LIMIT_S = 0.2


class _Slow(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer({"at": "once"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(TAKES_S)
        self._answer({"status": 0})

    def log_message(self, *_arguments: object) -> None:
        """Nothing: stderr is the tests'."""

    def _answer(self, document: object) -> None:
        content = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def client() -> Iterator[Client]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Slow) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        address = f"http://127.0.0.1:{server.server_port}"
        with Client(Credentials(address, "admin", "", "demo"), timeout_s=LIMIT_S) as client:
            yield client
        server.shutdown()


def test_a_command_may_take_its_own_limit_however_short_the_clients_is(client: Client) -> None:
    assert client.call("GET", "/") == {"at": "once"}  # on a connection that is open, too
    assert client.execute("1", "sleep 0.6", 1) == {"status": 0}


def test_an_answer_that_comes_too_late_is_none_to_the_next_call(client: Client) -> None:
    with pytest.raises(NoAnswer, match=r"http://127\.0\.0\.1:\d+: no answer within 0\.2 s: it hangs"):
        client.call("POST", "/", {})
    assert client.call("GET", "/") == {"at": "once"}
