"""GA-W12: programs that hang, flood, die or leave a daemon behind end as an answer, never as a wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from boot_stages.commands import HEAD_LIMIT, TAIL_LIMIT, TIMED_OUT, Answer, Command, SystemCommands

ROOT = Path(__file__).parents[3]


def _sh(script: str, timeout_s: float = 100.0) -> Answer:
    return SystemCommands("/", lambda _output: None).run(Command(("sh", "-c", script), timeout_s=timeout_s))


def test_ga_w12_a_program_that_hangs_is_ended_at_its_deadline() -> None:
    answer = _sh("exec sleep 300", timeout_s=0.5)
    assert answer.status == TIMED_OUT
    assert answer.tail().endswith("its time was up\n")


def test_ga_w12_the_commands_of_a_stage_share_its_time() -> None:
    """The first command takes it all; the one after it still has a little, whatever it asks for."""
    runner = SystemCommands("/", lambda _output: None)
    runner.begin_stage(0.5, 1000)
    late = Command(("sleep", "300"), timeout_s=200.0)
    assert [runner.run(late).status for _ in range(2)] == [TIMED_OUT, TIMED_OUT]
    assert runner.run(Command(("echo", "told"))).out == b"told\n"


def test_ga_w12_a_flood_of_output_is_kept_to_its_head_and_tail() -> None:
    answer = _sh("head -c 8000000 /dev/zero; echo the end; exit 3")
    assert answer.status == 3
    assert len(answer.out) == HEAD_LIMIT + TAIL_LIMIT
    assert answer.out.endswith(b"the end\n")


def test_ga_w12_a_daemon_that_keeps_the_output_open_is_not_waited_for() -> None:
    answer = _sh("sleep 300 & echo $!")
    try:
        assert answer.status == 0
    finally:
        os.kill(int(answer.out), signal.SIGKILL)


def test_ga_w12_what_is_shown_of_a_flood_has_an_end() -> None:
    shown: list[bytes] = []
    runner = SystemCommands("/", shown.append)
    runner.begin_stage(100, 100_000)
    for script in ("head -c 5000000 /dev/zero", "head -c 100000 /dev/zero"):
        assert runner.run(Command(("sh", "-c", script), show=True)).status == 0
    mark = b"\n[more than 100000 bytes of output: the rest is not shown]\n"
    assert b"".join(shown) == bytes(100_000) + mark + bytes(100_000), "each command has its own limit"


def test_ga_w12_a_daemon_that_writes_for_ever_is_not_listened_to_for_ever() -> None:
    answer = _sh("yes & echo $!; exit 3")
    os.kill(int(answer.out.replace(b"y\n", b"")[:20].split()[0]), signal.SIGKILL)
    assert answer.status == 3


NO_ROOM = """
import os, resource, signal, sys
sys.path[:0] = [{root!r}]
from boot_stages import commands
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
answer = commands.SystemCommands("/").run(commands.Command(("ls", "/")))
assert answer.status == commands.NOT_STARTED, answer
assert "it cannot be started: Resource temporarily unavailable" in answer.tail(), answer
assert len(os.listdir("/proc/self/fd")) == 4, "three, and the one that looks"
"""


def test_ga_w12_a_program_for_which_there_is_no_process_is_an_answer() -> None:
    """As under a fork bomb. (Root may have any number of processes, so this becomes somebody else.)"""
    argv = [os.path.realpath(sys.executable), "-IS", "-c", NO_ROOM.format(root=str(ROOT))]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


SHIELD = """
import sys
sys.path[:0] = [{root!r}]
from boot_stages.commands import OOM_SCORE, Command, SystemCommands
before = open(OOM_SCORE).read()
runner = SystemCommands("/")
runner.shield()
for _ in range(2):
    print(int(open(OOM_SCORE).read()), runner.run(Command(("cat", OOM_SCORE))).out.decode() == before)
"""


def test_ga_w12_memory_runs_out_for_what_we_start_before_it_does_for_us() -> None:
    argv = [sys.executable, "-IS", "-c", SHIELD.format(root=str(ROOT))]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    # Some containers do not let their root do this, and nobody else may.
    assert done.stdout in {"-900 True\n" * 2, "0 True\n" * 2}, done.stdout
    print(f"\nshielded: {done.stdout.split()[0]}")


def test_ga_w12_a_program_that_kills_its_group_leaves_the_agent_alone() -> None:
    assert _sh("kill -9 0").status == -signal.SIGKILL
    assert _sh("exit 7").status == 7
