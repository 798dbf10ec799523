"""Stock cloud-init as a peer: its package from Debian, its libraries from PyPI; under .cache, not installed.

One process converts every document (`PEER_SCRIPT`), because starting Python for each would take minutes.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from image_harness import debian
from image_harness.errors import HarnessError
from tests.contract.network.tool_root import CACHE, Unavailable

SUITE = "sid"  # the contract was read from 26.2
LIBRARIES = ("pyyaml", "configobj", "jinja2", "jsonschema", "requests", "jsonpatch", "oauthlib")
PEER_SCRIPT = Path(__file__).with_name("peer_convert.py")
Job = dict[str, Any]


def converted(jobs: list[Job]) -> list[Job]:
    """For each {text, kind, distro, output, have}: {files: {path: text}} or {error}. Raises Unavailable."""
    python, packages = _peer()
    done = subprocess.run(
        [str(python), str(PEER_SCRIPT), str(packages)],
        input=json.dumps(jobs),
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
    )
    answers = json.loads(done.stdout)
    assert isinstance(answers, list)
    return answers


def _peer() -> tuple[Path, Path]:
    home = CACHE / "cloud-init"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.is_dir():
            new = home.with_suffix(".new")
            shutil.rmtree(new, ignore_errors=True)
            try:
                _make(new)
            except (HarnessError, subprocess.CalledProcessError) as error:
                raise Unavailable(f"cloud-init could not be fetched: {error}") from error
            new.rename(home)
    return home / "venv" / "bin" / "python", home / "unpacked" / "usr" / "lib" / "python3" / "dist-packages"


def _make(home: Path) -> None:
    apt = debian.Apt(home / "apt", SUITE, debian.mirrors())
    apt.update()
    (package,) = apt.download(["cloud-init"], home / "debs")
    debian.unpack(package, home / "unpacked")
    # The environment is renamed once it is whole; its interpreter does not mind, and no other part is used.
    subprocess.run([sys.executable, "-m", "venv", str(home / "venv")], check=True, capture_output=True)
    pip = [str(home / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", *LIBRARIES]
    subprocess.run(pip, check=True, capture_output=True, timeout=300)
