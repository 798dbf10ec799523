# ruff: noqa: PTH103, PTH114, PTH123 -- pathlib would count in what is measured
"""One guest of the agent's benchmark, from inside its namespaces: boot twice, print what each boot cost.

Imports next to nothing, because the peak memory of a process counts that of the one it was forked from.
Reads a task as JSON from stdin; prints a list of [CPU seconds, wall seconds, peak MiB].
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
META_DATA = "instance-id: i-bench\nlocal-hostname: bench\n"
STAGES = (["init", "--local"], ["init"], ["modules", "--mode=config"], ["modules", "--mode=final"])
QUERIES = (["status", "--format", "json"], ["query", "v1.instance_id"])


def main() -> None:
    """Mount the guest, boot it twice, then ask it for its status and a value."""
    task = json.load(sys.stdin)
    root = mounted(task["lowers"], task["copy"], task["user_data"])
    program, words = task["program"], [["--all-stages"]] if task["form"] == "--all-stages" else list(STAGES)
    by_stream = task["agent"] == "ours"
    costs = []
    for _ in range(2):
        costs.append(boot(root, program, words, by_stream=by_stream))
        if not os.path.islink(f"{root}/run/cloud-init/result.json"):
            raise RuntimeError(f"{program} {task['form']} did not finish its boot: nothing was measured")
        if len(costs) == 1:
            shutil.rmtree(f"{root}/run/cloud-init", ignore_errors=True)
    asked = [boot(root, program, [query], by_stream=False) for query in QUERIES]
    print(json.dumps([*costs, *asked]))


def mounted(lowers: str, copy: str, user_data: str) -> str:
    """An overlay of the guest with its seed, and the file systems that a boot needs."""
    seed = f"{copy}/upper/var/lib/cloud/seed/nocloud"
    for directory in (seed, f"{copy}/work", f"{copy}/root"):
        os.makedirs(directory)
    for name, text in (("meta-data", META_DATA), ("user-data", user_data)):
        with open(f"{seed}/{name}", "w") as file:
            file.write(text)
    root = f"{copy}/root"
    options = f"lowerdir={lowers},upperdir={copy}/upper,workdir={copy}/work"
    for argv in (
        ["mount", "-t", "overlay", "overlay", "-o", options, root],
        ["mount", "-t", "proc", "proc", f"{root}/proc"],
        ["mount", "-t", "sysfs", "sysfs", f"{root}/sys"],
        ["mount", "-t", "tmpfs", "tmpfs", f"{root}/run"],
    ):
        pid = os.posix_spawnp(argv[0], argv, os.environ)
        if os.waitpid(pid, 0)[1]:
            raise RuntimeError(f"{' '.join(argv)} failed")
    return root


def boot(
    root: str, program: str, words: Sequence[list[str]], *, by_stream: bool
) -> tuple[float, float, float]:
    """CPU and wall seconds and peak MiB of the commands; with --all-stages we are the units."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    peak = 0
    for each in words:
        argv = ["chroot", root, "/usr/bin/env", "-i", f"PATH={PATH}", program, *each]
        quiet = [(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_RDWR, 0) for n in range(3)]
        pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=quiet)
        if each == ["--all-stages"]:
            hand_over(root, by_stream=by_stream)
        _pid, _status, usage = os.wait4(pid, 0)
        peak = max(peak, usage.ru_maxrss)
    wall_s = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu_s, wall_s, peak / 1024


def hand_over(root: str, *, by_stream: bool) -> None:
    """What the units do, from inside the guest: say start, wait for the answer, four times."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.chroot(root)
        for name in ("local", "network", "config", "final"):
            say_start(f"/run/cloud-init/share/{name}", by_stream=by_stream)
    finally:
        os._exit(0)


def say_start(stage: str, *, by_stream: bool) -> None:
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


if __name__ == "__main__":
    main()
