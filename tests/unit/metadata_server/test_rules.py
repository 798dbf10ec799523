"""The HTTP, OpenStack and EC2 rules, asked without a socket (metadata-service.md 3 to 5, 13.1)."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from instance_metadata.versions import EC2_NOVA, OPENSTACK
from metadata_server.http import Response
from metadata_server.listener import Listener, Mode
from metadata_server.pages import Options, Tree
from metadata_server.paths import normal
from metadata_server.responder import (
    AppendReport,
    Context,
    ReadPassword,
    Send,
    StorePassword,
    WaitForChange,
    allowed_hosts,
    neutron_safe,
)
from metadata_server.wishes import CARRY_OUT
from tests.unit.metadata_server.asking import ask, body, header, status

ALL = (
    "meta_data.json",
    "user_data",
    "password",
    "vendor_data.json",
    "network_data.json",
    "vendor_data2.json",
)


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("2012-08-10", ("meta_data.json", "user_data")),
        ("2013-04-04", ("meta_data.json", "user_data", "password")),
        ("2013-10-17", ALL[:4]),
        ("2015-10-15", ALL[:5]),
        ("2016-06-30", ALL[:5]),
        *((version, ALL) for version in OPENSTACK[5:]),
    ],
)
def test_os_03_listing_of_each_version_is_what_answers(version: str, names: tuple[str, ...]) -> None:
    assert body(ask("GET", f"/openstack/{version}")) == "\n".join(names).encode()
    for name in ALL:
        outcome = ask("GET", f"/openstack/{version}/{name}")
        assert isinstance(outcome, ReadPassword) or status(outcome) == (200 if name in names else 404)


def test_os_01_list_of_versions() -> None:
    assert body(ask("GET", "/openstack")) == "\n".join(OPENSTACK).encode()


def test_os_01_a_version_of_the_future_answers_but_is_not_listed() -> None:
    then_s = datetime(2019, 1, 1, tzinfo=UTC).timestamp()
    assert b"2020-10-14" not in body(ask("GET", "/openstack", now_s=then_s))
    assert status(ask("GET", "/openstack/2020-10-14/meta_data.json", now_s=then_s)) == 200


@pytest.mark.parametrize("below", ["", "/meta_data.json", "/password"])
def test_os_02_unknown_version(below: str) -> None:
    assert status(ask("GET", f"/openstack/2014-01-01{below}")) == 404


def test_os_04_vendor_data_is_served_when_empty() -> None:
    assert body(ask("GET", "/openstack/latest/vendor_data.json")) == b"{}"


@pytest.mark.parametrize(
    "path",
    ["latest/content/0000", "latest/content", "content", "latest/version", "content/0002", "content/00"],
)
def test_os_05_what_nova_leaks_or_trips_over_is_404(path: str) -> None:
    assert status(ask("GET", f"/openstack/{path}")) == 404


def test_os_06_no_key_is_null() -> None:
    outcome = ask("GET", "/openstack/latest/meta_data.json", keys=None, files=None)
    document = json.loads(body(outcome))
    assert {"meta", "keys", "files", "public_keys"}.isdisjoint(document)
    assert [key for key, value in document.items() if value is None] == ["availability_zone"]


def test_os_11_no_network_is_404_and_not_listed() -> None:
    assert status(ask("GET", "/openstack/latest/network_data.json", network=None)) == 404
    assert b"network_data" not in body(ask("GET", "/openstack/latest", network=None))


def test_admin_pass_is_never_served() -> None:
    assert b"canary" not in body(ask("GET", "/openstack/latest/meta_data.json", admin_pass="canary"))


def test_user_data_absent_and_empty_differ() -> None:
    assert status(ask("GET", "/openstack/latest/user_data", user_data=None)) == 404
    assert body(ask("GET", "/openstack/latest/user_data", user_data="")) == b""
    assert b"user_data" in body(ask("GET", "/openstack/latest", user_data=""))


@pytest.mark.parametrize(
    "data", [b"\x00\x01", b"a\r\nb", "é".encode("latin-1"), b"\x1f\x8b\x08", b"", b"x" * 49_149]
)
def test_ms_h12_user_data_is_sent_as_it_is(data: bytes) -> None:
    outcome = ask("GET", "/openstack/latest/user_data", user_data=data)
    assert isinstance(outcome, Send)
    assert outcome.page.body == data
    text = data in (b"a\r\nb", b"") or data.startswith(b"x")
    assert outcome.page.content_type == ("text/plain; charset=UTF-8" if text else "application/octet-stream")


@pytest.mark.parametrize(
    ("target", "content_type"),
    [
        ("/openstack", "text/plain; charset=UTF-8"),
        ("/openstack/latest/meta_data.json", "application/json"),
        ("/openstack/latest/network_data.json", "application/json"),
        ("/openstack/content/0000", "text/plain; charset=UTF-8"),
        ("/latest/meta-data/instance-id", "text/plain; charset=UTF-8"),
    ],
)
def test_http_05_content_types(target: str, content_type: str) -> None:
    outcome = ask("GET", target)
    assert isinstance(outcome, Send)
    assert outcome.page.content_type == content_type


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "FOO", "OPTIONS"])
@pytest.mark.parametrize(
    "target", ["/", "/openstack", "/openstack/latest/meta_data.json", "/latest/meta-data/"]
)
def test_http_01_other_methods_are_refused(method: str, target: str) -> None:
    outcome = ask(method, target)
    assert (status(outcome), header(outcome, "Allow")) == (405, "GET, HEAD")
    assert status(ask(method, target, context=Context(legacy_methods=True))) == 200


def test_http_01_password_allows_post() -> None:
    outcome = ask("DELETE", "/openstack/latest/password")
    assert (status(outcome), header(outcome, "Allow")) == (405, "GET, HEAD, POST")
    assert status(ask("DELETE", "/openstack/latest/password", context=Context(legacy_methods=True))) == 400


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/foo/../", "/"),
        ("/openstack/", "/openstack"),
        ("//openstack///latest", "/openstack/latest"),
        ("/latest/../../etc/passwd", "/etc/passwd"),
        ("/./openstack/./latest/?a=/../b", "/openstack/latest"),
        ("/openstack/%6catest", "/openstack/latest"),
        ("http://169.254.169.254/openstack?x", "/openstack"),
        ("/openstack/%2e%2e/latest", "/latest"),
        ("/a%252e", "/a%2e"),
    ],
)
def test_http_03_paths_are_resolved_lexically(target: str, path: str) -> None:
    assert normal(target) == path


@pytest.mark.parametrize("target", ["/%00", "/%zz", "/%", "/%4", "/%ff", "/%c0%af", "/\udcff"])
def test_http_03_bad_escapes_are_400(target: str) -> None:
    assert status(ask("GET", target)) == 400


@pytest.mark.parametrize(
    "target",
    [
        "/latest/..%2f..%2fetc/passwd",
        "/openstack%2flatest",
        "/openstack\\latest",
        "/openstack;x",
        "/OPENSTACK",
        "/%252e",
    ],
)
def test_ms_h03_other_names_are_404(target: str) -> None:
    assert status(ask("GET", target)) == 404


def test_http_03_a_leaf_with_a_slash_answers_the_leaf() -> None:
    assert body(ask("GET", "/latest/meta-data/local-ipv4/")) == b"10.0.0.5"


def test_http_04_ec2_prefix() -> None:
    assert body(ask("GET", "/ec2/latest/meta-data/")) == body(ask("GET", "/latest/meta-data/"))
    assert body(ask("GET", "/ec2")) == body(ask("GET", "/"))


@pytest.mark.parametrize("code", ["404", "405", "400"])
def test_http_07_error_bodies_say_nothing_of_the_request(code: str) -> None:
    target = {"404": "/secret-canary", "405": "/openstack?canary", "400": "/%00canary"}[code]
    answer = body(ask("DELETE" if code == "405" else "GET", target))
    assert answer.startswith(code.encode())
    assert answer.count(b"\n") == 1
    assert b"canary" not in answer


def test_http_08_etag() -> None:
    first = ask("GET", "/latest/meta-data/ami-launch-index")
    assert isinstance(first, Send)
    again = ask("GET", "/latest/meta-data/ami-launch-index", ("if-none-match", first.page.etag))
    assert (status(again), body(again)) == (304, b"")
    other = ask("GET", "/latest/meta-data/ami-launch-index", ("if-none-match", '"x"'))
    assert status(other) == 200
    safe = ask(
        "GET",
        "/latest/meta-data/ami-launch-index",
        ("if-none-match", first.page.etag),
        context=Context(neutron_safe=True),
    )
    assert status(safe) == 200


def test_http_09_pending_is_503_with_retry_after() -> None:
    outcome = ask("GET", "/openstack/latest/meta_data.json", state="pending")
    assert (status(outcome), header(outcome, "Retry-After")) == (503, "2")


def test_id_08_root_needs_no_instance() -> None:
    assert body(ask("GET", "/", unknown=True)) == "\n".join(EC2_NOVA).encode()
    assert status(ask("GET", "/openstack", unknown=True)) == 404


def test_id_09_unknown_source_and_unknown_path_look_the_same() -> None:
    assert ask("GET", "/openstack", unknown=True) == ask("GET", "/nowhere")


@pytest.mark.parametrize(("from_", "to"), [(401, 403), (405, 400), (413, 400), (429, 503), (404, 404)])
def test_id_10_neutron_safe_statuses(from_: int, to: int) -> None:
    assert neutron_safe(Response(from_)).status == to
    kept = neutron_safe(Response(429, headers=(("Retry-After", "1"), ("Allow", "GET"))))
    assert kept.headers == (("Retry-After", "1"),)


@pytest.mark.parametrize("path", ["ami-id/x", "local-ipv4/x", "security-groups/default", "public-keys/0=k"])
def test_ec2_06_below_a_leaf(path: str) -> None:
    assert status(ask("GET", f"/latest/meta-data/{path}")) == 404
    assert status(ask("GET", "/latest/user-data/x")) == 404


def test_ec2_04_public_keys() -> None:
    assert body(ask("GET", "/latest/meta-data/public-keys/")) == b"0=k"
    assert body(ask("GET", "/latest/meta-data/public-keys/0/")) == b"openssh-key"
    assert body(ask("GET", "/latest/meta-data/public-keys/0/openssh-key")) == b"ssh-ed25519 AAAA"
    assert status(ask("GET", "/latest/meta-data/public-keys/", keys=None)) == 404
    assert b"public-keys" not in body(ask("GET", "/latest/meta-data/", keys=None))


def test_ec2_07_top_listings() -> None:
    assert body(ask("GET", "/latest")) == b"meta-data/\nuser-data"
    assert body(ask("GET", "/latest", user_data=None)) == b"meta-data/"
    aws = Context(options=Options(ec2_profile="aws"))
    assert body(ask("GET", "/latest", context=aws)) == b"dynamic\nmeta-data\nuser-data"


def test_ec2_08_ids_come_from_the_uuid() -> None:
    assert body(ask("GET", "/latest/meta-data/instance-id")) == b"i-a62ab27d"
    aws = Context(options=Options(ec2_profile="aws"))
    assert body(ask("GET", "/latest/meta-data/instance-id", context=aws)) == b"i-a62ab27d20f7e77bf"


def test_os_14_password_rules() -> None:
    assert isinstance(ask("GET", "/openstack/latest/password"), ReadPassword)
    assert ask("POST", "/openstack/latest/password", body=b"x" * 1020) == StorePassword(b"x" * 1020)
    assert status(ask("POST", "/openstack/2012-08-10/password", body=b"x")) == 404
    assert status(ask("POST", "/openstack/latest/password", ("content-encoding", "gzip"), body=b"x")) == 415


@pytest.mark.parametrize("data", [b"", b"x" * 1021, b"\xff"])
def test_ms_d03_passwords_that_are_refused(data: bytes) -> None:
    assert status(ask("POST", "/openstack/latest/password", body=data)) == 400


def test_x_1_change_notice() -> None:
    target = "/openstack/latest/meta_data.json?wait_for_change=true&last_etag=abc&timeout_sec=7"
    assert ask("GET", target) == WaitForChange("abc", 7)
    assert status(ask("GET", "/openstack/latest/meta_data.json?wait_for_change=false")) == 200
    for bad in ("0", "121", "x", "", "1e1"):
        assert status(ask("GET", f"{target[:-1]}{bad}")) == 400


def test_x_2_report() -> None:
    on = Context(reports=True)
    target = "/openstack/latest/x_report"
    assert ask("POST", target, body=b'{"done": true}', context=on) == AppendReport(b'{"done": true}')
    assert status(ask("POST", target, body=b"{", context=on)) == 400
    assert status(ask("POST", target, body=b'"' + b"x" * 16384 + b'"', context=on)) == 413
    assert status(ask("GET", target, context=on)) == 405
    assert status(ask("POST", target, body=b"{}")) == 404


def test_nc_02_nocloud_is_an_option() -> None:
    on = Context(options=Options(profiles=frozenset({"nocloud"})))
    for name in ("meta-data", "user-data", "vendor-data", "network-config"):
        assert status(ask("GET", f"/nocloud/{name}", context=on, user_data=None, network=None)) == 200
    assert status(ask("GET", "/nocloud/other", context=on)) == 404
    assert status(ask("GET", "/nocloud/meta-data")) == 404


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("169.254.169.254", True),
        ("169.254.169.254:80", True),
        ("[fe80::a9fe:a9fe%25eth0]:80", True),
        ("instance-data", True),
        ("LOCALHOST:8080", True),
        ("127.0.0.1:8080", True),
        ("metadata.lab.example", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("169.254.169.254@evil", False),
    ],
)
def test_ms_h01_hosts(host: str, allowed: bool) -> None:
    listener = Listener("127.0.0.1:8080", hosts=("metadata.lab.example",))
    names = allowed_hosts(listener, "127.0.0.1")
    outcome = ask("GET", "/openstack", ("host", host), context=Context(hosts=names))
    assert status(outcome) == (200 if allowed else 403)
    absolute = ask("GET", f"http://{host}/openstack", context=Context(hosts=names))
    assert status(absolute) == (200 if allowed else 403)


def test_ms_h01_a_signature_proves_more_than_a_name() -> None:
    from instance_metadata.secret import Secret

    listener = Listener("127.0.0.1:8775", Mode.PROXY, secrets=(Secret("0123456789abcdef"),))
    assert allowed_hosts(listener, "127.0.0.1") is None


def test_every_wish_can_be_carried_out() -> None:
    from typing import get_args

    from metadata_server.responder import Wish

    assert set(CARRY_OUT) == set(get_args(Wish))


def test_seed_stays_out_of_user_text(web_1: object) -> None:
    """A tenant's text that looks like the mark of the seed does not move the seed."""
    from metadata_server.pages import SEED_LENGTH

    outcome = ask("GET", "/openstack/latest/meta_data.json", meta={"a": "?" * 255}, name="?" * SEED_LENGTH)
    assert isinstance(outcome, Send)
    seed = "A" * SEED_LENGTH
    document = json.loads(outcome.page.body + seed.encode() + outcome.page.rest)
    assert (document["random_seed"], document["name"]) == (seed, "?" * SEED_LENGTH)


def test_pages_are_rendered_once(web_1: object) -> None:
    from datetime import date

    from instance_metadata.instance import Instance

    assert isinstance(web_1, Instance)
    tree = Tree(web_1, Options())
    today = date(2026, 1, 1)
    assert tree.openstack("latest/meta_data.json", today) is tree.openstack("latest/meta_data.json", today)
