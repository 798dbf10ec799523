"""When a module is due, what is recorded when, and what a failure does to the rest."""

import types
from typing import Any

import pytest

from boot_stages import actions, runner
from boot_stages.actions import GO_ON, IGNORE, WARN, Fail, RunCommand, WriteFile
from boot_stages.module import ALWAYS, ONCE, PER_INSTANCE, Module
from boot_stages.registry import BY_NAME, Entry
from boot_stages.runner import Due, Outcome, due_modules, run_module, run_modules
from boot_stages.schema import ANY, Keys, key


class Journal:
    """What ran; `log` is the order of begin and end."""

    def __init__(self, *ran: Any) -> None:
        self.ran = set(ran)
        self.log: list[tuple[str, str, str]] = []

    def has_run(self, name: str, _frequency: Any) -> Any:
        return name in self.ran

    def was_cut(self, _name: str, _frequency: Any) -> bool:
        return False

    def begin(self, name: str, frequency: Any) -> None:
        self.log.append(("begin", name, frequency))

    def end(self, name: str, frequency: Any) -> None:
        self.log.append(("end", name, frequency))


class Config(Keys):
    thing: object = key("A thing.", ANY, default=None)


class Planned(Entry):
    """A row of the registry whose module plans what the test says."""

    actions: Any = ()

    def load(self) -> Module:
        planned = self.actions
        plan = planned if isinstance(planned, types.FunctionType) else lambda _config, _facts: planned
        return Module(self.name, Config, plan)


def run(
    guest: Any,
    *planned: Any,
    due: Due | None = None,
    config: dict[str, object] | None = None,
    journal: Journal | None = None,
    unverified: tuple[str, ...] = (),
) -> Outcome:
    row = Planned("m", actions=planned[0] if planned and callable(planned[0]) else planned)
    return run_module(
        due or Due(row, row.frequency),
        config or {},
        guest.facts,
        guest.effects,
        journal or Journal(),
        unverified,
    )


def test_stage_items_in_every_spelling() -> None:
    due, warnings = due_modules(
        [
            "runcmd",
            "cc_write-files.py",
            ["runcmd", "always"],
            {"name": "bootcmd", "frequency": "once"},
            ["runcmd", "x"],
            "nope",
        ]
    )
    assert [(each.entry.name, each.frequency) for each in due] == [
        ("runcmd", PER_INSTANCE),
        ("write_files", PER_INSTANCE),
        ("runcmd", ALWAYS),
        ("bootcmd", ONCE),
        ("runcmd", PER_INSTANCE),
    ]
    assert warnings == [
        "Module runcmd has an unknown frequency x; its own is used",
        "Could not find module named nope",
    ]


@pytest.mark.parametrize(
    ("row", "config", "ran", "reason"),
    [
        (Planned("m", keys=("a",), activated_by=("a",)), {}, (), "no key of it is set (a)"),
        (Planned("m", families=("alpine",)), {}, (), "it is for alpine, this is debian"),
        (Planned("m"), {}, ("m",), "previously ran (once-per-instance)"),
    ],
)
def test_why_a_module_is_skipped(
    make_guest: Any, row: Any, config: dict[str, Any], ran: Any, reason: str
) -> None:
    journal = Journal(*ran)
    outcome = run(make_guest(), due=Due(row, row.frequency), config=config, journal=journal)
    assert (outcome.result, outcome.reason, journal.log) == ("SKIPPED", reason, [])


def test_modules_that_run_in_spite_of_it(make_guest: Any) -> None:
    guest = make_guest()
    elsewhere = Planned("m", families=("alpine",))
    assert run(guest, due=Due(elsewhere, ALWAYS), unverified=("m",)).result == "SUCCESS"
    assert run(guest, due=Due(Planned("m"), ALWAYS), journal=Journal("m")).result == "SUCCESS"


def test_ga_s02_begin_is_recorded_before_the_first_effect_and_end_also_after_a_failure(
    make_guest: Any,
) -> None:
    guest, journal = make_guest(), Journal()

    def plan(_config: Any, _facts: Any) -> Any:
        assert journal.log == [("begin", "m", PER_INSTANCE)]
        return (Fail("no"),)

    row = Planned("m", actions=plan)
    outcome = run(guest, due=Due(row, row.frequency), journal=journal)
    assert outcome.error == "ModuleFailed('no')"
    assert journal.log == [("begin", "m", PER_INSTANCE), ("end", "m", PER_INSTANCE)]


def test_a_plan_with_nothing_to_do_says_so(make_guest: Any) -> None:
    outcome = run(make_guest())
    assert (outcome.result, outcome.reason) == ("SUCCESS", "nothing to do: the guest is already so")


def test_a_module_that_did_nothing_says_why_in_its_own_words(make_guest: Any) -> None:
    idle = run(make_guest(), actions.note("its disk is not there"))
    assert (idle.result, idle.reason) == ("SUCCESS", "its disk is not there")
    busy = run(make_guest(), actions.note("taken: b"), WriteFile("/b"))
    assert (busy.reason, busy.done) == ("", ("write /b (0 bytes, 0644)",))


def test_an_optional_program_that_is_not_there_is_not_among_what_was_done(make_guest: Any) -> None:
    missing = [{"match": ["logger"], "rc": 127}]
    outcome = run(make_guest(replies=missing), RunCommand(("logger",), optional=True), WriteFile("/b"))
    assert (outcome.result, outcome.done) == ("SUCCESS", ("write /b (0 bytes, 0644)",))
    alone = run(make_guest(replies=missing), RunCommand(("logger",), optional=True))
    assert (alone.result, alone.reason) == ("SUCCESS", "logger is not installed: left out")


def test_a_command_that_is_not_needed_is_not_among_what_was_done(make_guest: Any) -> None:
    reboot = RunCommand(("/sbin/reboot",), when_exists=("/run/reboot-needed",))
    outcome = run(make_guest(), reboot)
    words = "/sbin/reboot is not needed: none of /run/reboot-needed is there"
    assert (outcome.result, outcome.done, outcome.reason, outcome.commands) == ("SUCCESS", (), words, ())
    needed = run(make_guest(files={"/run/reboot-needed": ""}), reboot)
    assert needed.done == ("run /sbin/reboot",)


def test_what_a_failing_action_does_to_the_rest(make_guest: Any) -> None:
    failing = [{"match": ["no"], "rc": 1}]
    stopped = run(make_guest(replies=failing), RunCommand(("no",)), WriteFile("/after"))
    assert (stopped.result, stopped.done) == ("FAIL", ())
    assert stopped.error == "CommandFailed('command no: exit status 1')"
    gone_on = run(make_guest(replies=failing), RunCommand(("no",), on_failure=GO_ON), WriteFile("/after"))
    assert (gone_on.result, gone_on.done) == ("FAIL", ("write /after (0 bytes, 0644)",))
    warned = run(make_guest(replies=failing), RunCommand(("no",), on_failure=WARN), WriteFile("/after"))
    assert (warned.result, warned.reason) == ("WARN", "command no: exit status 1")
    ignored = run(make_guest(replies=failing), RunCommand(("no",), on_failure=IGNORE))
    assert ignored.result == "SUCCESS"
    assert [result.status for result in warned.commands] == [1]


def test_a_report_at_warning_is_a_warning(make_guest: Any) -> None:
    outcome = run(make_guest(), actions.note("fine"), actions.warn("careful"))
    assert (outcome.result, outcome.reason, outcome.done) == ("WARN", "careful", ())


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (KeyError("x"), "KeyError(\"'x'\")"),
        (RecursionError("deep"), "RecursionError('deep')"),
        (OSError(28, "full"), None),
    ],
)
def test_ga_s11_whatever_a_module_raises_ends_only_that_module(
    make_guest: Any, raised: Exception, error: str | None
) -> None:
    def plan(_config: Any, _facts: Any) -> Any:
        raise raised

    outcome = run(make_guest(), plan)
    assert outcome.result == "FAIL"
    assert error is None or outcome.error == error


def test_bad_config_is_refused_before_the_plan(make_guest: Any) -> None:
    guest = make_guest()
    outcome = run_module(
        Due(BY_NAME["runcmd"], PER_INSTANCE), {"runcmd": [True]}, guest.facts, guest.effects, Journal()
    )
    assert outcome.result == "FAIL"
    assert outcome.error.startswith("BadConfig('runcmd[0]: a text or a list is expected.")
    assert not list(guest.root.iterdir())


def test_good_parts_are_done_before_a_module_fails_with_its_faults(make_guest: Any) -> None:
    guest = make_guest()
    config = {"write_files": ["word", {"path": "/x", "content": "y"}]}
    outcome = run_module(
        Due(BY_NAME["write_files"], PER_INSTANCE), config, guest.facts, guest.effects, Journal()
    )
    assert outcome.result == "FAIL"
    assert "write_files[0]: a map is expected" in outcome.error
    assert (guest.root / "x").read_text() == "y"


def test_a_stage_runs_all_its_modules_and_tells_before_and_after_each(make_guest: Any) -> None:
    guest, told = make_guest(), []
    outcomes = run_modules(
        ["runcmd", "nope", "write_files"],
        {"runcmd": [5], "write_files": [{"path": "/x"}]},
        guest.facts,
        guest.effects,
        Journal(),
        stage="init",
        tell=lambda name, outcome: told.append((name, outcome and outcome.result)),
    )
    assert [outcome.result for outcome in outcomes] == ["FAIL", "SUCCESS"]
    assert told == [("runcmd", None), ("runcmd", "FAIL"), ("write_files", None), ("write_files", "SUCCESS")]


def test_the_runner_has_no_other_results() -> None:
    assert (runner.SUCCESS, runner.WARNED, runner.FAILED, runner.SKIPPED) == (
        "SUCCESS",
        "WARN",
        "FAIL",
        "SKIPPED",
    )
