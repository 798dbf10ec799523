"""The closed set of actions: plain data for golden cases, words without secrets, one effect for each."""

import inspect
from typing import Any

import pytest

from boot_stages import actions
from boot_stages.actions import ACTIONS, Action, RunCommand, WriteFile, to_json
from boot_stages.apply import CARRY_OUT
from boot_stages.value import Secret


def test_every_action_is_in_the_table_and_can_be_carried_out() -> None:
    declared = {
        each for _name, each in inspect.getmembers(actions, inspect.isclass) if issubclass(each, Action)
    }
    assert declared - {Action} == set(ACTIONS) == set(CARRY_OUT)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
def test_every_action_says_how_it_fails_and_whether_it_is_opaque(action: Any) -> None:
    assert action.FIELDS[-2:] == ("on_failure", "opaque")


def test_plain_data_leaves_defaults_out() -> None:
    assert to_json(WriteFile("/a", b"x\n")) == {"do": "WriteFile", "path": "/a", "content": "x\n"}
    assert to_json(WriteFile("/a", b"\xff", 0o600)) == {
        "do": "WriteFile",
        "path": "/a",
        "content": "base64:/w==",
        "mode": "0600",
    }
    nested = to_json(RunCommand(("a",), otherwise=RunCommand(("b",), good=(0, 3))))
    assert nested == {
        "do": "RunCommand",
        "argv": ["a"],
        "otherwise": {"do": "RunCommand", "argv": ["b"], "good": [0, 3]},
    }


def test_secrets_are_in_no_words() -> None:
    hidden = Secret("hunter2")
    for action in (
        WriteFile("/a", hidden),
        RunCommand(("chpasswd",), stdin=hidden),
        actions.EditShadow("u", password=hidden),
        actions.Console(hidden),
    ):
        assert "hunter2" not in action.summary() + repr(action) + str(to_json(action))


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (WriteFile("/a", b"xy", 0o600), "write /a (2 bytes, 0600)"),
        (actions.AppendFile("/a", b"x"), "append 1 bytes to /a"),
        (actions.MakeDirectory("/d", 0o700), "make the directory /d (0700)"),
        (actions.MakeLink("/l", "t"), "link /l to t"),
        (actions.Remove("/r"), "remove /r"),
        (actions.Rename("/a", "/b"), "rename /a to /b"),
        (actions.SetMode("/a", 0o640, "root:adm"), "set /a to 0640 root:adm"),
        (RunCommand(("ls", "-l")), "run ls -l"),
        (actions.RunParts("/s", (RunCommand(("/s/a",), name="a"),)), "run the scripts of /s: a"),
        (actions.Download("http://x", "/a"), "download http://x to /a"),
        (actions.PostForm("http://x", (("a", "1"), ("b", "2"))), "post a, b to http://x"),
        (actions.PostOnce("http://x", b"abc", "the password"), "post the password to http://x"),
        (
            actions.EditShadow("u", lock=False, last_change=0, expire_day=1, inactive_days=2),
            "set in /etc/shadow for u: unlock, force a new password, expiry, inactive days",
        ),
        (actions.Fail("no"), "fail: no"),
        (actions.ChangePower(("reboot",)), "after the agent has ended, run reboot"),
        (actions.warn("w"), "warning: w"),
    ],
    ids=lambda case: case if isinstance(case, str) else type(case).__name__,
)
def test_summary(action: Any, words: str) -> None:
    assert action.summary() == words
