"""HTTP against a server that answers wrongly (GA-N05 .. N07, N09, N10), and the --http map."""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from guest_agent.errors import FetchFailed
from guest_agent.fetch import METADATA, Policy, Web, delays_s, is_link_local
from guest_agent.http_map import HttpMap
from guest_agent.http_wire import parse_address, request_bytes
from guest_agent.limits import Limits
from tests.unit.guest_agent.fault_server import (
    Answer,
    FaultServer,
    drip,
    fault_server,
    ok,
    reset,
    silence,
    status,
)

CERTIFICATE_OF_NOBODY = [
    "openssl",
    "req",
    "-x509",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
    "-days",
    "1",
    "-subj",
    "/CN=localhost",
]
QUICK = Policy(timeout_s=0.3, tries=3, deadline_s=5.0)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with fault_server() as running:
        yield running


class Sleeps(list[float]):
    """Keeps what it was told to sleep."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def web(sleep: Sleeps | None = None, **more: object) -> Web:
    limits = more.pop("limits", Limits())
    assert isinstance(limits, Limits)
    proxies = more.pop("proxies", {})
    assert isinstance(proxies, dict)
    return Web(
        sleep=sleep if sleep is not None else Sleeps(), jitter=lambda: 1.0, proxies=proxies, limits=limits
    )


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
# Everything here is worth another try, and the next answer is right.
AGAIN: dict[str, Answer] = {
    "408": status(408), "429": status(429), "500": status(500), "502": status(502), "503": status(503),
    "504": status(504), "reset": reset, "silence": silence, "drip": drip, "closed at once": b"",
    "half a status line": b"HTTP/1.1 20", "no status line": b"hello\r\n\r\n", "not http": b"SSH-2.0-x\r\n",
    "status is a word": b"HTTP/1.1 fine OK\r\n\r\n", "status of five digits": b"HTTP/1.1 20000 OK\r\n\r\n",
    "headers cut": b"HTTP/1.1 200 OK\r\nContent-Le", "body cut": ok(b"good")[:-2],
    "body missing": ok(b"good")[:-4],
    "length too large": b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ngood",
    "length is a word": b"HTTP/1.1 200 OK\r\nContent-Length: four\r\n\r\ngood",
    "length is negative": b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\ngood",
    "chunk cut": CHUNKED + b"4\r\ngo", "last chunk missing": CHUNKED + b"4\r\ngood\r\n",
    "chunk size is a word": CHUNKED + b"four\r\ngood\r\n0\r\n\r\n",
    "chunk without its end": CHUNKED + b"4\r\ngoodness\r\n0\r\n\r\n",
    "endless header": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 80_000,
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
    "only 1xx": b"HTTP/1.1 100 Continue\r\n\r\n",
    "empty lines": b"\r\n\r\n", "nul bytes": b"\0" * 100,
}  # fmt: skip


@pytest.mark.parametrize("fault", AGAIN, ids=str)
def test_ga_n05_a_fault_is_tried_again(server: FaultServer, fault: str) -> None:
    server.answers["/x"] = [AGAIN[fault], ok()]
    assert web().body(f"{server.base}/x", QUICK) == b"good"
    assert server.paths() == ["/x", "/x"]


@pytest.mark.parametrize("fault", ["body cut", "chunk cut", "last chunk missing", "drip", "silence", "reset"])
def test_ga_n05_half_an_answer_is_never_data(server: FaultServer, fault: str) -> None:
    server.answers["/x"] = [AGAIN[fault]]
    with pytest.raises(FetchFailed, match=r"tried 2 times"):
        web().body(f"{server.base}/x", QUICK.replace(tries=2))


def test_ga_n05_waits_double_up_to_ten_seconds_and_jitter_halves_them_at_most() -> None:
    longest, shortest = delays_s(lambda: 1.0), delays_s(lambda: 0.0)
    assert [next(longest) for _ in range(8)] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert [next(shortest) for _ in range(7)] == [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 5.0]


def test_ga_n05_retry_after_is_honoured(server: FaultServer) -> None:
    sleeps = Sleeps()
    server.answers["/x"] = [status(503, "Retry-After: 3"), status(429, "Retry-After: soon"), ok()]
    web(sleeps).body(f"{server.base}/x", QUICK)
    assert sleeps == [3.0, 0.5]


def test_ga_n05_the_deadline_ends_all_tries(server: FaultServer) -> None:
    server.answers["/x"] = [status(503, "Retry-After: 600")]
    started = time.monotonic()
    with pytest.raises(FetchFailed, match=r"HTTP 503 \(tried 1 times\)"):
        web().body(f"{server.base}/x", METADATA)
    assert time.monotonic() - started < 2


def test_ga_n05_one_slow_byte_after_the_other_ends_at_the_timeout(server: FaultServer) -> None:
    server.answers["/x"] = [drip]
    started = time.monotonic()
    with pytest.raises(FetchFailed, match="no whole answer in time"):
        web().body(f"{server.base}/x", QUICK.replace(tries=1))
    assert 0.2 < time.monotonic() - started < 1.5


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405, 410, 451, 501])
def test_ga_n06_other_statuses_are_not_tried_again(server: FaultServer, code: int) -> None:
    server.answers["/x"] = [status(code), ok()]
    with pytest.raises(FetchFailed) as failed:
        web().body(f"{server.base}/x", QUICK)
    assert failed.value.status == code
    assert len(server.requests) == 1


@pytest.mark.parametrize("seed", range(20))
def test_ga_n07_a_flapping_server_gives_the_same_in_the_end(server: FaultServer, seed: int) -> None:
    """Half of the requests fail, each in another way."""
    dice = random.Random(seed)
    quick = [fault for name, fault in AGAIN.items() if name not in ("drip", "silence")]
    for name in "abcd":
        faults = [dice.choice(quick) for _ in range(dice.randint(0, 3))]
        server.answers[f"/{name}"] = [*faults, ok(name.encode())]
    found = web()
    assert [found.body(f"{server.base}/{name}", QUICK.replace(tries=6)) for name in "abcd"] == [
        b"a", b"b", b"c", b"d",
    ]  # fmt: skip


def test_ga_n09_no_proxy_for_link_local_addresses(server: FaultServer) -> None:
    proxies = {"http_proxy": server.base, "no_proxy": "spared.example, .inner.example"}
    server.answers["http://else.example/x"] = [ok(b"by proxy")]
    found = web(proxies=proxies)
    assert found.body("http://else.example/x", QUICK) == b"by proxy"
    spared = (
        "169.254.169.254",
        "fe80::a9fe:a9fe",
        "fd00:ec2::254",
        "localhost",
        "spared.example",
        "a.inner.example",
    )
    for host in spared:
        url = f"http://[{host}]/" if ":" in host else f"http://{host}/"
        assert found._proxy_for(parse_address(url)) is None
    assert is_link_local("169.254.1.1")
    assert is_link_local("FE80::1")
    assert not is_link_local("10.0.0.1")


def test_ga_n10_redirects_on_the_same_host_are_followed(server: FaultServer) -> None:
    server.answers["/a"] = [status(302, "Location: /b")]
    server.answers["/b"] = [status(307, f"Location: {server.base}/c")]
    server.answers["/c"] = [ok()]
    assert web().body(f"{server.base}/a", QUICK) == b"good"


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("file:///etc/shadow", "refused address"), ("ftp://127.0.0.1/x", "refused address"),
        ("http://other.example/x", "another host"), ("http://169.254.169.254/x", "another host"),
        ("/a", "in a circle"), ("http://user:secret@127.0.0.1/x", "refused address"),
    ],
)  # fmt: skip
def test_ga_n10_redirects_that_are_refused(server: FaultServer, location: str, problem: str) -> None:
    server.answers["/a"] = [status(302, f"Location: {location}")]
    with pytest.raises(FetchFailed, match=problem):
        web().body(f"{server.base}/a", QUICK)
    assert server.paths() == ["/a"]


def test_ga_n10_five_hops_are_followed_and_no_sixth(server: FaultServer) -> None:
    for number in range(6):
        server.answers[f"/{number}"] = [status(302, f"Location: /{number + 1}")]
    server.answers["/5"] = [ok()]
    assert web().body(f"{server.base}/0", QUICK) == b"good"
    server.answers["/5"] = [status(302, "Location: /6")]
    server.answers["/6"] = [ok()]
    with pytest.raises(FetchFailed, match="more than 5 redirects"):
        web().body(f"{server.base}/0", QUICK)


def test_ga_n10_never_from_https_to_http() -> None:
    from guest_agent.fetch import _redirected
    from guest_agent.http_wire import Reply

    reply = Reply(302, {"location": "http://a.example/"}, b"")
    with pytest.raises(FetchFailed, match="from https to http"):
        _redirected("https://a.example/", reply, QUICK, ["https://a.example/"], Limits())


@pytest.mark.parametrize("framing", ["length", "chunks", "until closed"])
def test_the_size_limit_holds_whatever_the_framing(server: FaultServer, framing: str) -> None:
    def answer(body: bytes) -> bytes:
        if framing == "length":
            return ok(body)
        if framing == "chunks":
            return CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        return b"HTTP/1.0 200 OK\r\n\r\n" + body

    server.answers["/x"] = [answer(b"x" * 100)]
    server.answers["/y"] = [answer(b"x" * 101)]
    small = Limits(download_bytes=100)
    assert len(web(limits=small).body(f"{server.base}/x", QUICK)) == 100
    with pytest.raises(FetchFailed, match="download_bytes"):
        web(limits=small).body(f"{server.base}/y", QUICK)
    assert server.paths().count("/y") == 1


def test_the_limit_for_all_downloads_together(server: FaultServer) -> None:
    server.answers["/x"] = [ok(b"x" * 60)]
    found = web(limits=Limits(download_total_bytes=100))
    found.body(f"{server.base}/x", QUICK)
    with pytest.raises(FetchFailed, match="more than 40"):
        found.body(f"{server.base}/x", QUICK)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("file:///x", "only http"), ("http:///x", "no host"), ("http://a b/", "white space"),
        ("http://a:99999/", "port"), ("http://a:x/", "port"), ("http://[::1/", "not closed"),
        ("http://u:p@a/", "password"), ("gopher://a/", "only http"),
        ("", "only http"), ("http://a/\n", "white"),
    ],
)  # fmt: skip
def test_addresses_that_are_none(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_address(url)


def test_a_link_local_address_keeps_its_interface() -> None:
    address = parse_address("http://[fe80::a9fe:a9fe%25eth0]/openstack?x=1#y")
    assert (address.host, address.zone, address.port, address.target) == (
        "fe80::a9fe:a9fe", "eth0", 80, "/openstack?x=1",
    )  # fmt: skip
    assert address.host_header == "[fe80::a9fe:a9fe]"
    assert parse_address("http://a.example:8080").host_header == "a.example:8080"


def test_a_header_cannot_hold_a_line_end() -> None:
    with pytest.raises(ValueError, match="line end"):
        request_bytes("GET", "/", {"X": "a\r\nY: b"}, b"")


def test_post_form_is_sent_and_tried_again(server: FaultServer) -> None:
    server.answers["POST /home"] = [status(500), ok()]
    sleeps = Sleeps()
    web(sleeps).post_form(f"{server.base}/home", {"hostname": "web 1"}, 3, 2.0)
    assert sleeps == [2.0]
    assert server.requests[0][2]["content-type"] == "application/x-www-form-urlencoded"
    with pytest.raises(OSError, match="HTTP 404"):
        web().post_form(f"{server.base}/none", {}, 1, 0)


def test_os_14_post_gives_any_answer_and_fails_where_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text("http://x/has: {status: 409}\nhttp://x/down: {status: 503}\n")
    web = Web(replies=HttpMap.read("map.yaml", str(tmp_path)), sleep=Sleeps())
    assert web.post("http://x/has", b"abc", 3) == 409
    assert web.post("http://x/down", b"abc", 2) == 503
    with pytest.raises(OSError, match="does not name it"):
        web.post("http://y/", b"abc", 1)


def test_the_http_map_answers_in_the_place_of_the_network(tmp_path: Path) -> None:
    (tmp_path / "seed").mkdir()
    (tmp_path / "seed" / "meta-data").write_text("instance-id: i-1\n")
    (tmp_path / "one").write_text("one")
    (tmp_path / "map.yaml").write_text(
        "http://a.example/seed/: seed\nhttp://a.example/one: one\n"
        "http://a.example/no: {status: 403}\nhttp://a.example/: {body: all, headers: {X: y}}\n"
    )
    found = Web(replies=HttpMap.read("map.yaml", str(tmp_path)), sleep=Sleeps())
    assert found.body("http://a.example/seed/meta-data") == b"instance-id: i-1\n"
    assert found.request("http://a.example/seed/none").status == 404
    assert found.body("http://a.example/one") == b"one"
    assert found.request("http://a.example/no").status == 403
    assert found.body("http://a.example/else") == b"all"
    with pytest.raises(FetchFailed, match="does not name it"):
        found.body("http://b.example/")


def test_a_broken_http_map_is_refused(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text("[")
    with pytest.raises(FetchFailed, match="not usable as --http map"):
        HttpMap.read("map.yaml", str(tmp_path))


def test_ga_s09_a_certificate_that_is_refused_says_what_the_clock_is(tmp_path: Path) -> None:
    """A guest whose clock stands at 1970 refuses every certificate; its error must show why."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    argv = [*CERTIFICATE_OF_NOBODY, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        listening.settimeout(60)

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                context.wrap_socket(connection, server_side=True).close()

        pool.submit(serve)
        policy = Policy(timeout_s=20.0, tries=1, deadline_s=30.0)
        with pytest.raises(FetchFailed) as refused:
            web().body(f"https://127.0.0.1:{listening.getsockname()[1]}/", policy)
    today = {time.strftime("%Y-%m-%d", time.gmtime(time.time() - ago)) for ago in (0, 60)}
    assert "certificate" in str(refused.value)
    assert any(f"(the clock says {day})" in str(refused.value) for day in today)
