"""The agent's .deb on Debian 12 and 13: installed by dpkg, run through its stages, purged without a trace."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from image_harness.agent_packages import build
from tests.contract.agent import chroots
from tests.contract.modules.conftest import TOOLS, debian_root, overlay

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600)]

LIMIT_BYTES = 1 << 20
USER_DATA = """\
#cloud-config
users: [default, {name: alice, groups: [adm]}]
write_files: [{path: /etc/from-user-data, content: "yes\\n"}]
runcmd: ["echo ran > /srv/runcmd"]
ssh_genkeytypes: [ed25519]
locale: false
"""
STAGES = ("init --local", "init", "modules --mode=config", "modules --mode=final")


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package for Debian."""
    made = build.build(tmp_path_factory.mktemp("deb"), ["deb"])
    return next(each.path for each in made if each.family == "debian")


@pytest.fixture(params=["bookworm", "trixie"])
def root(request: pytest.FixtureRequest, tmp_path: Path, deb: Path) -> Iterator[Path]:
    """An overlay of a Debian root without cloud-init, the package in its /tmp."""
    for merged in overlay(debian_root(request.param, TOOLS), tmp_path):
        (merged / "tmp" / deb.name).write_bytes(deb.read_bytes())
        yield merged


def _inside(root: Path, script: str) -> str:
    """What a shell script printed that was run in the root, in namespaces of its own."""
    mounted = f"mount -t proc proc {root}/proc && exec chroot {root} /bin/sh -euc '{script}'"
    done = subprocess.run(
        ["unshare", "--mount", "--net", "--uts", "--pid", "--ipc", "--fork", "sh", "-c", mounted],
        capture_output=True, text=True, check=False, timeout=300,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
    )  # fmt: skip
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def _paths(root: Path) -> set[str]:
    left_out = ("proc", "sys", "run", "tmp", "dev")
    return {
        path
        for path in chroots.tree(root)
        if path.split("/")[0] not in left_out and not path.startswith(("var/log/dpkg.log", "var/lib/dpkg/"))
    }


def test_it_installs_runs_its_stages_and_is_purged_without_a_trace(root: Path, deb: Path) -> None:
    before = _paths(root)
    _inside(root, f"dpkg -i /tmp/{deb.name} 2>&1")
    listed = _inside(root, "dpkg -L guestling-agent").split("\n")
    sizes = [(root / path.lstrip("/")).lstat() for path in listed if path and path != "/."]
    assert sum(state.st_size for state in sizes if state.st_nlink == 1) <= LIMIT_BYTES
    assert _inside(root, "cloud-init --version").startswith("cloud-init 0.1.0")
    # Compiled at installation, enabled as systemctl would.
    assert list((root / "usr/share/guestling-agent/guest_agent/__pycache__").glob("cli.*.pyc"))
    wanted = root / "etc/systemd/system/cloud-init.target.wants"
    assert {path.name for path in wanted.iterdir()} >= {"cloud-init-main.service", "cloud-final.service"}
    assert "is-enabled" not in _inside(root, "systemctl is-enabled cloud-init-main.service")

    seed = root / "var/lib/cloud/seed/nocloud"
    seed.mkdir(parents=True)
    (seed / "meta-data").write_text("instance-id: i-1\nlocal-hostname: web-1\n")
    (seed / "user-data").write_text(USER_DATA)
    _inside(root, "cloud-init schema -c /var/lib/cloud/seed/nocloud/user-data")
    (root / "etc/cloud/cloud.cfg.d").mkdir(exist_ok=True)
    (root / "etc/cloud/cloud.cfg.d/90.cfg").write_text("datasource_list: [NoCloud]\n")
    # The statuses of stages that only recovered from something are 0 and 2, and what they say is looked at.
    _inside(root, "".join(f"cloud-init {words} || [ $? = 2 ]; " for words in STAGES))
    status = json.loads(_inside(root, "cloud-init status --format json || [ $? = 2 ]"))
    assert (status["status"], status["errors"]) == ("done", []), status
    assert (root / "etc/from-user-data").read_text() == "yes\n"
    assert (root / "srv/runcmd").read_text() == "ran\n"
    assert "alice:x:" in (root / "etc/passwd").read_text()

    (root / "etc/cloud/cloud.cfg.d/90.cfg").unlink()
    _inside(root, "dpkg --purge guestling-agent 2>&1")
    left = {path for path in _paths(root) - before if "cloud" in path or "guestling" in path}
    # What a boot did for this guest stays, as it would with cloud-init.
    assert {
        path for path in left if not path.startswith(("etc/netplan/", "etc/network/", "etc/sudoers.d/"))
    } <= {"etc/ssh/sshd_config.d/50-cloud-init.conf"}
    assert "guestling" not in _inside(root, "dpkg -l")


def test_it_takes_the_place_of_cloud_init(tmp_path: Path, deb: Path) -> None:
    for root in overlay(chroots.base("trixie"), tmp_path):
        (root / "tmp" / deb.name).write_bytes(deb.read_bytes())
        assert _inside(root, "dpkg-query -W -f \\${Version} cloud-init").startswith("25.")
        _inside(root, f"apt-get -q -y -o Dpkg::Options::=--force-confold install /tmp/{deb.name}")
        states = _inside(
            root, 'dpkg-query -W -f "\\${Package} \\${db:Status-Status}\\n" cloud-init guestling-agent'
        )
        assert states.split("\n")[:2] == ["cloud-init config-files", "guestling-agent installed"]
        assert _inside(root, "cloud-init --version").startswith("cloud-init 0.1.0")
        # Others that depend on cloud-init are content with it.
        assert "cloud-init" in _inside(root, "dpkg-query -W -f \\${Provides} guestling-agent")
        _inside(root, "dpkg --audit")
