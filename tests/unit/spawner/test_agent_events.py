"""The agent's lines: typed when they are as agreed, harmless when they are not."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawner.compute.agent_events import (
    BYTES_LIMIT,
    EVENT_LIMIT,
    LINE_LIMIT,
    AgentEvent,
    EventLog,
    Finished,
    LineSplitter,
    Malformed,
    ModuleReport,
    Result,
    StageTimes,
    Started,
    parse,
)

RESULT = {
    "event": "result",
    "version": "0.1.0",
    "instance_id": "i-1",
    "datasource": "DataSourceOpenStackLocal",
    "status": "degraded",
    "errors": [],
    "recoverable_errors": {"WARNING": ["a key is not known"]},
    "stages": {"init-local": {"start": 1.5, "finished": None}},
    "modules": [{"stage": "init", "name": "hostname", "result": "SUCCESS", "took_s": 0.01, "actions": ["x"]}],
    "a-key-of-a-newer-agent": 1,
}  # fmt: skip


def test_each_kind_of_line_becomes_its_value() -> None:
    assert parse(b'{"event":"start","name":"init-local","uptime_s":1.5}') == Started("init-local", 1.5)
    finish = b'{"event":"finish","name":"x","result":"WARN","took_s":0.1,"uptime_s":2,"summary":"two files"}'
    assert parse(finish) == Finished("x", "WARN", 0.1, 2.0, "two files")
    assert parse(json.dumps(RESULT).encode()) == Result(
        status="degraded",
        version="0.1.0",
        instance_id="i-1",
        datasource="DataSourceOpenStackLocal",
        recoverable_errors={"WARNING": ("a key is not known",)},
        stages={"init-local": StageTimes(1.5, None)},
        modules=(ModuleReport("init", "hostname", "SUCCESS", 0.01, ("x",)),),
    )


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"rubbish", "line is not JSON"),
        (b"\xff\xfe", "line is not JSON"),
        (b'{"event":"result","status":"done"', "line is not JSON"),
        (b'{"event":"start","name":"x","uptime_s":NaN}', "line is not JSON"),
        (b'{"event":"start","new":' + b"[" * 100_000, "line is nested too deeply"),
        (b'{"event":"reboot"}', "Invalid value 'reboot' - at `$.event`"),
        (b'{"event":"start","name":7,"uptime_s":1}', "Expected `str`, got `int` - at `$.name`"),
        (b"[]", "Expected `object`, got `array`"),
    ],
)
def test_a_line_that_is_not_as_agreed_says_why(line: bytes, why: str) -> None:
    assert parse(line) == Malformed(why)


@given(st.binary(max_size=300))
def test_no_line_raises(line: bytes) -> None:
    assert isinstance(parse(line), AgentEvent)


@given(st.lists(st.binary(max_size=30)), st.integers(1, 20))
def test_lines_are_cut_the_same_however_they_arrive(lines: list[bytes], size: int) -> None:
    lines = [line.replace(b"\n", b"") for line in lines]
    stream = b"".join(line + b"\n" for line in lines)
    splitter = LineSplitter()
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert [line for piece in pieces for line in splitter.feed(piece)] == [
        line for line in lines if line.strip()
    ]


@pytest.mark.parametrize(("length", "kept"), [(99, True), (100, True), (101, False)])
def test_a_line_over_the_limit_is_dropped_and_the_next_is_read(length: int, kept: bool) -> None:
    splitter = LineSplitter(limit=100)
    line = b"x" * length
    assert splitter.feed(line + b"\nnext\n") == [line if kept else None, b"next"]
    halves = splitter.feed(line[:50]) + splitter.feed(line[50:] + b"\nnext\n")
    assert halves == [line if kept else None, b"next"]


async def test_a_flood_of_events_ends_with_one_last_word() -> None:
    log = EventLog()
    for _ in range(EVENT_LIMIT // 1000 + 5):
        log.feed(b"{}\n" * 1000)
    log.close()
    events = [event async for event in log.read()]
    assert len(events) == EVENT_LIMIT + 2
    assert events[-1] == Malformed(
        f"more than {EVENT_LIMIT} events or {BYTES_LIMIT} bytes: the rest is dropped"
    )


async def test_a_flood_without_a_newline_is_not_kept() -> None:
    log = EventLog()
    for _ in range(3 * BYTES_LIMIT // LINE_LIMIT):
        log.feed(b"x" * LINE_LIMIT)
    log.close()
    assert [event async for event in log.read()] == [
        Malformed(f"more than {EVENT_LIMIT} events or {BYTES_LIMIT} bytes: the rest is dropped")
    ]


async def test_a_reader_that_waits_is_woken() -> None:
    log = EventLog()

    async def first() -> AgentEvent:
        return await anext(aiter(log.read()))

    waiting = asyncio.create_task(first())
    await asyncio.sleep(0)
    log.feed(b'{"event":"start","name":"x","uptime_s":1}\n')
    assert await asyncio.wait_for(waiting, 1) == Started("x", 1.0)
