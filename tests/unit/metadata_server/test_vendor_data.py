"""Dynamic vendor data against an upstream that misbehaves in every way (4.5, MS-D09 to D11)."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from instance_metadata.instance import Instance
from metadata_server.app import MetadataServer, Settings
from metadata_server.errors import BadListener
from metadata_server.http import Request
from metadata_server.pages import Options, Tree
from metadata_server.responder import FetchVendorData, Send, respond
from metadata_server.vendor_data import Rules, Target, VendorData, may_ask, parse_targets
from metadata_server.wishes import carry_out

LOCAL = Rules(connect_s=0.3, read_s=0.3, total_s=0.5, allowed=("127.0.0.0/8",))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n%s\r\n%s"
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def answering(body: bytes, *, status: bytes = b"200 OK", headers: bytes = b"") -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n" + headers
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    return answer


async def silence(_: asyncio.StreamWriter) -> None:
    await asyncio.sleep(2)


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    for _ in range(20):
        writer.write(b" ")
        await asyncio.sleep(0.1)


async def early_end(writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a"')


@dataclass
class Upstream:
    """A server that answers as told, and the requests it got."""

    url: str = ""
    answer: Answer = answering(b'{"a": 1}')  # noqa: RUF009  # a function
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    made = Upstream()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        made.requests.append((head, await reader.readexactly(int(length.split(b":")[1]))))
        try:
            await made.answer(writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/vendor"
    yield made
    server.close()


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def ask(data: VendorData, instance: Instance) -> object:
    try:
        return await data.replies(instance)
    finally:
        await data.close()


async def test_the_question_is_novas(upstream: Upstream, web_1: Instance, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("bearer-secret\n")
    rules = Rules(allowed=LOCAL.allowed, token_file=token)
    assert await ask(VendorData((Target("t", upstream.url),), rules), web_1) == {"t": {"a": 1}}
    ((head, body),) = upstream.requests
    assert head.startswith(b"POST /vendor HTTP/1.1")
    assert b"authorization: bearer bearer-secret" in head.lower()
    question = json.loads(body)
    assert question.pop("user-data") == base64.b64encode(b"#cloud-config\n").decode()
    assert question == {
        "project-id": "tenant-1",
        "instance-id": web_1.uuid,
        "image-id": None,
        "hostname": "web-1",
        "metadata": {},
        "boot-roles": "",
    }


@pytest.mark.parametrize(
    "answer",
    [
        silence,
        drip,
        early_end,
        answering(b"", status=b"500 Internal Server Error"),
        answering(b"", status=b"302 Found", headers=b"Location: http://169.254.169.254/\r\n"),
        answering(b"not json"),
        answering(b"NaN"),
        answering(b"[" * 100_000 + b"]" * 100_000),
        answering(b"[" * 70 + b"]" * 70),
        answering(b'"' + b"x" * (2 << 20) + b'"'),
        answering(gzip.compress(b'{"a": 1}'), headers=b"Content-Encoding: gzip\r\n"),
        answering(b"\xff\xfe"),
    ],
    ids=[
        "silence",
        "drip",
        "early-end",
        "500",
        "redirect",
        "text",
        "nan",
        "deep",
        "deep-json",
        "large",
        "gzip",
        "bytes",
    ],
)
async def test_ms_d09_a_broken_upstream_is_an_empty_entry(
    upstream: Upstream, web_1: Instance, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.answer = answer
    started = asyncio.get_running_loop().time()
    assert await ask(VendorData((Target("t", upstream.url),), LOCAL), web_1) == {"t": {}}
    assert asyncio.get_running_loop().time() - started < 1.5
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    fatal = Rules(0.3, 0.3, 0.5, failure_is_fatal=True, allowed=LOCAL.allowed)
    assert await ask(VendorData((Target("t", upstream.url),), fatal), web_1) is None


@pytest.mark.parametrize("body", [b"", b"[]"])
async def test_nothing_is_an_empty_entry_and_no_failure(
    upstream: Upstream, web_1: Instance, body: bytes
) -> None:
    upstream.answer = answering(body)
    fatal = Rules(failure_is_fatal=True, allowed=LOCAL.allowed)
    assert await ask(VendorData((Target("t", upstream.url),), fatal), web_1) == {"t": {}}


async def test_refused_and_unknown_hosts(web_1: Instance) -> None:
    targets = (Target("closed", "http://127.0.0.1:1/"), Target("nowhere", "http://nowhere.invalid/"))
    assert await ask(VendorData(targets, LOCAL), web_1) == {"closed": {}, "nowhere": {}}


async def test_asked_once_for_many_readers_and_again_when_old(upstream: Upstream, web_1: Instance) -> None:
    clock = Clock()
    data = VendorData((Target("t", upstream.url),), LOCAL, now=clock)
    await asyncio.gather(*(data.replies(web_1) for _ in range(20)))
    assert len(upstream.requests) == 1
    clock.now_s = 59.0
    await data.replies(web_1)
    assert len(upstream.requests) == 1
    clock.now_s = 61.0
    await data.replies(web_1)
    assert len(upstream.requests) == 2
    data.forget(web_1.uuid)
    assert await ask(data, web_1) == {"t": {"a": 1}}
    assert len(upstream.requests) == 3


async def test_max_age_is_kept(upstream: Upstream, web_1: Instance) -> None:
    clock = Clock()
    upstream.answer = answering(b"{}", headers=b"Cache-Control: private, max-age=600\r\n")
    data = VendorData((Target("t", upstream.url),), LOCAL, now=clock)
    await data.replies(web_1)
    clock.now_s = 599.0
    await ask(data, web_1)
    assert len(upstream.requests) == 1


async def test_ms_d11_stale_while_failing_and_the_breaker(upstream: Upstream, web_1: Instance) -> None:
    clock = Clock()
    data = VendorData((Target("t", upstream.url),), LOCAL, now=clock)
    assert await data.replies(web_1) == {"t": {"a": 1}}
    upstream.answer = answering(b"", status=b"503 Service Unavailable")
    clock.now_s = 61.0
    for _ in range(8):
        assert await data.replies(web_1) == {"t": {"a": 1}}
    assert len(upstream.requests) == 1 + 5
    clock.now_s = 400.0
    assert await data.replies(web_1) == {"t": {}}
    clock.now_s = 500.0
    upstream.answer = answering(b'"back"')
    assert await ask(data, web_1) == {"t": "back"}


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("169.254.169.254", False),
        ("127.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("::ffff:127.0.0.1", False),
        ("203.0.113.9", True),
        ("10.0.0.1", True),
    ],
)
def test_ms_d10_local_addresses_are_not_asked(address: str, may: bool) -> None:
    assert may_ask(address, ()) is may
    assert may_ask(address, ("0.0.0.0/0", "::/0"))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f000001", "017700000001", "localhost", "[::ffff:127.0.0.1]"]
)
async def test_ms_d10_any_spelling_of_loopback_is_refused(
    upstream: Upstream, web_1: Instance, host: str
) -> None:
    url = upstream.url.replace("127.0.0.1", host)
    assert await ask(VendorData((Target("t", url),), Rules(0.3, 0.3, 0.5)), web_1) == {"t": {}}
    assert upstream.requests == []


def test_targets_are_parsed_as_nova_does(caplog: pytest.LogCaptureFixture) -> None:
    texts = ("a@http://one@host/", "nothing", "a@http://two/", "static@http://three/", "b@https://four/")
    assert parse_targets(texts) == (Target("a", "http://one@host/"), Target("b", "https://four/"))
    assert len(caplog.records) == 3
    with pytest.raises(BadListener, match="not an http"):
        parse_targets(("a@file:///etc/passwd",))


async def test_os_12_the_document_holds_static_and_targets(upstream: Upstream, web_1: Instance) -> None:
    settings = Settings(options=Options(dynamic_vendor_data=True))
    server = MetadataServer(settings)
    data = VendorData((Target("t", upstream.url),), LOCAL)
    server.services.vendor_data = data.replies
    tree = Tree(web_1, settings.options)
    wish = respond(Request("GET", "/openstack/latest/vendor_data2.json"), tree, 0)
    assert wish == FetchVendorData("latest")
    sent = await carry_out(wish, tree, server.services)
    assert isinstance(sent, Send)
    assert json.loads(sent.page.body) == {"static": {}, "t": {"a": 1}}
    await data.close()
