"""The launcher: what it becomes has no rights, has limits, and does not outlive us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spawner.compute.qemu.confinement import ENVIRONMENT, Confinement, launcher_argv
from spawner.compute.qemu.launch import EXIT_LAUNCH
from spawner.compute.qemu.user import unprivileged

SHOW = (
    "/bin/sh",
    "-c",
    "grep -E '^(Uid|CapEff|NoNewPrivs):' /proc/self/status; cat /proc/self/limits; env",
)


def launched(argv: tuple[str, ...], confinement: Confinement, parent: int | None = None) -> str:
    command = launcher_argv(argv, confinement, parent or os.getpid())
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False, timeout=20)
    return done.stdout + done.stderr + f"\nstatus {done.returncode}"


def state(pid: int) -> str:
    """The kernel's letter for the process; `-` when there is none. A zombie (Z) counts as gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "-"


def wait_until_gone(pids: list[int], seconds: float = 5) -> list[int]:
    """Those of `pids` that are still running after at most `seconds`."""
    end_s = time.monotonic() + seconds
    while (left := [pid for pid in pids if state(pid) not in "-Z"]) and time.monotonic() < end_s:
        time.sleep(0.02)
    return left


def test_sp_20_rights_are_gone_and_limits_hold() -> None:
    shown = launched(
        SHOW, Confinement(user=unprivileged(), limits={"CORE": 0, "NOFILE": 512, "FSIZE": 1 << 20})
    )
    fields = dict(line.split(":\t", 1) for line in shown.splitlines() if ":\t" in line)
    assert "0" not in fields["Uid"].split()
    assert fields["CapEff"] == "0" * 16
    assert fields["NoNewPrivs"] == "1"
    limits = {line[:26].strip(): line[26:].split()[:2] for line in shown.splitlines()}
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max open files"] == ["512", "512"]
    assert limits["Max file size"] == ["1048576", "1048576"]
    variables = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    assert {name: variables.get(name) for name in ENVIRONMENT} == ENVIRONMENT
    assert set(variables) <= {*ENVIRONMENT, "PWD", "OLDPWD", "SHLVL", "_"}  # the shell's own


def test_sp_20_a_limit_is_never_raised() -> None:
    shown = launched(("/bin/sh", "-c", "ulimit -Hn"), Confinement(limits={"NOFILE": 1 << 40}))
    assert int(shown.split()[0]) < 1 << 40


def test_a_program_that_is_not_there_is_one_line() -> None:
    shown = launched(("/no/such/program",), Confinement())
    assert shown == f"launch: [Errno 2] No such file or directory\n\nstatus {EXIT_LAUNCH}"


def test_sp_06_a_parent_that_has_gone_already_is_noticed() -> None:
    assert "launch: [Errno 0] the parent is gone" in launched(("/bin/true",), Confinement(), parent=1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_sp_06_what_was_launched_dies_with_its_parent(number: signal.Signals) -> None:
    program = (
        "import os, subprocess, sys, time\n"
        "from spawner.compute.qemu.confinement import Confinement, launcher_argv\n"
        "from spawner.compute.qemu.user import unprivileged\n"
        "command = launcher_argv(['/bin/sleep', '60'], Confinement(user=unprivileged()), os.getpid())\n"
        "print(subprocess.Popen(command).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        end_s = time.monotonic() + 5
        while "sleep" not in Path(f"/proc/{child}/cmdline").read_text() and time.monotonic() < end_s:
            time.sleep(0.02)
        parent.send_signal(number)
    assert wait_until_gone([child]) == []
