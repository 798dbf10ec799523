"""Debian with the real cloud-init, made once below .cache, and overlays of it to boot in.

Two overlays of one base are two copies of the same guest; what a boot changed is what lies in the upper
directory. Everything happens in namespaces of its own: no name, network or mount of this machine changes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
import zlib
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[3]
CACHE = ROOT / ".cache" / "differential"
# cloud-init, and what its modules serve.
PACKAGES = (
    "cloud-init,python3-yaml,iproute2,ifupdown,sudo,openssh-server,procps,locales,"
    "ca-certificates,chrony,cloud-guest-utils,console-setup,e2fsprogs,fdisk,gdisk,rsyslog"
)
DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
STAGES = ("init --local", "init", "modules --mode=config", "modules --mode=final")
LAUNCHER = """\
#!/usr/bin/python3 -ISB
import sys
sys.path[:0] = ["/opt/guestling", "/usr/lib/python3/dist-packages"]
from guest_agent.cli import main
sys.exit(main())
"""
SCRIPT = """
set -e
mount -t overlay overlay -o lowerdir={lower},upperdir={copy}/upper,workdir={copy}/work {copy}/root
mount -t proc proc {copy}/root/proc
mount -t sysfs sysfs {copy}/root/sys
set +e
for words in "init --local" init "modules --mode=config" "modules --mode=final" "status --format json"; do
    chroot {copy}/root /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 {agent} $words \\
        </dev/null >"{copy}/out.${{words%% *}}" 2>>{copy}/errors
    echo "$words: $?" >>{copy}/codes
done
# What power_state has put off until the agent has ended.
if grep -q '^power_state:' {copy}/root/var/lib/cloud/seed/nocloud/user-data; then
    for _ in $(seq 100); do [ -e {copy}/root/opt/powered ] && break; sleep 0.1; done
fi
"""


class Entry(NamedTuple):
    """One thing a boot made or changed: kind and mode, owner, content (a link's target)."""

    mode: int
    owner: tuple[int, int]
    content: bytes

    @property
    def is_gone(self) -> bool:
        """An overlay says that a file of the base was removed by a device 0/0."""
        return stat.S_ISCHR(self.mode)


class Booted(NamedTuple):
    """What one boot left: exit statuses of the stages and of `status`, and every path it changed."""

    codes: tuple[str, ...]
    status: str
    tree: dict[str, Entry]


def base(suite: str) -> Path:
    """An unpacked Debian with cloud-init. Skips the test where none can be made."""
    if os.geteuid() != 0:
        pytest.skip("the differential test needs root (chroot, namespaces, overlay)")
    CACHE.mkdir(parents=True, exist_ok=True)
    name = f"{suite}-{zlib.crc32(PACKAGES.encode()):08x}"
    place = CACHE / f"{name}-root"
    # Test processes that run side by side make it once.
    with (CACHE / f"{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            _make(suite, CACHE / f"{name}.tar", place)
    return place


def _make(suite: str, archive: Path, place: Path) -> None:
    if not archive.exists():
        if shutil.which("mmdebstrap") is None:
            pytest.skip(
                "mmdebstrap is not installed, and no Debian with cloud-init is in .cache/differential"
            )
        partial = archive.with_suffix(".partial.tar")
        # A mirror that is some weeks behind serves a peer as well; its signature is checked all the same.
        behind = '--aptopt=Acquire::Check-Valid-Until "false"'
        argv = [
            "mmdebstrap",
            "--quiet",
            behind,
            "--variant=minbase",
            f"--include={PACKAGES}",
            suite,
            str(partial),
        ]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=900)
        if done.returncode:
            partial.unlink(missing_ok=True)
            pytest.skip(
                f"Debian {suite} cannot be had here: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
            )
        partial.rename(archive)
    unpacked = place.with_suffix(".partial")
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir()
    argv = ["tar", "-C", str(unpacked), "-xf", str(archive), "--exclude=./dev/*"]
    subprocess.run(argv, check=True, timeout=300)
    for name, major, minor in DEVICES:
        os.mknod(unpacked / "dev" / name, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
        (unpacked / "dev" / name).chmod(0o666)
    unpacked.rename(place)


def boot(lower: Path, copy: Path, agent: str, seed: dict[str, bytes]) -> Booted:
    """Run the four stages of `agent` in an overlay of `lower`. `copy` may hold an earlier boot."""
    upper = copy / "upper"
    for name in ("upper", "work", "root"):
        (copy / name).mkdir(parents=True, exist_ok=True)
    for name in ("codes", "errors"):
        (copy / name).unlink(missing_ok=True)
    shutil.rmtree(upper / "run", ignore_errors=True)
    _put(upper, {f"var/lib/cloud/seed/nocloud/{name}": content for name, content in seed.items()})
    if agent != "cloud-init":
        install(upper)
    script = SCRIPT.format(lower=lower, copy=copy, agent=agent)
    argv = ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "sh", "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    if not (copy / "codes").exists():
        pytest.skip(f"no overlay or namespace here: {done.stderr.strip()}")
    codes = tuple((copy / "codes").read_text().splitlines())
    return Booted(codes, (copy / "out.status").read_text(), tree(upper))


def _put(upper: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (upper / name).parent.mkdir(parents=True, exist_ok=True)
        (upper / name).write_bytes(content)


def install(upper: Path) -> None:
    """Our agent beside the other one, as it stands in this tree."""
    for package in ("boot_stages", "guest_agent", "configdrive"):
        target = upper / "opt/guestling" / package
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(ROOT / package, target, ignore=shutil.ignore_patterns("__pycache__"))
    _put(upper, {"usr/local/bin/guestling-agent": LAUNCHER.encode()})
    (upper / "usr/local/bin/guestling-agent").chmod(0o755)


def tree(upper: Path) -> dict[str, Entry]:
    """Everything below a directory, by its path."""
    found = {}
    for directory, names, files in os.walk(upper):
        for name in (*names, *files):
            place = Path(directory) / name
            seen = place.lstat()
            content = b""
            if stat.S_ISLNK(seen.st_mode):
                content = str(place.readlink()).encode()
            elif stat.S_ISREG(seen.st_mode):
                content = place.read_bytes()
            found[str(place.relative_to(upper))] = Entry(seen.st_mode, (seen.st_uid, seen.st_gid), content)
    return found
