"""Our OpenRC services under the real OpenRC (Debian's package, Alpine's runlevels): order, result, marker.

The programs are unpacked over the Debian of the differential test, so that nothing is installed anywhere.
`localmount` and `networking` stand for Alpine's services of these names: they only say that they ran.
"""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.contract.agent import chroots

CACHE = chroots.ROOT / ".cache" / "openrc"
PACKAGES = ("openrc", "librc1", "libeinfo1")
PACKAGING = chroots.ROOT / "packaging/agent"
# As the scripts of the .apk and `image bake` put them, and Alpine its own.
RUNLEVELS = {
    "boot": ("localmount", "networking", "cloud-init-ds-identify", "cloud-init-local"),
    "default": ("cloud-init", "cloud-config", "cloud-final", "a-daemon"),
}
STAND_IN = """\
#!/sbin/openrc-run
depend() {{ {depend}; }}
start() {{ echo "stand-in: {name}"; }}
"""
STAND_INS = {
    "localmount": "true",
    "networking": "need localmount; provide net",
    "a-daemon": "use net",
}
USER_DATA = """\
#cloud-config
hostname: web7
ssh_genkeytypes: [ed25519]
write_files: [{path: /opt/written, content: x}]
runcmd: [touch /opt/ran]
"""
META_DATA = "instance-id: i-openrc\nlocal-hostname: web1\n"
SCRIPT = """
set -e
mount -t overlay overlay -o lowerdir={lower},upperdir={copy}/upper,workdir={copy}/work {copy}/root
mount -t proc proc {copy}/root/proc
mount -t tmpfs tmpfs {copy}/root/run
set +e
run() {{ chroot {copy}/root /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@" </dev/null; }}
for level in sysinit boot default; do run openrc --no-stop $level >>{copy}/said 2>&1; done
run rc-status --all --nocolor >{copy}/services 2>&1
run timeout 60 cloud-init status --wait >{copy}/status
cp -RP {copy}/root/run {copy}/run
"""


def _openrc() -> Path:
    """The unpacked packages. Skips the test where they cannot be had."""
    CACHE.mkdir(parents=True, exist_ok=True)
    place = CACHE / "unpacked"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if place.is_dir():
            return place
        new = CACHE / "new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        for argv in (["apt-get", "download", *PACKAGES],):
            done = subprocess.run(argv, cwd=CACHE, capture_output=True, text=True, check=False, timeout=300)
            if done.returncode:
                pytest.skip(f"OpenRC cannot be had here: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        for package in CACHE.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(package), str(new)], check=True, timeout=60)
        # The base has /bin, /sbin and /lib below /usr.
        for name in ("bin", "sbin", "lib"):
            if (new / name).is_dir():
                shutil.copytree(new / name, new / "usr" / name, dirs_exist_ok=True, symlinks=True)
                shutil.rmtree(new / name)
        new.rename(place)
    return place


class Guest(NamedTuple):
    """What a boot under OpenRC left."""

    upper: Path
    run: Path
    said: str
    status: str
    # By name: started, stopped, ...
    services: dict[str, str]

    def began(self) -> list[str]:
        """The stages and stand-ins in their order."""
        return re.findall(r"(?:(?<=Cloud-init: )|(?<=stand-in: ))[\w-]+", self.said)


def _boot(copy: Path, *, user_data: str = USER_DATA, files: dict[str, str] | None = None) -> Guest:
    lower, openrc = chroots.base("trixie"), _openrc()
    upper = copy / "upper"
    for name in ("work", "root"):
        (copy / name).mkdir(parents=True)
    shutil.copytree(openrc, upper, symlinks=True)
    chroots.install(upper)
    put = {
        # Debian's OpenRC reads the order of LSB scripts from it, which Alpine has none of.
        "etc/insserv.conf": "",
        "usr/bin/cloud-init": chroots.LAUNCHER,
        "usr/lib/cloud-init/ds-identify": (chroots.ROOT / "guest_agent/ds-identify").read_text(),
        "var/lib/cloud/seed/nocloud/user-data": user_data,
        "var/lib/cloud/seed/nocloud/meta-data": META_DATA,
        **{f"etc/init.d/{path.name}": path.read_text() for path in (PACKAGING / "openrc").iterdir()},
        **{
            f"etc/init.d/{name}": STAND_IN.format(depend=depend, name=name)
            for name, depend in STAND_INS.items()
        },
        **(files or {}),
    }
    for name, content in put.items():
        place = upper / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
        if name.startswith(("usr/", "etc/init.d/")):
            place.chmod(0o755)
    for level, names in RUNLEVELS.items():
        for name in names:
            (upper / "etc/runlevels" / level).mkdir(parents=True, exist_ok=True)
            (upper / "etc/runlevels" / level / name).symlink_to(f"/etc/init.d/{name}")
    script = SCRIPT.format(lower=lower, copy=copy)
    argv = ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "sh", "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=110)
    if not (copy / "services").exists():
        pytest.skip(f"no overlay or namespace here: {done.stderr.strip()}")
    services = dict(re.findall(r"^ (\S+)\s+\[\s*(\w+)", (copy / "services").read_text(), re.MULTILINE))
    said, status = (copy / "said").read_text(), (copy / "status").read_text()
    return Guest(upper, copy / "run", said, status, services)


def _status(guest: Guest) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads(
        (guest.upper / "var/lib/cloud/data/status.json").read_text()
    )["v1"]
    return found


OURS = ("cloud-init-ds-identify", "cloud-init-local", "cloud-init", "cloud-config", "cloud-final")


def test_openrc_runs_the_stages_in_their_order_around_the_network(tmp_path: Path) -> None:
    guest = _boot(tmp_path / "copy")
    began = guest.began()
    assert began[:4] == ["localmount", "Datasource", "Local", "networking"], guest.said
    assert [name for name in began[4:] if name != "a-daemon"] == ["Network", "Config", "Final"]
    # What the user's scripts use is there when they run: the final stage is the last of its level.
    assert began[-1] == "Final"
    assert sorted(began) == sorted(set(began))
    assert {guest.services[name] for name in OURS} == {"started"}
    assert guest.status.splitlines()[-1] == "status: done"
    assert (guest.upper / "opt/ran").exists()
    assert (guest.upper / "opt/written").read_text() == "x"
    assert (guest.upper / "etc/hostname").read_text() == "web7\n"
    assert [_status(guest)[stage]["errors"] for stage in ("init-local", "init")] == [[], []]


def test_a_stage_with_errors_is_a_failed_service_and_the_next_stage_runs(tmp_path: Path) -> None:
    guest = _boot(tmp_path / "copy", user_data=USER_DATA.replace("write_files: [{", "write_files: [7, {"))
    assert guest.services["cloud-init"] == "stopped", guest.said
    assert "ERROR: cloud-init failed to start" in guest.said
    assert guest.services["cloud-config"] == "started"
    assert (guest.upper / "opt/ran").exists()
    assert guest.status.splitlines()[-1] == "status: error"


def test_the_marker_file_keeps_every_service_still(tmp_path: Path) -> None:
    guest = _boot(tmp_path / "copy", files={"etc/cloud/cloud-init.disabled": ""})
    assert guest.said.count("cloud-init is disabled by /etc/cloud/cloud-init.disabled") == len(OURS)
    assert guest.services["a-daemon"] == "started"
    assert not (guest.run / "cloud-init/status.json").exists()
    assert not (guest.upper / "var/lib/cloud/instance").exists()
    # Nothing will ever start: who waits is told so instead of waiting for ever (GA-S12).
    assert guest.status.splitlines()[-1] == "status: not started"
