"""Debian roots for the module tests: made once under .cache with mmdebstrap, then used through an overlay."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CACHE = Path(__file__).parents[3] / ".cache" / "roots"
MIRROR = "http://deb.debian.org/debian"
# The tools of the modules, as a cloud image has them.
TOOLS = (
    "locales,openssh-client,openssh-server,sudo,e2fsprogs,fdisk,gdisk,cloud-guest-utils,tzdata,ca-certificates,"
    "debconf,dosfstools,util-linux,passwd,hostname,console-setup,xfsprogs,systemd,udev,python3,python3-yaml,"
    "ansible-core,chrony,git,iproute2,rsyslog,ssh-import-id,wireguard-tools"
)


def debian_root(suite: str, packages: str) -> Path:
    """A root of a Debian suite with packages; skips the test, with the reason, where it cannot be made."""
    root = CACHE / f"{suite}-{abs(hash_of(packages)):08x}"
    if (root / "made").exists():
        return root / "tree"
    if os.geteuid() != 0:
        pytest.skip("root is needed to make a Debian root")
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is not installed")
    root.mkdir(parents=True, exist_ok=True)
    # pytest-xdist: one worker makes the root, the others wait until it is whole.
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "made").exists():
            _make_root(suite, packages, root)
    return root / "tree"


def _make_root(suite: str, packages: str, root: Path) -> None:
    shutil.rmtree(root / "tree", ignore_errors=True)
    made = subprocess.run(
        [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={packages}",
            "--aptopt=APT::Install-Recommends false",
            # A machine whose clock is ahead would find every archive outdated.
            "--aptopt=Acquire::Check-Valid-Until false",
            suite,
            str(root / "tree"),
            MIRROR,
        ],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip(f"a root of Debian {suite} cannot be made here: {made.stderr.strip()[-300:]}")
    (root / "made").touch()


def hash_of(text: str) -> int:
    """A number that stays the same from run to run."""
    import zlib

    return zlib.crc32(text.encode())


@pytest.fixture(scope="session")
def cloud_init_root() -> Path:
    """Debian sid with stock cloud-init: the peer that the schema is held against."""
    return debian_root("sid", "cloud-init,python3-jsonschema")


@pytest.fixture(params=["bookworm", "trixie"])
def guest_root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A Debian root that a test may change: an overlay over the cached one."""
    lower = debian_root(request.param, TOOLS)
    yield from overlay(lower, tmp_path)


def overlay(lower: Path, place: Path) -> Iterator[Path]:
    """Mount an overlay of `lower` below `place` for the time of a test."""
    upper, work, merged = (place / name for name in ("upper", "work", "merged"))
    for each in (upper, work, merged):
        each.mkdir()
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    mounted = subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", options, str(merged)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"overlays cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield merged
    finally:
        subprocess.run(["umount", "--lazy", str(merged)], check=False)


@pytest.fixture
def boot() -> Callable[[Path, Path], dict[str, Any]]:
    """Plan, boot, plan again, in namespaces of its own: a host name set there stays there."""
    here = Path(__file__).parent

    def run(root: Path, config: Path) -> dict[str, Any]:
        own = ("unshare", "--mount", "--uts", "--ipc", "--fork")
        done = subprocess.run(
            [*own, sys.executable, str(here / "boot_in_root.py"), str(root), str(config)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            cwd=here.parents[2],
            # systemctl leaves services alone, also where it cannot see by /proc that this is a chroot.
            env={
                **os.environ,
                "PYTHONPATH": str(here.parents[2]),
                "LC_ALL": "C.UTF-8",
                "SYSTEMD_OFFLINE": "1",
            },
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run
