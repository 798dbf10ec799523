"""GA-W12: programs that hang, flood, die or leave a daemon behind end as an answer, never as a wait."""

from __future__ import annotations

import os
import signal

from boot_stages.commands import HEAD_LIMIT, TAIL_LIMIT, TIMED_OUT, Answer, Command, SystemCommands


def _sh(script: str, timeout_s: float = 100.0) -> Answer:
    return SystemCommands("/", lambda _output: None).run(Command(("sh", "-c", script), timeout_s=timeout_s))


def test_ga_w12_a_program_that_hangs_is_ended_at_its_deadline() -> None:
    assert _sh("exec sleep 300", timeout_s=0.5).status == TIMED_OUT


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


def test_ga_w12_a_program_that_kills_its_group_leaves_the_agent_alone() -> None:
    assert _sh("kill -9 0").status == -signal.SIGKILL
    assert _sh("exit 7").status == 7
