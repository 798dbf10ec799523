"""Who is asking: one mode a listener, and what each takes as evidence (metadata-service.md 2)."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance_metadata.secret import Secret
from metadata_server.caller import (
    IDENTITY_HEADERS,
    Caller,
    Connection,
    foreign_headers,
    identify,
    is_signed,
    mac_of,
)
from metadata_server.errors import BadListener
from metadata_server.http import Request, Response
from metadata_server.listener import Listener, Mode, parse_address

UUID = "8f0a3c1e-5d27-4b43-9c55-2f6f2f5d9b10"
KEY = "0123456789abcdef-key"
SECRETS = (Secret("an older secret, 16+"), Secret(KEY))
PROXY = Listener("127.0.0.1:8775", Mode.PROXY, secrets=SECRETS)
LB = Listener("127.0.0.1:8775", Mode.LB, secrets=SECRETS, trusted_proxies=("10.255.0.0/16",))
SOURCE = Listener("127.0.0.1:80", network="net-1")
BEHIND = Listener("127.0.0.1:80", trusted_proxies=("10.255.0.0/16", "fd00::1"))


def signature(text: str, key: str = KEY) -> str:
    return hmac.new(key.encode(), text.encode(), "sha256").hexdigest()


GOOD = (
    ("x-instance-id", UUID),
    ("x-instance-id-signature", signature(UUID)),
    ("x-tenant-id", "tenant-1"),
)


def caller(
    listener: Listener, *headers: tuple[str, str], peer: str | None = "10.0.0.5", path: str = "/"
) -> Caller:
    found = identify(listener, Connection(peer, 80), Request("GET", path, headers), path)
    assert isinstance(found, Caller)
    return found


def refused(listener: Listener, *headers: tuple[str, str], peer: str = "10.255.0.1") -> Response:
    found = identify(listener, Connection(peer, 80), Request("GET", "/openstack", headers), "/openstack")
    assert isinstance(found, Response)
    return found


def test_id_02_signed_by_any_of_the_secrets() -> None:
    assert caller(PROXY, *GOOD) == Caller(("id", UUID), tenant="tenant-1")
    old = (GOOD[0], ("x-instance-id-signature", signature(UUID, "an older secret, 16+")), GOOD[2])
    assert caller(PROXY, *old).claim == ("id", UUID)


@pytest.mark.parametrize(
    "bad",
    [
        signature(UUID).upper(),
        signature(UUID)[:-1],
        signature("another"),
        "é" * 64,
        "\udcff" * 64,
        signature(UUID, "wrong secret wrong"),
        "x",
    ],
)
def test_ms_a03_id_02_bad_signatures_are_403(bad: str) -> None:
    assert refused(PROXY, GOOD[0], ("x-instance-id-signature", bad), GOOD[2]).status == 403


def test_ms_a03_every_secret_is_compared_on_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    real = hmac.compare_digest

    def spy(one: bytes, other: bytes) -> bool:
        compared.append((type(one), type(other)))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    assert is_signed(SECRETS[::-1], UUID, signature(UUID))
    assert compared == [(bytes, bytes)] * 2


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_ms_a01_id_05_missing_headers_are_named_in_order(missing: int) -> None:
    named = ("X-Instance-ID", "X-Instance-ID-Signature", "X-Tenant-ID")
    given_headers = [GOOD[i] for i in range(3) if i != missing]
    answer = refused(PROXY, *given_headers)
    assert (answer.status, named[missing] in answer.body.decode()) == (400, True)
    assert named[0] in refused(PROXY).body.decode()


@pytest.mark.parametrize("value", ["", "x" * 256, f"{UUID},{UUID}", "not-a-uuid"])
def test_ms_a02_odd_identity_headers_are_400(value: str) -> None:
    assert refused(PROXY, ("x-instance-id", value), *GOOD[1:]).status == 400


@pytest.mark.parametrize("twice", [0, 1, 2])
def test_ms_a02_id_05_a_header_twice_is_400(twice: int) -> None:
    assert refused(PROXY, *GOOD, GOOD[twice]).status == 400


def test_id_06_forwarded_for_is_not_needed_behind_a_proxy() -> None:
    assert caller(PROXY, *GOOD, ("x-forwarded-for", "junk")).claim == ("id", UUID)


def test_id_01_ms_a05_headers_of_another_mode_are_ignored() -> None:
    spoofed = caller(SOURCE, *GOOD, ("x-forwarded-for", "10.0.0.99"))
    assert spoofed.claim == ("ip", "net-1", "10.0.0.5")
    request = Request("GET", "/", (*GOOD, ("x-forwarded-for", "10.0.0.99"), ("accept", "*/*")))
    assert foreign_headers(SOURCE, request) == (
        "x-instance-id",
        "x-tenant-id",
        "x-instance-id-signature",
        "x-forwarded-for",
    )
    assert foreign_headers(PROXY, request) == ()


def test_ms_a06_forwarded_for_from_a_stranger_is_ignored() -> None:
    assert caller(BEHIND, ("x-forwarded-for", "10.0.0.99")).claim == ("ip", "", "10.0.0.5")


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("10.0.0.99", "10.0.0.99"),
        ("203.0.113.9, 10.0.0.99", "10.0.0.99"),
        ("10.0.0.99, 10.255.3.3", "10.0.0.99"),
        ("::ffff:10.0.0.99", "10.0.0.99"),
        ("2001:DB8::0:1", "2001:db8::1"),
    ],
)
def test_id_07_ms_a07_the_last_address_that_is_not_ours(forwarded: str, address: str) -> None:
    assert caller(BEHIND, ("x-forwarded-for", forwarded), peer="10.255.0.1").claim == ("ip", "", address)


@pytest.mark.parametrize("forwarded", ["10.0.0.300", "", "unknown", ",".join(["10.0.0.1"] * 11)])
def test_ms_a07_bad_lists_are_400(forwarded: str) -> None:
    assert refused(BEHIND, ("x-forwarded-for", forwarded)).status == 400


def test_lb_mode_takes_network_and_address() -> None:
    headers = (
        ("x-metadata-provider", "net-7"),
        ("x-metadata-provider-signature", signature("net-7")),
        ("x-forwarded-for", "203.0.113.9, 10.0.0.99"),
    )
    assert caller(LB, *headers).claim == ("ip", "net-7", "10.0.0.99")
    assert refused(LB, *headers[:2]).status == 400
    assert refused(LB, headers[0], ("x-metadata-provider-signature", "x"), headers[2]).status == 403


def test_ms_a10_the_network_is_part_of_the_key() -> None:
    other = Listener("127.0.0.1:81", network="net-2")
    assert caller(SOURCE).claim != caller(other).claim


def test_socket_mode_reads_no_header() -> None:
    fixed = Listener("unix:/run/a.sock", Mode.SOCKET, instance_id=UUID.upper())
    assert caller(fixed, *GOOD, peer=None).claim == ("id", UUID)
    assert caller(Listener("unix:/run/a.sock", Mode.SOCKET), peer=None).claim == ("socket", "/run/a.sock")
    assert caller(Listener("127.0.0.1:80", Mode.SOCKET)).claim == ("port", "80")


def test_path_mode_takes_the_first_segment() -> None:
    found = caller(Listener("127.0.0.1:80", Mode.PATH), path="/key-of-sixteen-chars/openstack/latest")
    assert (found.claim, found.path) == (("path", "key-of-sixteen-chars"), "/openstack/latest")


@pytest.mark.parametrize(
    ("address", "mac"),
    [
        ("fe80::f816:3eff:fe12:3456", "fa:16:3e:12:34:56"),
        ("fe80::f816:3eff:fe12:3456%eth0", "fa:16:3e:12:34:56"),
        ("fe80::1234:5678:9abc:def0", None),
        ("2001:db8::f816:3eff:fe12:3456", None),
        ("10.0.0.5", None),
    ],
)
def test_mac_mode_derives_eui_64(address: str, mac: str | None) -> None:
    assert mac_of(address) == mac
    found = identify(Listener("[::1]:80", Mode.MAC), Connection(address, 80), Request("GET", "/"), "/")
    assert found == Caller(("mac", "", mac)) if mac else isinstance(found, Response)


def test_mac_mode_asks_the_neighbour_table() -> None:
    connection = Connection("10.0.0.5", 80, mac="fa:16:3e:00:00:01")
    found = identify(Listener("127.0.0.1:80", Mode.MAC), connection, Request("GET", "/"), "/")
    assert found == Caller(("mac", "", "fa:16:3e:00:00:01"))


@pytest.mark.parametrize("mode", [Mode.PROXY, Mode.LB])
@pytest.mark.parametrize("secrets", [(), ("",), ("fifteen bytes..",), (KEY, "short")])
def test_id_03_ms_a09_secrets_are_needed(mode: Mode, secrets: tuple[str, ...]) -> None:
    with pytest.raises(BadListener, match=r"secret"):
        Listener("127.0.0.1:80", mode, secrets=tuple(Secret(text) for text in secrets))


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[fe80::a9fe:a9fe%eth0]:80", ("fe80::a9fe:a9fe%eth0", 80)),
        ("unix:/run/a.sock", "/run/a.sock"),
    ],
)
def test_addr_1_addresses(text: str, parsed: object) -> None:
    assert parse_address(text) == parsed


@pytest.mark.parametrize(
    "text", ["", "80", "localhost:80", "1.2.3.4", "::1:80", "1.2.3.4:99999", "unix:", "[1.2.3.4]:80"]
)
def test_addr_1_bad_addresses(text: str) -> None:
    with pytest.raises(BadListener):
        parse_address(text)


_HEADERS = st.lists(st.tuples(st.sampled_from(IDENTITY_HEADERS), st.text(max_size=12)), max_size=6)


@given(
    _HEADERS,
    st.sampled_from([PROXY, LB, SOURCE, BEHIND]),
    st.sampled_from(["10.255.0.1", "10.0.0.5", "fe80::1"]),
)
def test_no_header_makes_identification_fail(
    headers: list[tuple[str, str]], listener: Listener, peer: str
) -> None:
    found = identify(listener, Connection(peer, 80), Request("GET", "/", tuple(headers)), "/")
    if listener in (PROXY, LB):
        assert isinstance(found, Response)
    if listener is SOURCE:
        assert found == Caller(("ip", "net-1", peer))
