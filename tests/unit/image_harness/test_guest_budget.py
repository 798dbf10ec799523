"""How many guests run at a time, over all processes; what a killed one had taken is free again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from image_harness.guest_budget import Holding, Ledger, Limits, may_start, this_machine

LIMITS = Limits(memory_mib=1000, boots=2)
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("mine", "others", "may"),
    [
        (Holding("me"), [], True),
        (Holding("me", 400), [Holding("a", 300)], True),
        (Holding("me", 400), [Holding("a", 301)], False),
        (Holding("me", 300, 1), [Holding("a", 300, 1)], False),
        (Holding("me", 300, 1), [Holding("a", 300)], True),
        # Alone, and with nobody who could give anything back: over the budget rather than never.
        (Holding("me", 800), [], True),
        (Holding("me", 500), [Holding("a", 500, waiting=True)], True),
        (Holding("me", 500), [Holding("a", 500, waiting=True), Holding("b", 100)], False),
        (Holding("me"), [Holding("a", 900, waiting=True)], False),
    ],
)
def test_who_may_start_a_guest_of_300_mib(mine: Holding, others: list[Holding], may: bool) -> None:
    assert may_start(300, mine, others, LIMITS) is may


def test_a_guest_larger_than_the_budget_may_run_alone() -> None:
    assert may_start(5000, Holding("me"), [], LIMITS)
    assert not may_start(5000, Holding("me"), [Holding("a", 1)], LIMITS)


def test_this_machine_has_a_budget() -> None:
    limits = this_machine()
    assert limits.memory_mib > 100
    assert limits.boots >= 1


def _rows(directory: Path) -> list[tuple[int, int, bool]]:
    rows = json.loads((directory / "ledger.json").read_text())
    return [(row["memory_mib"], row["boots"], row["waiting"]) for row in rows]


def test_what_is_taken_is_given_back(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, LIMITS)
    ledger.begin(256)
    assert _rows(tmp_path) == [(256, 1, False)]
    ledger.booted()
    assert _rows(tmp_path) == [(256, 0, False)]
    ledger.ended(256)
    assert _rows(tmp_path) == [(0, 0, False)]
    ledger.close()
    assert _rows(tmp_path) == []
    assert list(tmp_path.glob("*.lock")) == []


def test_one_waits_for_the_other(tmp_path: Path) -> None:
    first, second = Ledger(tmp_path, LIMITS), Ledger(tmp_path, LIMITS)
    first.begin(700)
    first.booted()
    waiting = threading.Thread(target=second.begin, args=(700,))
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive()
    assert sorted(_rows(tmp_path)) == [(0, 0, True), (700, 0, False)]
    first.ended(700)
    waiting.join(20)
    assert not waiting.is_alive()
    assert sorted(_rows(tmp_path)) == [(0, 0, False), (700, 1, False)]


HOLDER = """
import sys, time
from pathlib import Path
from image_harness.guest_budget import Ledger, Limits
Ledger(Path(sys.argv[1]), Limits(1000, 2)).begin(900)
print("held", flush=True)
time.sleep(60)
"""


def test_what_a_killed_process_held_is_free_again(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        ours = Ledger(tmp_path, LIMITS)
        assert not ours._try(900)
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert ours._try(900)
    assert _rows(tmp_path) == [(900, 1, False)]


def test_a_ledger_that_is_broken_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_text("{")
    ledger = Ledger(tmp_path, LIMITS)
    ledger.begin(1)
    assert _rows(tmp_path) == [(1, 1, False)]
