"""The agent's OpenStack source over IPv6 alone: `[fe80::a9fe:a9fe%IFACE]`, the caller known by its MAC."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from tests.contract.metadata.test_hop_limit import run

ROOT = Path(__file__).parents[3]
MAC = "52:54:00:12:34:56"
DOCUMENT = {
    "uuid": "00000000-0000-4000-8000-00000000fe80",
    "hostname": "six",
    "macs": [MAC],
    "user_data": "#cloud-config\n",
}
# The source itself: below another root the agent fetches nothing, and this machine's root is not its guest.
PROGRAM = """
import json
from guest_agent.datasources import NETWORK, Search, openstack
from guest_agent.machine import Machine, Settings
found = openstack.read(Search(Machine(Settings()), {}, NETWORK, warn=print))
print(json.dumps([found.instance_id, found.local_hostname, found.subplatform, found.user_data.decode()]))
"""


class Pair:
    """Two network namespaces with a cable and nothing but link-local IPv6 between them."""

    def __init__(self) -> None:
        mark = uuid.uuid4().hex[:6]
        self.server, self.guest = f"guestling-{mark}-s", f"guestling-{mark}-g"
        for name in (self.server, self.guest):
            run("ip", "netns", "add", name)
        link = ("ip", "link", "add", "service0", "netns", self.server, "type", "veth")
        run(*link, "peer", "name", "eth0", "address", MAC, "netns", self.guest)
        self.inside(self.server, "ip", "address", "add", "fe80::a9fe:a9fe/64", "dev", "service0", "nodad")
        for where, name in ((self.server, "service0"), (self.guest, "eth0")):
            # Without the wait for duplicate addresses the address can be used as soon as the link is up.
            self.inside(where, "sysctl", "-qw", f"net.ipv6.conf.{name}.accept_dad=0")
            self.inside(where, "ip", "link", "set", name, "up")
        self._await_address()

    def _await_address(self) -> None:
        """The kernel gives eth0 its link-local address a moment after both ends are up."""
        show = (
            "ip",
            "netns",
            "exec",
            self.guest,
            "ip",
            "-6",
            "-o",
            "address",
            "show",
            "dev",
            "eth0",
            "-tentative",
        )
        ends = time.monotonic() + 60
        while "scope link" not in subprocess.run(show, capture_output=True, text=True, check=True).stdout:
            assert time.monotonic() < ends, "eth0 has no link-local address"
            time.sleep(0.05)

    @staticmethod
    def inside(where: str, *command: str) -> None:
        run("ip", "netns", "exec", where, *command)

    def remove(self) -> None:
        for name in (self.server, self.guest):
            run("ip", "netns", "delete", name)


@pytest.mark.root
def test_the_agent_finds_its_openstack_over_link_local_ipv6_alone(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes network namespaces with a cable between them")
    (tmp_path / "a.json").write_text(json.dumps(DOCUMENT))
    pair = Pair()
    serve = ("ip", "netns", "exec", pair.server, sys.executable, "-m", "guestling.main", "serve")
    options = ("--instances", str(tmp_path), "--listen", "[fe80::a9fe:a9fe%service0]:80", "--identity", "mac")
    server = subprocess.Popen((*serve, *options), stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert server.stdout is not None
    try:
        assert server.stdout.readline().startswith("listening")
        agent = ("ip", "netns", "exec", pair.guest, sys.executable, "-c", PROGRAM)
        done = subprocess.run(agent, capture_output=True, text=True, cwd=ROOT, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [
            DOCUMENT["uuid"],
            "six",
            "metadata (http://[fe80::a9fe:a9fe%25eth0])",
            "#cloud-config\n",
        ]
    finally:
        server.terminate()
        server.wait(15)
        server.stdout.close()
        pair.remove()
