"""SIGKILL to a real spawner process at many moments: the next life adopts, finishes or cleans up everything.

GUESTLING_KILL_POINTS sets how many; see `kill_points` for what is looked at after each.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.architecture import source_tree

HERE = Path(__file__).parent
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def _killed(kind: str, where: Path, points: int, path: str) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "kill_points.py"), kind, str(where), str(points)]
    environment = {**os.environ, "PYTHONPATH": str(source_tree.ROOT), "PATH": path}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    print(done.stdout)
    return found


def test_sp_06_a_killed_spawner_with_fake_nodes_leaves_nothing_undone(public: Path) -> None:
    points = int(os.environ.get("GUESTLING_KILL_POINTS", "30"))
    found = _killed("fake", public, points, os.environ["PATH"])
    assert found["wrong"] == []
    assert found["killed"] >= points // 2  # not all too late
    assert found["servers_found"]["active"] >= points // 4  # nor all too early


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed; ./dev test does it")
def test_sp_06_a_killed_spawner_leaves_no_process_disk_socket_or_namespace(public: Path, stub: str) -> None:
    """The node, launcher, keeper, namespace, relay and disks are real; a stub plays QEMU."""
    (public / "bin").mkdir()
    shutil.copy(stub, public / "bin" / "qemu-system-x86_64")
    points = int(os.environ.get("GUESTLING_KILL_POINTS", "12"))
    found = _killed("qemu", public, points, f"{public / 'bin'}:{os.environ['PATH']}")
    assert found["wrong"] == []
    assert found["killed"] >= points // 2
    assert found["servers_found"]["active"] >= points // 4
