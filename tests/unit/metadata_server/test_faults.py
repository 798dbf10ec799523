"""Fault scripts: repeatable misbehaviour for people who test agents."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from instance_metadata.errors import InvalidInstance
from instance_metadata.instance import Instance
from metadata_server.app import MetadataServer
from metadata_server.faults import Misbehaviour, Rule, Script, parse
from metadata_server.listener import Listener, Mode
from tests.unit.metadata_server.asking import UUID

BAD = Misbehaviour(status=503)


def pattern(rule: Rule, count: int = 12, seed: int = 0) -> str:
    """`x` where the rule strikes, `.` where the right answer comes."""
    script = Script((rule,), seed)
    return "".join("." if script.next(UUID, "/a") is None else "x" for _ in range(count))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule(BAD), "xxxxxxxxxxxx"),
        (Rule(BAD, first=3), "xxx........."),
        (Rule(BAD, after=2, first=3), "..xxx......."),
        (Rule(BAD, every=4), "x...x...x..."),
        (Rule(BAD, good=2, bad=1), "..x..x..x..x"),
        (Rule(BAD, probability=0.0), "............"),
        (Rule(BAD, path="/b"), "............"),
        (Rule(BAD, path="/*"), "xxxxxxxxxxxx"),
        (Rule(BAD, instance="other"), "............"),
    ],
)
def test_when_a_rule_strikes(rule: Rule, expected: str) -> None:
    assert pattern(rule) == expected


def test_chance_is_seeded() -> None:
    rule = Rule(BAD, probability=0.5)
    assert pattern(rule, 200, seed=1) == pattern(rule, 200, seed=1) != pattern(rule, 200, seed=2)
    assert 60 < pattern(rule, 200, seed=1).count("x") < 140


def test_each_instance_and_path_is_counted_by_itself() -> None:
    script = Script((Rule(BAD, first=1),))
    assert [script.next(who, "/a") for who in ("1", "2", "1")] == [BAD, BAD, None]
    assert script.next("1", "/b") == BAD


def test_the_first_rule_that_strikes_decides() -> None:
    script = Script((Rule(Misbehaviour(status=404), first=1), Rule(BAD)))
    assert [script.next(UUID, "/a") for _ in range(2)] == [Misbehaviour(status=404), BAD]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: [{path: /a}]", "x:1: rules[0]: a rule that does nothing"),
        ("rules:\n- {status: 200}", "x:2: rules[0].status: not a number in range"),
        ("rules: [{delay_s: 1, often: true}]", "rules[0].often: unknown field"),
        ("seed: 1", "rules: missing"),
    ],
)
def test_bad_scripts(text: str, said: str) -> None:
    with pytest.raises(InvalidInstance) as caught:
        parse(text.encode(), "x")
    assert said in str(caught.value)


SCRIPT = b"""
rules:
- {path: /openstack, first: 1, status: 429, retry_after_s: 3}
- {path: /openstack/latest/meta_data.json, first: 1, truncate: 10}
- {path: /openstack/latest/user_data, first: 1, reset: true}
- {path: /latest/user-data, first: 1, delay_s: 0.3}
"""


async def test_on_the_wire(tmp_path: Path, web_1: Instance) -> None:
    server = MetadataServer()
    server.instances.put(web_1)
    server.services.faults = parse(SCRIPT, "script")
    path = tmp_path / "s"
    await server.listen(Listener(f"unix:{path}", Mode.SOCKET, instance_id=UUID))

    async def get(target: str) -> bytes:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    busy = await get("/openstack")
    assert (busy.split(b" ")[1], b"Retry-After: 3" in busy) == (b"429", True)
    assert b" 200 " in await get("/openstack")
    cut = await get("/openstack/latest/meta_data.json")
    assert len(cut.partition(b"\r\n\r\n")[2]) == 10
    assert len((await get("/openstack/latest/meta_data.json")).partition(b"\r\n\r\n")[2]) > 500
    assert await get("/openstack/latest/user_data") == b""
    assert (await get("/openstack/latest/user_data")).endswith(b"#cloud-config\n")
    started = asyncio.get_running_loop().time()
    assert (await get("/latest/user-data")).endswith(b"#cloud-config\n")
    assert asyncio.get_running_loop().time() - started > 0.25
    await server.close(timeout_s=1)
