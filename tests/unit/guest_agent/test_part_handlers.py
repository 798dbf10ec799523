"""Custom part handlers in their own process (spec 2.2; GA-P11)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from boot_stages.log import SINKS, Record
from guest_agent.errors import PartRefused
from guest_agent.limits import Limits
from guest_agent.machine import Machine, Settings
from guest_agent.part_handlers import Handlers, handlers_for
from guest_agent.parts import Part
from guest_agent.user_data import Call, consume

DIRECTORY = "/var/lib/cloud/instances/i-1"
GOOD = """#part-handler
import json
seen = []
{head}
def list_types():
    return ["text/x-mine"]
def handle_part(data, ctype, filename, payload{more}):
    seen.append([ctype, filename, payload{names}])
    with open("{out}", "w") as f:
        json.dump(seen, f)
    print("noise on stdout")
"""


def handlers(root: Path, *, first: bool = True, limit_s: int = 20) -> Handlers:
    machine = Machine(Settings(root=str(root)))
    return Handlers(machine, DIRECTORY, is_first_run=first, limits=Limits(part_handler_s=limit_s))


def part(code: str) -> Part:
    return Part("text/part-handler", "mine.py", code.encode(), 1)


def mine(payload: bytes = b"hello") -> Call:
    return Call("text/x-mine", "a.txt", payload, (("merge-type", "x"),))


@pytest.mark.parametrize(
    ("head", "more", "names", "told"),
    [
        ("", "", "", []),
        ("handler_version = 2", ", frequency", ", frequency", ["once-per-instance"]),
        ("handler_version = 3\nfrequency = 'always'", ", frequency, headers", ", frequency, headers",
         ["always", {"merge-type": "x"}]),
    ],
    ids=["version-1", "version-2", "version-3"],
)  # fmt: skip
def test_a_handler_is_told_begin_parts_and_end(
    tmp_path: Path, head: str, more: str, names: str, told: list[object]
) -> None:
    import json

    out = tmp_path / "out"
    found = handlers(tmp_path)
    code = GOOD.format(head=head, more=more, names=names, out=out)
    assert found.load(part(code)) == ("text/x-mine",)
    found.call(mine("grün".encode()))
    found.end()
    seen = json.loads(out.read_text())
    assert [entry[:3] for entry in seen] == [
        ["__begin__", "", ""], ["text/x-mine", "a.txt", "grün"], ["__end__", "", ""],
    ]  # fmt: skip
    assert seen[1][3:] == told
    kept = tmp_path / DIRECTORY.lstrip("/") / "handlers" / "part-handler-000.py"
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_later_boot_calls_only_those_that_say_always(tmp_path: Path) -> None:
    for frequency, called in (("once-per-instance", False), ("always", True)):
        out = tmp_path / frequency
        found = handlers(tmp_path, first=False)
        found.load(part(GOOD.format(head=f"frequency = '{frequency}'", more="", names="", out=out)))
        found.call(mine())
        found.end()
        assert out.exists() == called


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ValueError('no')", "ValueError: no"), ("import nonesuch_module", "ModuleNotFoundError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"), ("import os; os._exit(3)", "ended without an answer"),
        ("x = 1", "AttributeError"), ("def list_types(): return 5", "TypeError"), ("(", "SyntaxError"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended without an answer"),
        ("while True: pass", "did not answer"), ("import time; time.sleep(60)", "did not answer"),
    ],
)  # fmt: skip
def test_ga_p11_code_that_does_not_load_is_refused(tmp_path: Path, code: str, said: str) -> None:
    found = handlers(tmp_path, limit_s=2)
    started = time.monotonic()
    with pytest.raises(PartRefused, match=said):
        found.load(part(code))
    found.end()
    assert time.monotonic() - started < 15


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise RuntimeError('broken')", "RuntimeError: broken"), ("import os; os._exit(0)", "ended without"),
        ("import os; os.close(4); os.close(5); os.close(6); os.close(7)", ""), ("print('x' * 10**6)", None),
        ("import os; os.fork()", None),
    ],
)  # fmt: skip
def test_ga_p11_a_failing_call_is_a_warning_and_the_rest_goes_on(
    tmp_path: Path, body: str, said: str | None
) -> None:
    records: list[str] = []

    def listen(record: Record) -> None:
        records.append(record.text)

    SINKS.append(listen)
    try:
        found = handlers(tmp_path, limit_s=5)
        found.load(
            part(
                "def list_types(): return ['text/x-mine']\n"
                f"def handle_part(data, ctype, filename, payload):\n    if ctype[0] != '_':\n        {body}\n"
            )
        )
        found.call(mine())
        found.end()
    finally:
        SINKS.remove(listen)
    failed = [text for text in records if "Failed calling handler" in text]
    assert bool(failed) == (said is not None)
    assert all((said or "") in text for text in failed[:1])


def test_a_custom_handler_beats_the_built_in_one() -> None:
    """A type that a handler asked for is its own, cloud-config too."""
    parts = [
        Part("text/part-handler", "h", b"", 1),
        Part("text/cloud-config", "c", b"a: 1", 2),
        Part("text/x-shellscript", "s", b"#!/bin/sh", 3),
    ]
    found = consume(parts, load_handler=lambda _part: ("text/cloud-config",))
    assert [type(step).__name__ for step in found.steps] == ["Call", "Script"]
    assert found.config.value == {}


def test_user_code_runs_only_where_it_may(tmp_path: Path) -> None:
    recorded = Machine(Settings(root=str(tmp_path)))
    assert handlers_for(recorded, DIRECTORY, {}, is_first_run=True) is None
    running = Machine(Settings(root=str(tmp_path), commands="run"))
    assert handlers_for(running, DIRECTORY, {}, is_first_run=True) is not None
    assert handlers_for(running, DIRECTORY, {"allow_part_handlers": False}, is_first_run=True) is None
