"""A signal in the middle of a stage: the agent ends, what it started ends with it, the status is whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.guest_agent.run.roots import HAVE, Root

ROOT = Path(__file__).parents[4]
# A stage on a recorded machine in which one module runs a real program that does not end by itself.
PROGRAM = """
import sys
from boot_stages import runner
from boot_stages.commands import Command, SystemCommands
from boot_stages.stages import LOCAL
from guest_agent.boot import Boot
from guest_agent.commands.stage import _until_stopped
from guest_agent.machine import Machine, Settings
from guest_agent import init_stages

machine = Machine(Settings(root={root!r}, have={have!r}))
boot = Boot(machine)

def slow(boot):
    print("begun", flush=True)
    SystemCommands("/").run(Command(("sh", "-c", "echo $$ > {pid}; {at_once}sleep 300")))
    return []

init_stages.STEPS[LOCAL.key] = slow
sys.exit(_until_stopped(machine, lambda: boot.run(LOCAL)))
"""


def _has_ended(pid: int) -> bool:
    """Whether a process is gone within 5 s; one that only waits to be reaped, by whom is not ours, is."""
    for _ in range(500):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGABRT])
def test_ga_s08_a_signal_ends_the_stage_and_its_children(
    root: Root, tmp_path: Path, number: signal.Signals
) -> None:
    pid_file = tmp_path / "pid"
    program = PROGRAM.format(root=str(root.path), have=HAVE, pid=pid_file, at_once="")
    agent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    for _ in range(6000):
        if pid_file.exists() and pid_file.read_text().strip():
            break
        time.sleep(0.01)
    child = int(pid_file.read_text())
    agent.send_signal(number)
    _out, errors = agent.communicate(timeout=60)
    assert agent.returncode == 0
    assert f"Cloud-init received {number.name}, exiting" in errors.decode()
    assert _has_ended(child)
    status = json.loads(root.text("var/lib/cloud/data/status.json"))["v1"]
    assert status["init-local"]["errors"] == []
    assert status["init-local"]["finished"] is not None
    assert status["stage"] is None


@pytest.mark.parametrize("where", ["/", str(ROOT)], ids=["spawned", "forked"])
def test_ga_s08_a_signal_while_a_child_begins_ends_it_too(root: Root, tmp_path: Path, where: str) -> None:
    """The child's first act is the signal: it comes before the agent has noted whom it started."""
    for number in range(8):
        pid_file = tmp_path / f"pid-{number}"
        program = PROGRAM.format(root=str(root.path), have=HAVE, pid=pid_file, at_once="kill -TERM $PPID; ")
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, cwd=where, timeout=60, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Cloud-init received SIGTERM, exiting" in done.stderr.decode()
        assert not pid_file.exists() or _has_ended(int(pid_file.read_text()))
