"""Fixtures of the agent's tests."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PEERS = ROOT / ".cache" / "python39"


@pytest.fixture(scope="session")
def python39() -> tuple[str, dict[str, str]]:
    """Python 3.9 with PyYAML and Jinja2, and its environment variables; made once below .cache."""
    program = PEERS / "bin" / "python"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    PEERS.parent.mkdir(exist_ok=True)
    # pytest-xdist: one worker makes the environment, the others wait until it is whole.
    with PEERS.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _make_environment(program)
    return str(program), environment


def _make_environment(program: Path) -> None:
    base = _python39()
    if base is None:
        pytest.skip("there is no Python 3.9 on this machine")
    install = [str(program), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    for argv in ([base, "-m", "venv", str(PEERS)], [*install, "pyyaml>=6", "jinja2"]):
        made = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)
        if made.returncode:
            shutil.rmtree(PEERS, ignore_errors=True)
            pytest.skip(f"no Python 3.9 environment: {made.stderr.strip().splitlines()[-1:]}")


def _python39() -> str | None:
    """An interpreter that starts; a shim may name one that is not there."""
    installed = sorted(Path("~/.pyenv/versions").expanduser().glob("3.9.*/bin/python3.9"))
    named = shutil.which("python3.9")
    for candidate in [*map(str, installed), *([named] if named else [])]:
        if not subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode:
            return candidate
    return None
