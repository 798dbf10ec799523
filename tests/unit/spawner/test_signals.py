"""Signals of guests in Heat's words, and what waits for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spawner import signals
from spawner.compute.fake_node import FakeNode
from spawner.service import open_cloud
from spawner.signals import Signal, WaitCondition
from spawner.store import events


@pytest.mark.parametrize(
    ("content", "signal"),
    [
        (b'{"status": "SUCCESS"}', Signal(True)),
        (
            b'{"status": "FAILURE", "id": "a", "reason": "no disk", "data": {"n": 1}}',
            Signal(False, "a", "no disk", {"n": 1}),
        ),
        (
            b'{"Status": "SUCCESS", "UniqueId": "7", "Reason": "up", "Data": "x"}',
            Signal(True, "7", "up", "x"),
        ),
        (b'{"status": "SUCCESS", "id": null, "reason": 7}', Signal(True, "", "7")),
        (b'{"status": "success"}', None),
        (b'{"status": ["SUCCESS"]}', None),
        (b'{"name": "modules-final", "result": "SUCCESS"}', None),
        (b"[]", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
    ],
)
def test_a_report_is_a_signal_when_it_speaks_heats_words(content: bytes, signal: Signal | None) -> None:
    assert signals.parse(content) == signal


def test_long_texts_are_cut() -> None:
    found = signals.parse(json.dumps({"status": "FAILURE", "reason": "x" * 9000}).encode())
    assert found is not None
    assert len(found.reason) == signals.TEXT_LIMIT


def test_a_condition_counts_each_id_once_and_nameless_ones_each() -> None:
    condition = WaitCondition(3)
    for ok in (Signal(True, "a"), Signal(True, "a"), Signal(True)):
        condition.take(ok.payload())
    assert (condition.received, condition.is_met) == (2, False)
    condition.take(Signal(True).payload())
    assert (condition.received, condition.is_met, condition.failure) == (3, True, None)


def test_one_failure_ends_it_with_its_reason() -> None:
    condition = WaitCondition(3)
    condition.take(Signal(False, "a", "no disk").payload())
    assert condition.failure == "no disk"
    condition.take(Signal(False).payload())
    assert condition.failure == "the guest gave no reason"


async def test_a_signal_of_a_guest_is_recorded(tmp_path: Path) -> None:
    node = FakeNode("host-1")
    cloud = await open_cloud(tmp_path, [node], "http://127.0.0.1:1")
    assert node.on_signal is not None
    await node.on_signal("server-1", Signal(True, "a", "up"))
    async with cloud.store.read() as connection:
        (event,) = await events.after(connection, 0, "server-1")
    assert (event.type, event.payload["status"], event.payload["reason"]) == (signals.EVENT, "SUCCESS", "up")
    await cloud.conductor.close()
    await cloud.store.close()
