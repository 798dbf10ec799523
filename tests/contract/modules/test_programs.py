"""What modules write for other programs is taken by those programs: fixtures/programs, in roots of Debian.

chronyd and rsyslogd read their files, ssh-import-id fetches from a server of the test, ansible-pull runs a
play book from a repository, wg-quick takes its interface. (Services cannot be started in a chroot.)
"""

import json
import re
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.contract.modules.conftest import TOOLS, debian_root, overlay

PROGRAMS = Path(__file__).parents[3] / "fixtures" / "programs"
Boot = Callable[[Path, Path], dict[str, Any]]
pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(1200)]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDDLI54EmUUb01RiQblXk7sQyhVYMrrWGU7hQtMgZ2tF {}@launchpad"
PLAY_BOOK = """\
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.copy: {content: "pulled\\n", dest: /srv/page, mode: "0640"}
"""


# A root with this machine's /proc would take this machine's disks for its own.
OFF = '\ngrowpart: {mode: "off"}\nresize_rootfs: false\n'


def booted(root: Path, boot: Boot, name: str) -> dict[str, Any]:
    """A boot with this fixture, in which nothing failed."""
    config = root.parent / f"{name}.yaml"
    config.write_text((PROGRAMS / f"{name}.yaml").read_text() + OFF)
    result = boot(root, config)
    assert result["errors"] == {}
    assert result["warnings"] == {}
    return result


def inside(root: Path, *argv: str) -> str:
    """What a program of the root says; it must end well."""
    done = subprocess.run(["chroot", str(root), *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_chronyd_takes_its_servers(guest_root: Path, boot: Boot) -> None:
    before = (guest_root / "etc/chrony/chrony.conf").read_text()
    result = booted(guest_root, boot, "time")
    said = inside(guest_root, "chronyd", "-p", "-f", "/etc/chrony/chrony.conf").splitlines()
    assert {"server ntp1.example.org iburst", "pool pool.example.org iburst"} <= set(said)
    assert {"peer peer.example.org", "allow 10.0.0.0/8"} <= set(said)
    assert (guest_root / "etc/chrony/chrony.conf.dist").read_text() == before
    assert "run systemctl reload-or-restart chrony" in result["done"]["ntp"]


def test_rsyslogd_takes_its_files(guest_root: Path, boot: Boot) -> None:
    booted(guest_root, boot, "log")
    inside(guest_root, "rsyslogd", "-N1")
    (guest_root / "etc/rsyslog.d/20-cloud-config.conf").write_text("nonsense {\n")
    spoilt = subprocess.run(["chroot", str(guest_root), "rsyslogd", "-N1"], capture_output=True, check=False)
    assert spoilt.returncode != 0  # so the first answer meant something


class _KeyServer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = re.match(r"/~(\w+)/\+sshkeys", self.path)
        assert found
        self.send_response(200)
        self.end_headers()
        self.wfile.write(KEY.format(found.group(1)).encode() + b"\n")

    def log_message(self, *_words: object) -> None:
        """Quiet."""


@pytest.fixture
def key_server() -> Iterator[str]:
    """A server of keys on loopback; its address with %s for the name."""
    server = HTTPServer(("127.0.0.1", 0), _KeyServer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/~%s/+sshkeys"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_ssh_import_id_fetches_keys_for_each_user(guest_root: Path, boot: Boot, key_server: str) -> None:
    (guest_root / "etc/ssh/ssh_import_id").write_text(json.dumps({"URL": key_server}))
    booted(guest_root, boot, "keys")
    for user, name in (("debian", "admin"), ("ana", "ana")):
        path = guest_root / f"home/{user}/.ssh/authorized_keys"
        assert KEY.format(name) in path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.stat().st_uid == (guest_root / f"home/{user}").stat().st_uid


@pytest.fixture
def trixie(tmp_path: Path) -> Iterator[Path]:
    """Debian 13 with /proc, which ansible needs."""
    for merged in overlay(debian_root("trixie", TOOLS), tmp_path):
        subprocess.run(["mount", "-t", "proc", "proc", str(merged / "proc")], check=True)
        try:
            yield merged
        finally:
            subprocess.run(["umount", "--lazy", str(merged / "proc")], check=False)


def test_ansible_pulls_and_runs_a_play_book(trixie: Path, boot: Boot) -> None:
    (trixie / "dev/shm").mkdir(exist_ok=True)
    site = trixie / "srv/site"
    site.mkdir()
    (site / "web.yml").write_text(PLAY_BOOK)
    git = ("git", "-C", "/srv/site", "-c", "user.name=a", "-c", "user.email=a@example.org")
    inside(trixie, "git", "init", "--quiet", "--initial-branch=main", "/srv/site")
    inside(trixie, *git, "add", "web.yml")
    inside(trixie, *git, "commit", "--quiet", "-m", "site")
    result = booted(trixie, boot, "play-book")
    assert (trixie / "srv/page").read_text() == "pulled\n"
    assert any("ansible-pull" in each for each in result["done"]["ansible"])


def test_wg_quick_takes_the_interface(guest_root: Path, boot: Boot) -> None:
    (guest_root / "sys/module/wireguard").mkdir(parents=True)  # the kernel has it already
    result = booted(guest_root, boot, "tunnel")
    path = guest_root / "etc/wireguard/wg0.conf"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    said = inside(guest_root, "wg-quick", "strip", "/etc/wireguard/wg0.conf")
    assert "AllowedIPs = 192.0.2.2/32" in said
    assert "Address" not in said
    assert (
        result["done"]["wireguard"][-1]
        == "run the scripts of the readiness probes: test -s /etc/wireguard/wg0.conf"
    )
    assert "WAmgVYXk" not in json.dumps({name: result[name] for name in ("planned", "done", "console")})
