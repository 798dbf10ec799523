"""A boot as the page shows it: progress, timeline, harmless console text."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest

from spawner.identity import Tokens
from spawner.page import boot_view, sessions
from spawner.store.events import Event


def _events(*rows: tuple[float, str, Mapping[str, object]]) -> list[Event]:
    return [
        Event(number, 1000.0 + time, kind, "s", "p", payload)
        for number, (time, kind, payload) in enumerate(rows, 1)
    ]


START, END, OK = "guest.start", "guest.finish", "SUCCESS"
CREATED = (0.0, "instance.create.start", {"name": "web"})
HOST = (0.1, "instance.update", {"name": "web", "host": "h"})
RUNS = (0.5, "instance.create.end", {"name": "web"})


@pytest.mark.parametrize(
    ("rows", "step", "text", "state"),
    [
        ((CREATED,), 0, "waiting for a host", "running"),
        ((CREATED, HOST), 0, "starting its machine", "running"),
        ((CREATED, HOST, RUNS), 0, "its kernel boots", "running"),
        ((CREATED, RUNS, (3, START, {"name": "init-local"})), 0, "init-local", "running"),
        ((CREATED, (4, END, {"name": "init-local", "result": OK})), 1, "init-local", "running"),
        ((CREATED, (5, START, {"name": "modules-config/runcmd"})), 2, "modules-config: runcmd", "running"),
        ((CREATED, (5, END, {"name": "init-network/ssh", "result": "FAIL"})), 1, "init-network: ssh", "warn"),
        ((CREATED, (9, "guest.result", {"status": "done"})), 5, "the agent reports: done", "ok"),
        ((CREATED, (9, "guest.result", {"status": "error"})), 5, "the agent reports: error", "fail"),
        ((CREATED, (1, "instance.create.error", {"fault": "no host"})), 0, "no host", "fail"),
    ],
)  # fmt: skip
def test_progress_says_how_far_and_how_well(
    rows: tuple[tuple[float, str, Mapping[str, object]], ...], step: int, text: str, state: str
) -> None:
    assert boot_view.progress(_events(*rows)) == boot_view.Progress(step, 5, text, state)


def test_a_restart_begins_anew() -> None:
    events = _events(
        CREATED,
        (9, "guest.result", {"status": "error"}),
        (20, "instance.reboot.start", {"name": "web"}),
        (21, START, {"name": "init-local"}),
    )
    assert boot_view.progress(events).text == "init-local"
    assert [bar.name for bar in boot_view.bars(events, 1022.0)] == ["host and kernel", "init-local"]


def test_bars_are_in_seconds_since_the_request_and_what_runs_ends_now() -> None:
    rows = boot_view.bars(
        _events(
            CREATED,
            RUNS,
            (3.0, START, {"name": "init-local"}),
            (3.5, END, {"name": "init-local/ssh", "took_s": 0.2, "result": "FAIL"} | {"summary": "no"}),
            (4.0, END, {"name": "init-local", "took_s": 1.0, "result": OK}),
            (5.0, START, {"name": "init-network"}),
        ),
        1007.0,
    )  # fmt: skip
    assert [dataclasses.replace(bar, start_s=round(bar.start_s, 6)) for bar in rows] == [
        boot_view.Bar("host and kernel", 0.0, 3.0, "ok"),
        boot_view.Bar("init-local", 3.0, 4.0, "ok"),
        boot_view.Bar("ssh", 3.3, 3.5, "fail", 1, "no"),
        boot_view.Bar("init-network", 5.0, 7.0, "running"),
    ]


@pytest.mark.parametrize("took", [-5, 1e9, float("nan"), "long", None, [1]])
def test_a_guest_that_lies_about_times_stays_inside_the_picture(took: object) -> None:
    events = _events(CREATED, (3.0, END, {"name": "x" * 500, "took_s": took, "result": "?"}))
    rows = boot_view.bars(events, 1004.0)
    assert all(0 <= bar.start_s <= bar.end_s <= 4 and len(bar.name) <= 60 for bar in rows)
    assert all(row["width"] >= 2 for row in boot_view.picture(rows, [])["drawn"])


def test_a_guest_that_reports_without_end_does_not_fill_the_page() -> None:
    events = _events(CREATED, *((1.0, END, {"name": f"x/{n}"}) for n in range(1000)))
    assert len(boot_view.bars(events, 1002.0)) == boot_view.ROW_LIMIT


def test_sp_16_console_text_is_harmless() -> None:
    text = boot_view.harmless("a\x1b[31m\x00\r\nüber\u202eevil\n".encode() + b"\xff\x9b")
    assert text == "a\\x1b[31m\\x00\nüber\\x202eevil\n\ufffd\ufffd"
    assert len(boot_view.harmless(b"x\n" * 5000).split("\n")) == boot_view.CONSOLE_TAIL_LINES
    assert len(boot_view.harmless(b"x" * 10_000_000)) == 2000


def test_a_form_value_is_of_one_session_and_one_key() -> None:
    tokens = Tokens(b"k" * 32, lambda: 0.0)
    value = sessions.form_value(tokens, "session")
    assert sessions.is_form_of(tokens, "session", value)
    assert not sessions.is_form_of(tokens, "other", value)
    assert not sessions.is_form_of(Tokens(b"j" * 32, lambda: 0.0), "session", value)
    assert not sessions.is_form_of(tokens, "session", "ü")


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({"Host": "127.0.0.1:8774"}, True),
        ({"Host": "127.0.0.1:8774", "Origin": "http://127.0.0.1:8774"}, True),
        ({"Host": "127.0.0.1:8774", "Origin": "http://127.0.0.1:9999"}, False),
        ({"Host": "127.0.0.1:8774", "Origin": "null"}, False),
        ({"Host": "h", "Origin": "http://h", "Sec-Fetch-Site": "same-site"}, False),
        ({"Host": "h", "Sec-Fetch-Site": "same-origin"}, True),
    ],
)
def test_where_a_form_comes_from(headers: dict[str, str], ours: bool) -> None:
    assert sessions.is_same_origin(headers) is ours
