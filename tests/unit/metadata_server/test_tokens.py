"""IMDSv2: session tokens and the rules about them (metadata-service.md 6)."""

from __future__ import annotations

import base64
import tracemalloc

import pytest

from instance_metadata.instance import parse
from metadata_server import tokens
from metadata_server.app import MetadataServer
from metadata_server.http import Response
from metadata_server.responder import TOKEN_HEADER, TTL_HEADER, Context, MintToken
from metadata_server.wishes import carry_out
from tests.unit.metadata_server.asking import DOCUMENT, NOW_S, UUID, ask, header, status

KEY = b"k" * 32
NONCE = b"n" * 16
WITH_KEY = Context(token_keys=(KEY,))
REQUIRED = {"tokens": "required", "hop_limit": 3}
OPTIONAL = {"tokens": "optional"}
PUT = "/latest/api/token"


def token(ttl_s: int = 60, now_s: float = NOW_S, of: str = UUID, key: bytes = KEY) -> str:
    return tokens.mint(key, of, now_s, ttl_s, NONCE)


def test_tok_00_off_is_404() -> None:
    assert status(ask("PUT", PUT, (TTL_HEADER, "60"))) == 404
    assert status(ask("GET", PUT)) == 404


@pytest.mark.parametrize("ttl", ["1", "60", "21600"])
def test_tok_01_ms_t03_a_token_is_made(ttl: str) -> None:
    assert ask("PUT", PUT, (TTL_HEADER, ttl), imds=REQUIRED) == MintToken(int(ttl), 3)


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("",),
        ("abc",),
        ("+5",),
        ("1e3",),
        ("6 0",),
        ("-1",),
        ("0",),
        ("21601",),
        ("1" + "0" * 30,),
        ("5", "5"),
        ("٣",),
    ],
)
def test_tok_02_ms_t02_bad_ttl(values: tuple[str, ...]) -> None:
    assert status(ask("PUT", PUT, *((TTL_HEADER, value) for value in values), imds=REQUIRED)) == 400


@pytest.mark.parametrize("name", ["x-forwarded-for", "forwarded", "via"])
@pytest.mark.parametrize("value", ["10.0.0.9", ""])
def test_tok_03_ms_t01_forwarded_puts_are_refused(name: str, value: str) -> None:
    assert status(ask("PUT", PUT, (TTL_HEADER, "60"), (name, value), imds=REQUIRED)) == 403


def test_tok_04_ms_t07_other_methods_and_paths() -> None:
    for method in ("GET", "HEAD", "POST", "DELETE"):
        outcome = ask(method, PUT, imds=REQUIRED)
        assert (status(outcome), header(outcome, "Allow")) == (405, "PUT")
    assert status(ask("PUT", "/2009-04-04/api/token", (TTL_HEADER, "60"), imds=REQUIRED)) == 403
    assert status(ask("PUT", "/latest/meta-data/", (TTL_HEADER, "60"), imds=REQUIRED)) == 405


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_tok_05_a_good_token(method: str) -> None:
    good = (TOKEN_HEADER, token())
    assert status(ask(method, "/latest/meta-data/", good, context=WITH_KEY, imds=REQUIRED)) == 200


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "x",
        "é",
        token()[:-1],
        token() + "A",
        token(key=b"other" * 8),
        token(of="11111111-2222-4333-8444-555555555555"),
        token(now_s=NOW_S - 61),
        "A" * (1 << 20),
    ],
)
def test_tok_06_tok_07_ms_t04_ms_t05_ms_t06_bad_tokens_are_401(bad: str) -> None:
    for mode in (REQUIRED, OPTIONAL):
        outcome = ask("GET", "/latest/meta-data/", (TOKEN_HEADER, bad), context=WITH_KEY, imds=mode)
        assert status(outcome) == 401


def test_tok_06_tok_07_without_a_token() -> None:
    assert status(ask("GET", "/latest/meta-data/", imds=REQUIRED)) == 401
    assert status(ask("GET", "/latest/meta-data/", imds=OPTIONAL)) == 200


def test_tok_08_endpoint_off() -> None:
    off = {"endpoint": False, "tokens": "required"}
    assert status(ask("PUT", PUT, (TTL_HEADER, "60"), imds=off)) == 403
    assert status(ask("GET", "/latest/meta-data/", imds=off)) == 403
    assert status(ask("GET", "/openstack", imds=off)) == 200


def test_ms_t03_a_token_ends_at_its_ttl() -> None:
    made = token(ttl_s=60)
    assert tokens.is_valid((KEY,), UUID, NOW_S + 59.999, made)
    assert not tokens.is_valid((KEY,), UUID, NOW_S + 60, made)


def test_tok_10_every_flipped_bit_is_refused() -> None:
    made = token()
    raw = bytearray(base64.urlsafe_b64decode(made + "=" * (-len(made) % 4)))
    assert len(made) <= 200
    for bit in range(len(raw) * 8):
        raw[bit // 8] ^= 1 << bit % 8
        forged = base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("=")
        assert not tokens.is_valid((KEY,), UUID, NOW_S, forged)
        raw[bit // 8] ^= 1 << bit % 8
    assert tokens.is_valid((b"new" * 11, KEY), UUID, NOW_S, made)


def test_tok_10_one_spelling() -> None:
    """The last character of the base64 text has spare bits: only one spelling of them is taken."""
    made = token()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    good = [char for char in alphabet if tokens.is_valid((KEY,), UUID, NOW_S, made[:-1] + char)]
    assert good == [made[-1]]


def test_tok_11_scope() -> None:
    everywhere = Context(token_keys=(KEY,), tokens_everywhere=True)
    assert status(ask("GET", "/openstack", imds=REQUIRED)) == 200
    assert status(ask("GET", "/openstack", context=everywhere, imds=REQUIRED)) == 401
    assert status(ask("GET", "/openstack", (TOKEN_HEADER, token()), context=everywhere, imds=REQUIRED)) == 200


async def test_ms_t11_tokens_are_not_kept() -> None:
    """No state a token: what the server holds does not grow with the tokens it gave out."""
    server = MetadataServer()
    server.instances.put(parse({**DOCUMENT, "imds": REQUIRED}, "web-1"))
    tree = server.instances.tree(UUID)
    assert tree is not None

    async def put(count: int) -> set[bytes]:
        given = set()
        for _ in range(count):
            answer = await carry_out(MintToken(21_600, 1), tree, server.services)
            assert isinstance(answer, Response)
            given.add(answer.body)
        return given

    await put(100)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        assert len(await put(5_000)) == 5_000
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 5_000
