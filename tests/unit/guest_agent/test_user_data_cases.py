"""fixtures/user_data and fixtures/bad_user_data: one file, one test (GA-P02, P03, P04, P06, P07, P08, P10).

`GUESTLING_GOLDEN=rewrite` (`./dev golden`) writes what came; read the diff before committing it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.guest_agent.cases import outcome

ROOT = Path(__file__).resolve().parents[3]
GOOD = sorted((ROOT / "fixtures" / "user_data").glob("*.json"))
BAD = sorted((ROOT / "fixtures" / "bad_user_data").glob("*/*.json"))
INPUT_KEYS = ("why", "input", "urls", "instance_data", "launch_index")
REWRITE = os.environ.get("GUESTLING_GOLDEN") == "rewrite"
# One input may cost this much at most (fault catalogue, section 10). The machine may be busy: 4 times.
SLOWEST_S = 4.0


@pytest.mark.parametrize("path", GOOD + BAD, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_ga_p04_case(path: Path) -> None:
    case = json.loads(path.read_text())
    started = time.monotonic()
    found = outcome(case)
    took_s = time.monotonic() - started
    if REWRITE:
        kept = {name: case[name] for name in INPUT_KEYS if name in case}
        path.write_text(json.dumps({**kept, **found}, indent=1, ensure_ascii=False) + "\n")
        return
    assert found == {name: value for name, value in case.items() if name not in INPUT_KEYS}
    assert took_s < SLOWEST_S


@pytest.mark.parametrize("path", BAD, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_ga_p01_every_bad_case_says_what_is_wrong(path: Path) -> None:
    case = json.loads(path.read_text())
    assert case.get("fails") or case.get("errors") or case.get("warnings")


def test_ga_p04_there_are_enough_bad_cases() -> None:
    assert len(BAD) >= 120


@pytest.mark.slow
def test_the_cases_come_out_the_same_on_python_39(python39: tuple[str, dict[str, str]]) -> None:
    """The oldest Python of a guest, in an environment of its own with PyYAML and Jinja2."""
    program, environment = python39
    files = [str(path) for path in GOOD + BAD]
    answer = subprocess.run(
        [program, "-m", "tests.unit.guest_agent.cases", *files],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=True,
        timeout=110,
    )
    here = json.loads(
        subprocess.run(
            [sys.executable, "-m", "tests.unit.guest_agent.cases", *files],
            cwd=ROOT,
            capture_output=True,
            check=True,
            timeout=110,
        ).stdout
    )
    for path, old, new in zip(files, json.loads(answer.stdout), here, strict=True):
        assert old == new, path
