"""The agent against the real cloud-init: four stages in a chroot of Debian 13, CPU, wall and memory.

Both run in overlays of one guest that has both installed, in turns, so that a busy machine hits both alike.
Host keys are not generated (ssh-keygen would be most of the time of either). CPU is that of the agent and of
all it starts.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from guestling.output import print_rows
from tests.contract.agent import chroots

ROUNDS = 3
OURS = "/usr/local/bin/guestling-agent"
CONFIG = "datasource_list: [NoCloud]\nssh_genkeytypes: []\nssh_deletekeys: false\n"
BOOT_SCRIPT = Path(__file__).with_name("agent_boot.py")
# The goals of the project: our share of cloud-init's CPU seconds, and of its wall seconds.
GOALS = {
    ("empty", "four stages"): 1 / 10,
    ("realistic", "four stages"): 1 / 6,
    ("empty", "--all-stages"): 1 / 3,
    ("realistic", "--all-stages"): 1 / 3,
    ("second boot", "--all-stages"): 0.12,
    ("status", "four stages"): 1 / 5,
    ("query", "four stages"): 1 / 5,
}
MEMORY_GOAL = 1 / 2


QUERIES = ("status", "query")


def realistic() -> str:
    """3 users, 10 files, 20 commands."""
    users = [{"name": f"user{n}", "shell": "/bin/sh", "groups": "users"} for n in range(3)]
    files = [{"path": f"/opt/files/{n}", "content": "x" * 200} for n in range(10)]
    commands = [["/bin/true", str(n)] for n in range(20)]
    return "#cloud-config\n" + json.dumps({"users": users, "write_files": files, "runcmd": commands})


@dataclass(frozen=True)
class Cost:
    """What a boot cost: CPU and wall seconds, peak memory in MiB."""

    cpu_s: float
    wall_s: float
    rss_mib: float


Costs = dict[tuple[str, str, str], Cost]


def run() -> None:
    """Measure and print both tables; says which goals are met."""
    try:
        lower = chroots.base("trixie")
    except pytest.skip.Exception as why:
        print(f"bench agent: cannot compare: {why}")
        return
    with tempfile.TemporaryDirectory(dir=chroots.CACHE) as directory:
        costs = measure(lower, Path(directory))
    head = ("boot", "compared with", "of", "its", "ours", "share", "goal", "")
    print_rows(head, [row for key, goal in GOALS.items() for row in _rows(key, goal, costs)])
    four = [costs[case, "ours", "four stages"].cpu_s for case in ("empty", "realistic")]
    print(f"Our four stages as four commands: {four[0]:.3f} s empty, {four[1]:.3f} s realistic.")
    print(import_times(lower))


def _rows(key: tuple[str, str], goal: float, costs: Costs) -> list[tuple[str, ...]]:
    """CPU, wall and memory of one comparison, each against its goal."""
    case, form = key
    ours, stock = costs[case, "ours", "--all-stages"], costs[case, "cloud-init", form]
    return [
        _row(case, form, "CPU s", stock.cpu_s, ours.cpu_s, goal),
        _row(case, form, "wall s", stock.wall_s, ours.wall_s, goal),
        _row(case, form, "peak MiB", stock.rss_mib, ours.rss_mib, MEMORY_GOAL),
    ]


def _row(case: str, form: str, what: str, stock: float, ours: float, goal: float) -> tuple[str, ...]:
    share = ours / stock
    verdict = "met" if share <= goal else "NOT met"
    of = "cloud-init" if case in QUERIES else f"cloud-init {form}"
    return (case, of, what, f"{stock:.3f}", f"{ours:.3f}", f"{share:.3f}", f"{goal:.3f}", verdict)


def measure(lower: Path, directory: Path) -> Costs:
    """(case, agent, form) -> the median of its rounds."""
    prepared = _prepare(lower, directory / "prepared")
    found: dict[tuple[str, str, str], list[Cost]] = {}
    cases = {"empty": "", "realistic": realistic()}
    for number in range(ROUNDS):
        for case, user_data in cases.items():
            for agent in ("cloud-init", "ours"):
                for form in ("four stages", "--all-stages"):
                    copy = directory / f"{number}-{case}-{agent}-{form.strip('-').replace(' ', '-')}"
                    first, second, *asked = _boots(f"{prepared}:{lower}", copy, agent, form, user_data)
                    found.setdefault((case, agent, form), []).append(first)
                    if case == "empty":
                        for name, cost in zip(("second boot", *QUERIES), (second, *asked), strict=True):
                            found.setdefault((name, agent, form), []).append(cost)
                    shutil.rmtree(copy, ignore_errors=True)
    return {name: _median(costs) for name, costs in found.items()}


def _median(costs: list[Cost]) -> Cost:
    return Cost(
        statistics.median(cost.cpu_s for cost in costs),
        statistics.median(cost.wall_s for cost in costs),
        statistics.median(cost.rss_mib for cost in costs),
    )


def _prepare(lower: Path, upper: Path) -> Path:
    """A layer with our agent, compiled as a package would be, and the settings of the benchmark."""
    upper.mkdir(parents=True)
    chroots.install(upper)
    (upper / "etc/cloud/cloud.cfg.d").mkdir(parents=True)
    (upper / "etc/cloud/cloud.cfg.d/99-bench.cfg").write_text(CONFIG)
    work, root = upper.parent / "prepared.work", upper.parent / "prepared.root"
    work.mkdir()
    root.mkdir()
    script = (
        f"mount -t overlay overlay -o lowerdir={lower},upperdir={upper},workdir={work} {root}"
        f" && chroot {root} python3 -m compileall -q /opt/guestling"
    )
    subprocess.run(["unshare", "--mount", "sh", "-c", script], check=True, timeout=120)
    return upper


def _boots(lowers: str, copy: Path, agent: str, form: str, user_data: str) -> list[Cost]:
    """A first boot, a second one, `status`, `query`: measured in a process of its own namespaces."""
    program = "cloud-init" if agent == "cloud-init" else OURS
    task = {"lowers": lowers, "copy": str(copy), "agent": agent, "form": form, "user_data": user_data}
    # The system's Python without site: what measures must be smaller than what is measured.
    argv = ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "python3", "-IS", str(BOOT_SCRIPT)]
    done = subprocess.run(
        argv,
        input=json.dumps({**task, "program": program}),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode:
        sys.exit(f"bench agent: {agent} {form}: {done.stderr.strip()[-2000:]}")
    return [Cost(*each) for each in json.loads(done.stdout.splitlines()[-1])]


def import_times(lower: Path) -> str:
    """The imports of one boot that cost most, and how many there are (`python3 -X importtime`)."""
    program = (
        "import sys; sys.path.insert(0, '/work'); bare = set(sys.modules); "
        "from guest_agent import all_stages, boot, init_stages, consume, network_apply; "
        "sys.stderr.write(f'modules {len(set(sys.modules) - bare)}')"
    )
    argv = ["python3", "-IS", "-X", "importtime", "-c", program.replace("/work", str(chroots.ROOT))]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _compiled in range(2):
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, env=environment)
    lines = [line.split("|") for line in done.stderr.splitlines() if line.count("|") == 2]
    slow = sorted(((int(own.split(":")[1]), name.strip()) for own, _, name in lines[1:]), reverse=True)[:8]
    listed = ", ".join(f"{name} {microseconds / 1000:.1f}" for microseconds, name in slow)
    return f"Slowest imports in ms (base guest {lower.name}): {listed}."
