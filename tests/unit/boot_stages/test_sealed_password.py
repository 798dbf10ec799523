"""OS-14: a password that only the holder of the SSH key reads; OpenSSL is the other side."""

from __future__ import annotations

import base64
import os
from typing import Any

import pytest

from boot_stages.actions import PostOnce, reveal
from boot_stages.registry import entry
from boot_stages.runner import plan_module
from boot_stages.sealed_password import sealed, usable_key
from tests.unit.boot_stages.rsa_keys import RsaKey, blob, line_of

URL = "http://169.254.169.254/openstack/latest/password"
PASSWD = {"/etc/passwd": "root:x:0:0::/root:/bin/sh\ndebian:x:1000:1000::/home/debian:/bin/sh\n"}


@pytest.fixture(scope="module", params=[1024, 2048, 3072])
def key(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RsaKey:
    return RsaKey.made(tmp_path_factory.mktemp("key") / "key.pem", request.param)


@pytest.mark.parametrize("secret", [b"x", b"a password of 20 let", b"\0\1\2\0", bytes(100)])
def test_os_14_openssl_reads_what_was_sealed(key: RsaKey, secret: bytes) -> None:
    public = usable_key(["ssh-ed25519 AAAA x", f'from="10.0.0.1" {key.line} me@home'])
    assert public is not None
    content = sealed(secret, public, os.urandom)
    assert key.opened(content) == secret
    assert sealed(secret, public, os.urandom) != content, "the padding is of chance"


def test_os_14_a_padding_has_no_zero_byte(key: RsaKey) -> None:
    """A zero would end the padding: the reader would get rubbish in front of the password."""
    public = usable_key([key.line])
    assert public is not None
    drawn = iter([bytes(200), b"\0\7" * 200, b"\7" * 400])
    assert key.opened(sealed(b"secret", public, lambda _n: next(drawn))) == b"secret"


def test_a_secret_that_does_not_fit_is_refused(key: RsaKey) -> None:
    public = usable_key([key.line])
    assert public is not None
    longest = public.size - 11
    assert key.opened(sealed(b"x" * longest, public, os.urandom)) == b"x" * longest
    with pytest.raises(ValueError, match="do not fit"):
        sealed(b"x" * (longest + 1), public, os.urandom)


@pytest.mark.parametrize(
    "line",
    [
        "", "# comment", "ssh-rsa", "ssh-rsa !!!", "ssh-rsa AAAA", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==",
        line_of(blob(b"ssh-dss", 65537, 1 << 2047 | 1)),
        line_of(blob(b"ssh-rsa", 65537, 1 << 511 | 1)),  # too small to protect anything
        line_of(blob(b"ssh-rsa", 65537, 1 << 2047)),  # even
        line_of(blob(b"ssh-rsa", 1, 1 << 2047 | 1)),  # x to the power of 1: no encryption at all
        line_of(blob(b"ssh-rsa", 65537, 1 << 2047 | 1) + b"more"),
        line_of(blob(b"ssh-rsa", 65537, 1 << 2047 | 1)[:-1]),
        line_of(blob(b"ssh-rsa", 65537, 1 << 20000 | 1)),  # would take the guest minutes
    ],
)  # fmt: skip
def test_os_14_keys_that_are_none(line: str) -> None:
    assert usable_key([line]) is None


def planned(make_guest: Any, users: list[dict[str, str]], **cloud: object) -> list[Any]:
    config = {"users": ["default"], "chpasswd": {"users": users, "expire": False}}
    module = entry("set_passwords")
    assert module is not None
    plan, _faults = plan_module(module, config, make_guest(files=PASSWD, system=config, cloud=cloud).facts)
    return list(plan)


RANDOM = [{"name": name, "type": "RANDOM"} for name in ("bob", "debian")]


def test_os_14_the_default_users_random_password_is_left_at_the_service(make_guest: Any, key: RsaKey) -> None:
    plan = planned(make_guest, RANDOM, password_url=URL, public_keys=[key.line])
    (posted,) = (action for action in plan if isinstance(action, PostOnce))
    (console,) = (action.text.reveal() for action in plan if type(action).__name__ == "Console")
    assert posted.url == URL
    content = reveal(posted.content)
    password = key.opened(content)
    assert b"\ndebian:" + password + b"\n" in console
    assert password not in base64.b64decode(content)
    assert posted.summary() == f"post the encrypted password of debian to {URL}"


@pytest.mark.parametrize(
    ("users", "url", "has_key"),
    [
        (RANDOM, "", True),
        (RANDOM, URL, False),
        ([{"name": "bob", "type": "text", "password": "x"}], URL, True),
    ],
)
def test_os_14_nothing_is_posted_without_place_key_or_random_password(
    make_guest: Any, key: RsaKey, users: list[dict[str, str]], url: str, has_key: bool
) -> None:
    keys = [key.line] if has_key else ["ssh-ed25519 AAAA x"]
    plan = planned(make_guest, users, password_url=url, public_keys=keys)
    assert [action for action in plan if isinstance(action, PostOnce)] == []
