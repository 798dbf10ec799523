"""A power cut at any point of a boot, then the next boot: it goes on, and nothing runs twice.

The agent is killed by strace at its n-th call of one kind, n from 1 until a run ends untouched. Checked after
the boot that follows: faults-and-threats section 8, I1 to I5 and I9; GA-W07. `POWER_CUT_STEP=1` tries every
point.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.guest_agent.run.roots import HAVE, Root

ROOT = Path(__file__).parents[3]
STEP = int(os.environ.get("POWER_CUT_STEP", "9"))
USER_DATA = """\
#cloud-config
hostname: web1
users: [default, {name: alice}]
write_files:
- {path: /etc/motd, content: hello}
- {path: /etc/issue, content: "once;", append: true}
- {path: /opt/late, content: x, defer: true}
runcmd: [echo once]
"""
# What changes the disk; each kind is cut at each of its calls in turn.
CALLS = (
    "rename,renameat,renameat2",
    "fsync",
    "mkdir,mkdirat",
    "unlink,unlinkat",
    "write",
    "symlink,symlinkat",
)
PROGRAM = """
import sys
from guest_agent import all_stages
from guest_agent.boot import Boot
from guest_agent.machine import Machine, Settings
machine = Machine(Settings(root={root!r}, have={have!r}, epoch_s=1700000000.0, uptime_s=12.5, random_seed=1))
all_stages.run(Boot(machine), is_by_hand=True)
machine.close()
"""
# The script itself, or the wrapper that the runcmd module puts around it.
SCRIPTS = ("/var/lib/cloud/instances/i-1/scripts/runcmd", "/var/lib/cloud/instances/i-1/runcmd-checked")
VOLATILE = ("run", "var/log", "var/lib/cloud/data/status.json", "var/lib/cloud/instances/i-1/changes.jsonl")
# Semaphores hold a process number; whether the scripts ran depends on the point of the cut.
NOT_EQUAL = ("var/lib/cloud/instances/i-1/sem",)


def _boot(root: Root, calls: str = "", number: int = 0) -> bool:
    """One boot, cut at the `number`-th of `calls`; False when it was not cut."""
    program = PROGRAM.format(root=str(root.path), have=HAVE)
    argv = [os.path.realpath(sys.executable), "-B", "-c", program]
    if calls:
        inject = f"inject={calls}:signal=KILL:when={number}"
        argv = ["strace", "-f", "-qq", "-o", os.devnull, "-e", inject, *argv]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=100, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), _site()]))},
    )  # fmt: skip
    return done.returncode != 0


def _site() -> str:
    """Where PyYAML is, for the interpreter without the virtual environment."""
    import yaml

    return str(Path(yaml.__file__).parents[1])


def _runs(root: Root) -> int:
    """How often the user's script was run in the boot that has just ended."""
    return sum(argv[0] in SCRIPTS for argv in root.commands())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, bytes]]:
    """The tree after two boots without a cut."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    root = Root(tmp_path_factory.mktemp("undisturbed") / "root")
    root.seed(USER_DATA)
    _boot(root)
    root.reboot()
    _boot(root)
    return root.tree(without=(*VOLATILE, *NOT_EQUAL))


def _is_made_good(root: Root, runs: int, undisturbed: dict[str, tuple[int, bytes]], place: str) -> None:
    """The boot after the last cut, and the invariants that must hold then. `runs`: of the script so far."""
    root.reboot()
    assert not _boot(root), f"{place}: the next boot failed"
    runs += _runs(root)
    assert runs <= 1, place
    warnings = json.dumps(root.status()["modules-final"]["recoverable_errors"])
    assert runs == 1 or "was interrupted" in warnings, place
    assert root.json("var/lib/cloud/data/result.json")["v1"]["errors"] == [], place
    after = root.tree(without=(*VOLATILE, *NOT_EQUAL))
    changed = {name for name in undisturbed if undisturbed[name] != after.get(name)}
    assert changed == set(), place
    assert set(after) == set(undisturbed), place


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("calls", CALLS)
def test_ga_s01_a_cut_at_any_point_is_made_good_by_the_next_boot(
    calls: str, undisturbed: dict[str, tuple[int, bytes]], tmp_path: Path
) -> None:
    number, points = 1, 0
    while True:
        root = Root(tmp_path / f"root-{number}")
        root.seed(USER_DATA)
        if not _boot(root, calls, number):
            break
        points += 1
        _is_made_good(root, _runs(root), undisturbed, f"cut at {calls} number {number}")
        shutil.rmtree(root.path)
        number += STEP
    assert points > 0
    print(f"\npower cuts at {calls}: {points} points, 0 breaks")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ga_s03_a_cut_during_the_recovery_is_made_good_as_well(
    undisturbed: dict[str, tuple[int, bytes]], tmp_path: Path
) -> None:
    """Compound faults: the boot that makes a cut good is cut too, early, in its middle and late."""
    points = 0
    for first in (5, 25, 45):
        for second in (2, 12, 22):
            root = Root(tmp_path / f"root-{first}-{second}")
            root.seed(USER_DATA)
            calls = CALLS[0]
            assert _boot(root, calls, first), f"there is no rename number {first}: choose others"
            runs = _runs(root)
            root.reboot()
            points += _boot(root, calls, second)
            runs += _runs(root)
            _is_made_good(root, runs, undisturbed, f"cut at rename {first}, then at {second}")
            shutil.rmtree(root.path)
    assert points >= 6, "most recoveries were cut"
    print(f"\npower cuts during the recovery: {points} points, 0 breaks")
