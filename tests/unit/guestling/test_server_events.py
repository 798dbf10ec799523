"""What `guestling server events` shows and `server wait` waits for, told by a list of events."""

from __future__ import annotations

import argparse
import json
from typing import Any

import pytest

from guestling import server_access, server_events
from spawner.client import Client, Credentials


class Told(Client):
    """A cloud whose one server has these events, two in each answer."""

    def __init__(self, *rows: tuple[str, dict[str, Any]]) -> None:
        super().__init__(Credentials("http://127.0.0.1:1", "admin", "", "demo"))
        self._rows = [
            {"number": number, "time": "2026-01-01T00:00:00Z", "type": kind, "payload": payload}
            for number, (kind, payload) in enumerate(rows, 1)
        ]

    def server(self, name: str) -> dict[str, Any]:
        return {"id": "1", "name": name}

    def events(self, server_id: str, after: int = 0) -> list[dict[str, Any]]:
        return self._rows[after : after + 2]


DONE = ("guest.result", {"status": "done"})
BROKEN = ("guest.result", {"status": "error", "errors": ["no \x1b[31msource"]})
CREATED = ("instance.create.start", {"state": "building"})
STARTED = ("instance.power_on.start", {"state": "stopped"})


def _wait(client: Client, goal: str = "agent") -> int:
    asked = argparse.Namespace(goal=goal, timeout=0.0, format="table")
    return server_events.wait(client, client.server("web-1"), asked)


@pytest.mark.parametrize(
    ("rows", "status", "said"),
    [
        ((CREATED, DONE), 0, "the agent reports: done\n"),
        ((CREATED, BROKEN), 1, "the agent reports: error\nno \\x1b[31msource\n"),
        ((CREATED, BROKEN, STARTED, DONE), 0, "the agent reports: done\n"),
        ((CREATED, DONE, STARTED), 1, "web-1: no result of its agent within 0 s\n"),
        ((CREATED, DONE, ("instance.resize.start", {"state": "active"})), 1, "web-1: no result of its"),
        ((CREATED, DONE, ("instance.resize.start", {"state": "stopped"})), 0, "the agent reports: done\n"),
        ((CREATED, ("instance.power_off.end", {})), 1, "web-1: it was switched off before its agent had"),
        ((CREATED, ("instance.create.error", {"fault": "no host"})), 1, "web-1: no host\n"),
        ((CREATED, ("instance.create.error", {}), ("instance.rebuild.start", {}), DONE), 0, "the agent"),
    ],
)
def test_the_result_of_this_boot_is_waited_for(
    rows: tuple[tuple[str, dict[str, Any]], ...],
    status: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _wait(Told(*rows)) == status
    printed = capsys.readouterr()
    assert (printed.out + printed.err).startswith(said)


def test_sp_16_what_a_guest_writes_into_its_reports_is_shown_and_not_carried_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    payload = {"name": "a\x1b]0;owned\x07\nb", "result": "FAIL", "stages": {"init": {}}, "summary": "x" * 500}
    line = server_events.line({"time": "T", "type": "guest.finish", "payload": payload})
    assert line.startswith(
        "T  guest.finish                  name=a\\x1b]0;owned\\x07 b result=FAIL summary=xxx"
    )
    assert line.endswith("xxx...")
    assert line.isprintable()
    signal = ("signal.received", {"status": "SUCCESS", "id": "a\x1b[2J", "reason": ""})
    assert _wait(Told(signal), "signals=1") == 0
    assert "a\\x1b[2J" in capsys.readouterr().out


def test_every_event_is_shown_also_beyond_one_answer(capsys: pytest.CaptureFixture[str]) -> None:
    client = Told(CREATED, *[("instance.update", {}) for _ in range(4)])
    asked = argparse.Namespace(server="web-1", follow=False, format="json")
    assert server_events.show(client, asked) == 0
    assert [event["number"] for event in json.loads(capsys.readouterr().out)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["echo $HOME; exit 3"], "echo $HOME; exit 3"),
        (["cat", "/etc/hostname"], "cat /etc/hostname"),
        (["sh", "-c", 'echo "$1"', "sh", "it's"], "sh -c 'echo \"$1\"' sh 'it'\"'\"'s'"),
        (["printf", "%s\n", "", "a b", "*"], "printf '%s\n' '' 'a b' '*'"),
    ],
)
def test_several_words_reach_their_program_as_they_are(words: list[str], line: str) -> None:
    assert server_access.command_line(words) == line
