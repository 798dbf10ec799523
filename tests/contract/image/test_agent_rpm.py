"""The agent's .rpm, taken by the real rpm into an empty root: installed, verified, erased."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from image_harness.agent_packages import build

pytestmark = [pytest.mark.root]


def _rpm(root: Path, *words: str) -> str:
    """What rpm says. Scripts are left out: there is no shell in the root; dependencies, no Python."""
    argv = ["rpm", "--root", str(root), "--dbpath", "/var/lib/rpm", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _files(root: Path) -> set[str]:
    paths = (path.relative_to(root) for path in root.rglob("*") if not path.is_dir() or path.is_symlink())
    return {str(path) for path in paths if not str(path).startswith("var/lib/rpm")}


def test_rpm_installs_verifies_and_erases_it(tmp_path: Path) -> None:
    if shutil.which("rpm") is None:
        pytest.skip("rpm is not installed; ./dev test installs it")
    (made,) = build.build(tmp_path / "made", ["rpm"])
    root = tmp_path / "root"
    root.mkdir()
    _rpm(root, "--nodeps", "--noscripts", "--install", str(made.path))
    assert _rpm(root, "-q", "--qf", "%{NAME} %{ARCH}", "guestling-agent") == "guestling-agent noarch"
    assert _rpm(root, "--verify", "--nodeps", "guestling-agent") == ""
    assert "/etc/cloud/cloud.cfg" in _rpm(root, "-q", "--configfiles", "guestling-agent")
    assert _rpm(root, "-q", "--conflicts", "guestling-agent").strip() == "cloud-init"
    assert "distro: fedora" in (root / "etc/cloud/cloud.cfg").read_text()
    assert (root / "usr/lib/systemd/system-generators/cloud-init-generator").stat().st_mode & 0o111
    # What rpm runs are shell programs that know the number of versions left.
    scripts = _rpm(root, "-q", "--scripts", "guestling-agent")
    assert all(f"{name} scriptlet" in scripts for name in ("postinstall", "preuninstall", "postuninstall"))
    (root / "usr/bin/cloud-init").write_text("spoilt")
    assert subprocess.run(
        ["rpm", "--root", str(root), "--dbpath", "/var/lib/rpm", "--verify", "--nodeps", "guestling-agent"],
        capture_output=True, check=False,
    ).returncode  # fmt: skip
    _rpm(root, "--nodeps", "--noscripts", "--erase", "guestling-agent")
    assert _files(root) == set()
