"""A token must not leave the link: a client one router away gets no answer to its PUT (MS-T08)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

PUT = (
    "import http.client, sys\n"
    "connection = http.client.HTTPConnection('10.77.1.1', 8080, timeout=3)\n"
    "connection.request('PUT', '/latest/api/token', headers={'X-aws-ec2-metadata-token-ttl-seconds': '60'})\n"
    "answer = connection.getresponse()\n"
    "print(answer.status, len(answer.read()))\n"
)


class Routed:
    """Three network namespaces in a row: server, router, client; and a second client on the server's link."""

    def __init__(self) -> None:
        mark = uuid.uuid4().hex[:6]
        self.server, self.router, self.client = (f"guestling-{mark}-{i}" for i in range(3))
        for name in (self.server, self.router, self.client):
            run("ip", "netns", "add", name)
        self._link(self.server, "10.77.1.1/24", self.router, "10.77.1.2/24")
        self._link(self.router, "10.77.2.1/24", self.client, "10.77.2.2/24")
        self.inside(self.router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.inside(self.server, "ip", "route", "add", "10.77.2.0/24", "via", "10.77.1.2")
        self.inside(self.client, "ip", "route", "add", "10.77.1.0/24", "via", "10.77.2.1")

    def _link(self, one: str, address: str, other: str, opposite: str) -> None:
        names = (f"a{uuid.uuid4().hex[:8]}", f"b{uuid.uuid4().hex[:8]}")
        run("ip", "link", "add", names[0], "netns", one, "type", "veth", "peer", names[1], "netns", other)
        for where, name, text in ((one, names[0], address), (other, names[1], opposite)):
            self.inside(where, "ip", "address", "add", text, "dev", name)
            self.inside(where, "ip", "link", "set", name, "up")

    @staticmethod
    def inside(where: str, *command: str) -> None:
        run("ip", "netns", "exec", where, *command)

    def remove(self) -> None:
        for name in (self.server, self.router, self.client):
            run("ip", "netns", "delete", name)


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=20)


def put_from(where: str) -> str:
    command = ("ip", "netns", "exec", where, sys.executable, "-c", PUT)
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip() if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


@pytest.mark.root
@pytest.mark.parametrize(("hops", "far"), [(1, "TimeoutError"), (2, "200 98")])
def test_ms_t08_tok_09_the_answer_ends_with_its_hops(tmp_path: Path, hops: int, far: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes network namespaces that are routed")
    identity = {"source_ips": ["10.77.1.2", "10.77.2.2"]}
    document = {
        "uuid": "aaaaaaaa-0000-4000-8000-000000000001",
        "imds": {"tokens": "required", "hop_limit": hops},
        "identity": identity,
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    routed = Routed()
    serve = ("ip", "netns", "exec", routed.server, sys.executable, "-m", "guestling.main", "serve")
    options = ("--instances", str(tmp_path), "--listen", "10.77.1.1:8080")
    server = subprocess.Popen((*serve, *options), stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        assert server.stdout.readline().startswith("listening")
        assert put_from(routed.router) == "200 98"
        assert far in put_from(routed.client)
    finally:
        server.terminate()
        server.wait(15)
        server.stdout.close()
        routed.remove()
