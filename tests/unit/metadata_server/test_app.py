"""The server over real sockets: that it translates, and the limits that only exist there (MS-H, MS-D)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from instance_metadata.instance import Instance, parse
from metadata_server.access import AccessRecord
from metadata_server.app import MetadataServer, Settings
from metadata_server.errors import BadListener, CannotListen
from metadata_server.limiter import Rate
from metadata_server.listener import Listener, Mode
from metadata_server.passwords import DirectoryPasswords
from metadata_server.protocol import Limits
from tests.unit.metadata_server.asking import DOCUMENT, UUID

POST = b"POST /openstack/latest/password HTTP/1.1\r\nHost: localhost\r\n"
YEAR_S = 365 * 86_400
QUICK = Limits(request_s=0.3, body_s=0.3, idle_s=0.5, stalled_reader_s=0.5, linger_s=0.2, sweep_s=0.05)


class Client:
    """A socket and what came back, as bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def send(self, *parts: bytes, pause_s: float = 0.0, half_close: bool = False) -> bytes:
        """Send the parts one after another and read until the server closes."""
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause_s)
            if half_close:
                writer.write_eof()
            async with asyncio.timeout(5):
                return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    async def get(
        self, target: str, *headers: str, method: str = "GET", body: bytes = b""
    ) -> tuple[int, bytes]:
        """Status and body of one request."""
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
        if body or method in ("POST", "PUT"):
            lines.append(f"Content-Length: {len(body)}")
        answer = await self.send("\r\n".join([*lines, "", ""]).encode() + body)
        head, _, content = answer.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), content


class Guest:
    """A server with one instance on one socket, the client for it, and what it logged."""

    def __init__(self, server: MetadataServer, client: Client, records: list[AccessRecord]) -> None:
        self.server = server
        self.client = client
        self.records = records


@pytest.fixture
def settings() -> Settings:
    return Settings(limits=QUICK, reports=True)


@pytest.fixture
async def guest(tmp_path: Path, web_1: Instance, settings: Settings) -> AsyncIterator[Guest]:
    records: list[AccessRecord] = []
    passwords = DirectoryPasswords(tmp_path / "passwords")
    server = MetadataServer(settings, passwords=passwords, on_request=records.append)
    server.instances.put(web_1)
    path = tmp_path / "s"
    await server.listen(Listener(f"unix:{path}", Mode.SOCKET, instance_id=UUID))
    try:
        yield Guest(server, Client(path), records)
    finally:
        await server.close(timeout_s=1)


async def test_x_4_a_request_and_its_record(guest: Guest) -> None:
    status, body = await guest.client.get("/openstack/latest/meta_data.json", "User-Agent: probe")
    assert (status, json.loads(body)["uuid"]) == (200, UUID)
    (record,) = guest.records
    assert (record.instance_id, record.method, record.status, record.size) == (UUID, "GET", 200, len(body))
    assert (record.path, record.user_agent, record.mode) == (
        "/openstack/latest/meta_data.json",
        "probe",
        "socket",
    )
    assert json.loads(record.as_json())["instance"] == UUID


async def test_random_seed_is_fresh_and_the_rest_is_not(guest: Guest) -> None:
    documents = []
    for _ in range(3):
        _, body = await guest.client.get("/openstack/latest/meta_data.json")
        documents.append(json.loads(body))
    seeds = {document.pop("random_seed") for document in documents}
    assert len(seeds) == 3
    assert {len(seed) for seed in seeds} == {684}
    assert documents[0] == documents[1] == documents[2]


async def test_the_repeated_answer_is_the_first_one(guest: Guest) -> None:
    """The fast way sends what the rules said: the same bytes but for the date."""

    def timeless(answer: bytes) -> list[bytes]:
        return [line for line in answer.split(b"\r\n") if not line.startswith((b"Date:", b"Conn"))]

    request = b"GET /openstack/latest/network_data.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = await guest.client.send(request * 3, half_close=True)
    first, second, third = answer.split(b"HTTP/1.1 200 OK")[1:]
    assert timeless(first) == timeless(second) == timeless(third)


def parsed(guest: Guest) -> int:
    """How many requests aiohttp has parsed so far."""
    return guest.server.listeners[0].guests.requests_count


@pytest.mark.parametrize("fields", ["Connection: close\r\n", "Connection: keep-alive\r\n", ""])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("name", ["meta_data.json", "network_data.json"])
async def test_the_same_bytes_again_are_answered_alike_and_not_parsed(
    guest: Guest, version: str, fields: str, name: str
) -> None:
    """Decision 0116: one that asks what was asked before is told the same, all but date and seed."""

    def timeless(answer: bytes) -> list[bytes]:
        seed = re.sub(rb'"random_seed": "[^"]*"', b"", answer)
        return [line for line in seed.split(b"\r\n") if not line.startswith(b"Date:")]

    request = f"GET /openstack/latest/{name} HTTP/{version}\r\nHost: localhost\r\n{fields}\r\n".encode()
    answers = []
    for number in range(4):
        answers.append(await guest.client.send(request))
        assert parsed(guest) == min(number + 1, 2)
    assert len({tuple(timeless(answer)) for answer in answers}) == 1
    assert len({(record.path, record.status, record.size) for record in guest.records}) == 1
    assert len(guest.records) == 4


async def test_a_connection_that_asks_something_new_goes_on_with_the_rules(guest: Guest) -> None:
    known = b"GET /latest/meta-data/hostname HTTP/1.1\r\nHost: localhost\r\n\r\n"
    new = b"GET /latest/meta-data/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
    await guest.client.send(known * 3, half_close=True)
    for parts, statuses in (
        ((known, known, new, known), [b"200", b"200", b"404", b"200"]),
        ((known, known + new[:9], new[9:], known), [b"200", b"200", b"404", b"200"]),
        ((known[:30], known[30:]), [b"200"]),
    ):
        answer = await guest.client.send(*parts, pause_s=0.03, half_close=True)
        assert [part.split(b" ")[1] for part in answer.split(b"HTTP/1.1")[1:]] == statuses


async def test_what_was_asked_before_is_another_answer_once_the_instance_is(guest: Guest) -> None:
    request = b"GET /latest/meta-data/hostname HTTP/1.1\r\nHost: localhost\r\n\r\n"
    await guest.client.send(request * 3, half_close=True)
    guest.server.instances.put(parse({**DOCUMENT, "hostname": "renamed"}, "web-1"))
    for _ in range(3):
        assert (await guest.client.send(request, half_close=True)).endswith(b"renamed")
    guest.server.instances.remove(UUID)
    for _ in range(2):
        assert b" 404 " in await guest.client.send(request, half_close=True)


async def test_heads_that_aiohttp_reads_alike_are_not_taken_for_one(guest: Guest) -> None:
    """A head is remembered as it would be written anew, so that no odd spelling stands for another."""
    plain = b"GET /latest/meta-data/hostname HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n\r\n"
    odd = plain.replace(b"X-A: b", b"X-A:  b ")
    for request, parsed_so_far in ((odd, 1), (odd, 2), (odd, 3), (plain, 3), (odd, 4)):
        assert b" 200 OK" in await guest.client.send(request, half_close=True)
        assert parsed(guest) == parsed_so_far


async def test_ms_d16_long_heads_are_not_remembered(guest: Guest) -> None:
    """A guest that sends ever new ones would fill the memory."""
    long = b"X-A: " + b"a" * 1100 + b"\r\n"
    request = b"GET /latest/meta-data/hostname HTTP/1.1\r\nHost: localhost\r\n" + long + b"\r\n"
    for number in range(4):
        assert b" 200 OK" in await guest.client.send(request, half_close=True)
        assert parsed(guest) == number + 1


async def test_ms_d12_a_silent_connection_does_not_hold_up_the_end(guest: Guest, tmp_path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
    await asyncio.sleep(0.05)
    async with asyncio.timeout(0.3):  # sooner than the sweep would end it
        await guest.server.close(timeout_s=5)
        assert await reader.read() == b""
    writer.close()


async def test_http_02_head(guest: Guest) -> None:
    for target in ("/openstack/latest/meta_data.json", "/openstack/latest/password", "/nowhere"):
        get = await guest.client.send(f"GET {target} HTTP/1.0\r\n\r\n".encode())
        head = await guest.client.send(f"HEAD {target} HTTP/1.0\r\n\r\n".encode())
        lines = [
            [
                line
                for line in answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
                if not line.startswith(b"Date:")
            ]
            for answer in (get, head)
        ]
        assert lines[0] == lines[1]
        assert head.endswith(b"\r\n\r\n")


async def test_http_06_no_encoding_and_a_length(guest: Guest) -> None:
    answer = await guest.client.send(
        b"GET /openstack/latest/user_data HTTP/1.0\r\nAccept-Encoding: gzip, deflate\r\n\r\n"
    )
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert b"content-length: 14" in head
    assert b"encoding" not in head


async def test_removal_takes_effect_on_an_open_connection(guest: Guest, tmp_path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
    request = b"GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for expected in (b"200", b"200", b"404"):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.split(b" ")[1] == expected
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))
        await reader.readexactly(int(length.split(b":")[1]))
        if expected == b"200" and guest.records[-1].status == 200 and len(guest.records) == 2:
            guest.server.instances.remove(UUID)
    writer.close()


async def test_os_14_os_16_ms_d04_one_of_many_passwords_wins(guest: Guest, tmp_path: Path) -> None:
    target = "/openstack/2013-04-04/password"
    assert await guest.client.get(target) == (200, b"")
    answers = await asyncio.gather(
        *(guest.client.get(target, method="POST", body=f"secret-{i}".encode()) for i in range(32))
    )
    assert sorted(status for status, _ in answers) == [200] + [409] * 31
    winner = next(i for i, (status, _) in enumerate(answers) if status == 200)
    assert await guest.client.get(target) == (200, f"secret-{winner}".encode())
    (kept,) = (tmp_path / "passwords").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    again = DirectoryPasswords(tmp_path / "passwords")
    assert await again.read(UUID) == f"secret-{winner}".encode()


async def test_ms_d05_a_store_that_fails_is_503(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "passwords").rename(tmp_path / "away")
    target = "/openstack/latest/password"
    assert (await guest.client.get(target, method="POST", body=b"x"))[0] == 503
    (tmp_path / "away").rename(tmp_path / "passwords")
    assert (await guest.client.get(target, method="POST", body=b"x"))[0] == 200


async def test_ms_d03_password_bodies(guest: Guest) -> None:
    target = "/openstack/latest/password"
    assert (await guest.client.get(target, method="POST", body=b"x" * (64 * 1024 + 1)))[0] == 413
    chunked = (
        b"POST /openstack/latest/password HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    assert b" 200 " in await guest.client.send(chunked)
    assert await guest.client.get(target) == (200, b"abc")


async def test_os_15_a_rebuild_clears_the_password(guest: Guest) -> None:
    target = "/openstack/latest/password"
    await guest.client.get(target, method="POST", body=b"old")
    await guest.server.services.passwords.clear(UUID)
    assert (await guest.client.get(target, method="POST", body=b"new"))[0] == 200


async def test_x_1_a_waiting_guest_is_told(guest: Guest) -> None:
    head = await guest.client.send(b"GET /openstack/latest/meta_data.json HTTP/1.0\r\n\r\n")
    etag = next(line for line in head.decode().split("\r\n") if line.startswith("ETag")).split('"')[1]
    target = f"/openstack/latest/meta_data.json?wait_for_change=true&last_etag={etag}&timeout_sec=5"
    waiting = asyncio.create_task(guest.client.get(target))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    guest.server.instances.put(parse({**DOCUMENT, "name": "changed"}, "web-1"))
    status, body = await waiting
    assert (status, json.loads(body)["name"]) == (200, "changed")
    status, body = await guest.client.get(target)
    assert (status, json.loads(body)["name"]) == (200, "changed")


async def test_x_1_nothing_changes(guest: Guest) -> None:
    head = await guest.client.send(b"GET /openstack/latest/meta_data.json HTTP/1.0\r\n\r\n")
    etag = next(line for line in head.decode().split("\r\n") if line.startswith("ETag")).split('"')[1]
    target = f"/openstack/latest/meta_data.json?wait_for_change=true&last_etag={etag}&timeout_sec=1"
    assert (await guest.client.get(target))[0] == 200


async def test_x_2_reports_are_kept_up_to_a_number(guest: Guest) -> None:
    target = "/openstack/latest/x_report"
    for expected in [200] * 64 + [409]:
        assert (await guest.client.get(target, method="POST", body=b"{}"))[0] == expected
    assert guest.server.services.reports[UUID] == [b"{}"] * 64


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GARBAGE\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: \x00\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX : 1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: 1\r\n" * 65 + b"\r\n", b"400"),
        (b"GET /" + b"a" * 8190 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20000 + b"\r\n\r\n", b"431"),
        (
            b"POST /openstack/latest/password HTTP/1.1\r\nHost: localhost\r\nContent-Length: +4\r\n\r\nabcd",
            b"400",
        ),
        (POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd", b"400"),
        (POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nabcd", b"400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nExpect: 1\r\n\r\n", b"417"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000, b"413"),
    ],
)
async def test_ms_h02_ms_h04_ms_h05_ms_h10_ms_h11_bad_requests(
    guest: Guest, sent: bytes, status: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await guest.client.send(sent)
    assert answer.split(b" ")[1] == status
    assert answer.count(b"HTTP/1.1") == 1
    assert answer.partition(b"\r\n\r\n")[2].count(b"\n") == 1
    assert all(record.exc_info is None and len(record.getMessage()) < 200 for record in caplog.records)


async def test_ms_h02_http_1_0_needs_no_host(guest: Guest) -> None:
    assert (await guest.client.send(b"GET /openstack HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ((), b""),
        ((b"GET /openstack HT",), b"408"),
        ((b"GET /openstack HTTP/1.1\r\n", b"A: 1\r\n", b"B: 1\r\n"), b"408"),
        (
            (b"POST /openstack/latest/password HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc",),
            b"408",
        ),
    ],
)
async def test_ms_h06_slow_requests_end(guest: Guest, parts: tuple[bytes, ...], status: bytes) -> None:
    started = asyncio.get_running_loop().time()
    answer = await guest.client.send(*parts, pause_s=0.05)
    assert answer == b"" if status == b"" else answer.split(b" ")[1] == status
    assert asyncio.get_running_loop().time() - started < 2


async def test_ms_h06_idle_keep_alive_ends(guest: Guest) -> None:
    answer = await guest.client.send(b"GET /openstack HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.slow
@pytest.mark.parametrize("asked_before", [False, True])
async def test_ms_h06_a_reader_that_does_not_read_is_dropped(
    guest: Guest, tmp_path: Path, asked_before: bool
) -> None:
    content = "x" * (8 << 20)
    guest.server.instances.put(parse({**DOCUMENT, "files": [{"path": "/big", "content": content}]}, "web-1"))
    for _ in range(2 if asked_before else 0):
        await guest.client.send(b"GET /openstack/content/0000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(silent, str(tmp_path / "s"))
        await loop.sock_sendall(silent, b"GET /openstack/content/0000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asyncio.sleep(1.5)
        received = 0
        while chunk := await loop.sock_recv(silent, 1 << 20):
            received += len(chunk)
        assert received < len(content)


async def test_a_large_answer_arrives_whole(guest: Guest) -> None:
    content = "x" * (8 << 20)
    guest.server.instances.put(parse({**DOCUMENT, "files": [{"path": "/big", "content": content}]}, "web-1"))
    for _ in range(3):
        status, body = await guest.client.get("/openstack/content/0000")
        assert (status, len(body)) == (200, len(content))


async def test_ms_h09_pipelined_requests_keep_their_order(guest: Guest) -> None:
    names = ["uuid-none", "instance-id", "hostname"] * 40
    request = "".join(f"GET /latest/meta-data/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n" for name in names)
    answer = await guest.client.send(request.encode(), half_close=True)
    statuses = [part.split(b" ")[1] for part in answer.split(b"HTTP/1.1")[1:]]
    assert statuses == [b"404", b"200", b"200"] * 40


async def test_ms_h08_one_connection_too_many(tmp_path: Path, web_1: Instance) -> None:
    server = MetadataServer(Settings(limits=Limits(connections_per_source=3)))
    server.instances.put(web_1)
    address = await server.listen(Listener("127.0.0.1:0"))
    port = int(address.rpartition(":")[2])
    kept = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    assert server.services.refused[0] == 1
    kept[0][1].close()
    await asyncio.sleep(0.05)
    _, again = await asyncio.open_connection("127.0.0.1", port)
    again.write(b"GET / HTTP/1.0\r\n\r\n")
    for _, other in (*kept, (reader, writer)):
        other.close()
    again.close()
    await server.close(timeout_s=1)


async def test_source_ip_and_unknown_source(web_1: Instance) -> None:
    server = MetadataServer()
    server.instances.put(web_1)
    known = await server.listen(Listener("127.0.0.1:0", hosts=("h",)))
    server.instances.put(parse({**DOCUMENT, "identity": {"source_ips": ["::ffff:127.0.0.1"]}}, "x"))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(known.rpartition(":")[2]))
    writer.write(b"GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).endswith(b"i-a62ab27d")
    writer.close()
    await server.close(timeout_s=1)


@pytest.mark.parametrize("settings", [Settings(rate=Rate(10, 5))])
async def test_ms_d01_a_flooder_gets_429(guest: Guest) -> None:
    statuses = [(await guest.client.get("/openstack"))[0] for _ in range(6)]
    assert statuses == [200] * 5 + [429]
    await asyncio.sleep(0.15)
    assert (await guest.client.get("/openstack"))[0] == 200


async def test_two_instances_never_see_each_other(tmp_path: Path) -> None:
    server = MetadataServer()
    uuids = [f"aaaaaaaa-0000-4000-8000-00000000000{i}" for i in range(8)]
    for i, uuid in enumerate(uuids):
        server.instances.put(parse({"uuid": uuid, "name": f"guest-{i}"}, uuid))
        await server.listen(Listener(f"unix:{tmp_path}/{i}", Mode.SOCKET, instance_id=uuid))

    async def read(i: int) -> str:
        _, body = await Client(tmp_path / str(i)).get("/openstack/latest/meta_data.json")
        return str(json.loads(body)["name"])

    names = await asyncio.gather(*(read(i % 8) for i in range(64)))
    assert names == [f"guest-{i % 8}" for i in range(64)]
    await server.close(timeout_s=1)


async def test_tok_09_hop_limit_is_set_on_the_connection(web_1: Instance) -> None:
    server = MetadataServer()
    document = {**DOCUMENT, "imds": {"tokens": "required"}, "identity": {"source_ips": ["127.0.0.1"]}}
    server.instances.put(parse(document, "x"))
    address = await server.listen(Listener("127.0.0.1:0"))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
    request = b"PUT /latest/api/token HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    writer.write(request + b"X-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"x-aws-ec2-metadata-token-ttl-seconds: 60" in head
    (protocol,) = server.listeners[0].guests.connections
    assert protocol.transport is not None
    socket_ = protocol.transport.get_extra_info("socket")
    assert socket_.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 1
    writer.close()
    await server.close(timeout_s=1)


async def test_ms_t09_tokens_know_no_wall_clock(tmp_path: Path) -> None:
    server = MetadataServer()
    server.instances.put(parse({**DOCUMENT, "imds": {"tokens": "required"}}, "x"))
    await server.listen(Listener(f"unix:{tmp_path}/s", Mode.SOCKET, instance_id=UUID))
    client, services = Client(tmp_path / "s"), server.services
    wall_s, booted_s = services.wall_time(), services.token_time()
    _, token = await client.get("/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 60", method="PUT")
    for shift_s in (-20 * YEAR_S, -3600, 3600, 20 * YEAR_S):
        services.wall_time = partial(float, wall_s + shift_s)
        for later_s, status in ((0, 200), (59, 200), (61, 401)):
            services.token_time = partial(float, booted_s + later_s)
            answer = await client.get(
                "/latest/meta-data/hostname", f"X-aws-ec2-metadata-token: {token.decode()}"
            )
            assert answer[0] == status, (shift_s, later_s)
    await server.close(timeout_s=1)


async def test_ms_d12_close_lets_requests_end(guest: Guest) -> None:
    head = await guest.client.send(b"GET /openstack/latest/meta_data.json HTTP/1.0\r\n\r\n")
    etag = next(line for line in head.decode().split("\r\n") if line.startswith("ETag")).split('"')[1]
    target = f"/openstack/latest/meta_data.json?wait_for_change=true&last_etag={etag}&timeout_sec=1"
    waiting = asyncio.create_task(guest.client.get(target))
    await asyncio.sleep(0.1)
    await guest.server.close(timeout_s=5)
    assert (await waiting)[0] == 200


async def test_ms_d13_a_taken_port_says_so(web_1: Instance) -> None:
    server = MetadataServer()
    address = await server.listen(Listener("127.0.0.1:0"))
    with pytest.raises(CannotListen, match=address):
        await server.listen(Listener(address))
    with pytest.raises(CannotListen, match="203"):
        await server.listen(Listener("203.0.113.9:80"))
    await server.close(timeout_s=1)


async def test_id_10_tokens_do_not_pass_neutron(tmp_path: Path) -> None:
    server = MetadataServer(Settings(tokens_everywhere=True))
    with pytest.raises(BadListener, match="Neutron"):
        await server.listen(Listener(f"unix:{tmp_path}/s", Mode.SOCKET, neutron_safe=True))


async def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    server = MetadataServer()
    await server.listen(Listener(f"unix:{path}", Mode.SOCKET))
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(CannotListen):
        await MetadataServer().listen(Listener(f"unix:{path}", Mode.SOCKET))
    await server.close(timeout_s=1)
    assert not path.exists()


async def test_one_listener_is_stopped_and_the_other_goes_on(tmp_path: Path, web_1: Instance) -> None:
    server = MetadataServer()
    server.instances.put(web_1)
    for name in ("a", "b"):
        await server.listen(Listener(f"unix:{tmp_path}/{name}", Mode.SOCKET, instance_id=UUID))
    assert await server.stop(f"unix:{tmp_path}/a")
    assert not await server.stop(f"unix:{tmp_path}/a")
    assert not (tmp_path / "a").exists()
    assert (await Client(tmp_path / "b").get("/openstack"))[0] == 200
    await server.close(timeout_s=1)
