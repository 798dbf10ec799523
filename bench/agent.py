"""The agent against the real cloud-init: four stages in a chroot of Debian 13, CPU, wall and memory.

Both run in overlays of one guest that has both installed, in turns, so that a busy machine hits both alike.
Host keys are not generated (ssh-keygen would be most of the time of either). CPU is that of the agent and of
all it starts.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from guestling.output import print_rows
from tests.contract.agent import chroots

ROUNDS = 3
OURS = "/usr/local/bin/guestling-agent"
CONFIG = "datasource_list: [NoCloud]\nssh_genkeytypes: []\nssh_deletekeys: false\n"
META_DATA = "instance-id: i-bench\nlocal-hostname: bench\n"
STAGES = (["init", "--local"], ["init"], ["modules", "--mode=config"], ["modules", "--mode=final"])
# The goals of the project: our share of cloud-init's CPU seconds.
GOALS = {
    ("empty", "four stages"): 1 / 10,
    ("realistic", "four stages"): 1 / 6,
    ("empty", "--all-stages"): 1 / 3,
    ("realistic", "--all-stages"): 1 / 3,
    ("second boot", "--all-stages"): 0.12,
}


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


def run() -> None:
    """Measure and print both tables; says which goals are met."""
    try:
        lower = chroots.base("trixie")
    except pytest.skip.Exception as why:
        print(f"bench agent: cannot compare: {why}")
        return
    with tempfile.TemporaryDirectory(dir=chroots.CACHE) as directory:
        costs = measure(lower, Path(directory))
    rows = []
    for (case, form), goal in GOALS.items():
        ours = costs[case, "ours", "--all-stages"]
        stock = costs[case, "cloud-init", form]
        share = ours.cpu_s / stock.cpu_s
        rows.append(
            (
                case,
                f"cloud-init {form}",
                f"{stock.cpu_s:.3f}",
                f"{ours.cpu_s:.3f}",
                f"{share:.3f}",
                f"{goal:.3f}",
                "met" if share <= goal else "NOT met",
                f"{stock.wall_s:.2f} / {ours.wall_s:.2f}",
                f"{stock.rss_mib:.1f} / {ours.rss_mib:.1f}",
            )
        )
    head = ("boot", "compared with", "its CPU s", "our CPU s", "share", "goal", "", "wall s", "peak MiB")
    print_rows(head, rows)
    four = [costs[case, "ours", "four stages"].cpu_s for case in ("empty", "realistic")]
    print(f"Our four stages as four commands: {four[0]:.3f} s empty, {four[1]:.3f} s realistic.")
    print(import_times(lower))


def measure(lower: Path, directory: Path) -> dict[tuple[str, str, str], Cost]:
    """(case, agent, form) -> the median of its rounds."""
    prepared = _prepare(lower, directory / "prepared")
    found: dict[tuple[str, str, str], list[Cost]] = {}
    cases = {"empty": "", "realistic": realistic()}
    for number in range(ROUNDS):
        for case, user_data in cases.items():
            for agent in ("cloud-init", "ours"):
                for form in ("four stages", "--all-stages"):
                    copy = directory / f"{number}-{case}-{agent}-{form.strip('-').replace(' ', '-')}"
                    first, second = _boots(f"{prepared}:{lower}", copy, agent, form, user_data)
                    found.setdefault((case, agent, form), []).append(first)
                    if case == "empty":
                        found.setdefault(("second boot", agent, form), []).append(second)
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


def _boots(lowers: str, copy: Path, agent: str, form: str, user_data: str) -> tuple[Cost, Cost]:
    """A first boot and a second one, measured in a process of its own namespaces."""
    task = {"lowers": lowers, "copy": str(copy), "agent": agent, "form": form, "user_data": user_data}
    argv = ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", sys.executable, "-m", "bench.agent"]
    done = subprocess.run(
        argv,
        input=json.dumps(task),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        cwd=chroots.ROOT,
    )
    first, second = json.loads(done.stdout.splitlines()[-1])
    return Cost(*first), Cost(*second)


def _inside() -> None:
    """In the namespaces: mount the overlay, boot twice, print what each boot cost."""
    task = json.load(sys.stdin)
    copy = Path(task["copy"])
    seed = copy / "upper/var/lib/cloud/seed/nocloud"
    for directory in (seed, copy / "work", copy / "root"):
        directory.mkdir(parents=True)
    (seed / "meta-data").write_text(META_DATA)
    (seed / "user-data").write_text(task["user_data"])
    root = str(copy / "root")
    options = f"lowerdir={task['lowers']},upperdir={copy / 'upper'},workdir={copy / 'work'}"
    for argv in (
        ["mount", "-t", "overlay", "overlay", "-o", options, root],
        ["mount", "-t", "proc", "proc", f"{root}/proc"],
        ["mount", "-t", "sysfs", "sysfs", f"{root}/sys"],
        ["mount", "-t", "tmpfs", "tmpfs", f"{root}/run"],
    ):
        subprocess.run(argv, check=True)
    program = "cloud-init" if task["agent"] == "cloud-init" else OURS
    words = [["--all-stages"]] if task["form"] == "--all-stages" else list(STAGES)
    costs = []
    for _ in range(2):
        costs.append(_boot(root, program, words))
        if not Path(f"{root}/run/cloud-init/result.json").is_symlink():
            raise RuntimeError(f"{program} {task['form']} did not finish its boot: nothing was measured")
        shutil.rmtree(f"{root}/run/cloud-init", ignore_errors=True)
    print(json.dumps(costs))


def _boot(root: str, program: str, words: list[list[str]]) -> tuple[float, float, float]:
    """CPU and wall seconds, peak MiB of the commands of one boot; with --all-stages we are the units."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    peak = 0
    for each in words:
        argv = ["chroot", root, "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", program, *each]
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if each == ["--all-stages"]:
            _hand_over(root, by_stream=program == OURS)
        _pid, _status, usage = os.wait4(child.pid, 0)
        child.returncode = 0
        peak = max(peak, usage.ru_maxrss)
    wall_s = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu_s, wall_s, peak / 1024


def _hand_over(root: str, *, by_stream: bool) -> None:
    """What the units do, from inside the guest: say start, wait for the answer, four times."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.chroot(root)
        for name in ("local", "network", "config", "final"):
            _say_start(Path("/run/cloud-init/share") / name, by_stream=by_stream)
    finally:
        os._exit(0)


def _say_start(stage: Path, *, by_stream: bool) -> None:
    """One stage. Debian 13's cloud-init still uses datagrams and a second socket for the answer."""
    door = f"{stage}.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM if by_stream else socket.SOCK_DGRAM) as unit:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                unit.connect(door)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.01)
        if not by_stream:
            unit.bind(f"{stage}-return.sock")
        unit.settimeout(60)
        unit.send(b"start")
        unit.recv(4096)


def import_times(lower: Path) -> str:
    """The imports of one boot that cost most, and how many there are (`python3 -X importtime`)."""
    program = (
        "import sys; sys.path.insert(0, '/work'); bare = set(sys.modules); "
        "from guest_agent import all_stages, boot, init_stages, consume, network_apply; "
        "sys.stderr.write(f'modules {len(set(sys.modules) - bare)}')"
    )
    argv = ["python3", "-IS", "-X", "importtime", "-c", program.replace("/work", str(chroots.ROOT))]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    lines = [line.split("|") for line in done.stderr.splitlines() if line.count("|") == 2]
    slow = sorted(((int(own.split(":")[1]), name.strip()) for own, _, name in lines[1:]), reverse=True)[:8]
    listed = ", ".join(f"{name} {microseconds / 1000:.1f}" for microseconds, name in slow)
    return f"Slowest imports in ms (base guest {lower.name}): {listed}."


if __name__ == "__main__":
    _inside()
