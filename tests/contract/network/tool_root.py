"""A small Debian with the real network programs, under .cache: systemd-networkd, ifupdown, netplan,
NetworkManager.

Made once with mmdebstrap (about a minute, 260 MB) and never changed: each use lays a file system in memory
over it. Nothing is installed on this machine, and nothing is started outside the namespaces of one test.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from image_harness import debian

CACHE = Path(__file__).parents[3] / ".cache" / "network-tools"
SUITE = os.environ.get("GUESTLING_NETWORK_SUITE", "bookworm")
PACKAGES = (
    "systemd", "udev", "dbus", "iproute2", "ifupdown", "bridge-utils", "ifenslave", "vlan", "netplan.io",
    "network-manager", "kmod",
)  # fmt: skip
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*")


class Unavailable(Exception):
    """Why the real programs cannot be run here."""


def tool_root() -> Path:
    """The file system, made if it is not there. Raises Unavailable."""
    if os.geteuid() != 0:
        raise Unavailable("network namespaces, mounts and a chroot need root")
    if not shutil.which("mmdebstrap"):
        raise Unavailable("mmdebstrap is not installed (./dev test installs it)")
    root = CACHE / SUITE
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.is_dir():
            _make(root)
    return root


def _make(root: Path) -> None:
    new = root.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    command = ["mmdebstrap", "--variant=minbase", "--mode=root", f"--include={','.join(PACKAGES)}"]
    command += [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT]
    command += ["--aptopt=Acquire::Check-Valid-Until false", SUITE, str(new), debian.mirrors().main]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=1200)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Unavailable(f"mmdebstrap could not make the tools: {last}")
    new.rename(root)
