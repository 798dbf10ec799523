"""IMDSv2 session tokens without server state: everything a check needs is in the token (TOK-10).

token = base64url(version, instance hash, expiry, nonce, HMAC-SHA256 of all that)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
import time

MAX_TTL_S = 21_600
MAX_LENGTH = 256
NONCE_BYTES = 16
_VERSION = 1
_HEAD = struct.Struct(">B16sQ16s")
_MAC_BYTES = 32


def since_boot_s() -> float:
    """Seconds since the host started: a clock that nobody sets, the same for all its processes (MS-T09)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def mint(key: bytes, instance_id: str, now_s: float, ttl_s: int, nonce: bytes) -> str:
    """A token for one instance, from `now_s` of some clock for `ttl_s`. `nonce` is 16 random bytes."""
    head = _HEAD.pack(_VERSION, _instance_hash(instance_id), int(now_s * 1000) + ttl_s * 1000, nonce)
    return base64.urlsafe_b64encode(head + _mac(key, head)).decode().rstrip("=")


def is_valid(keys: tuple[bytes, ...], instance_id: str, now_s: float, token: str) -> bool:
    """Whether the token was made with one of the keys for this instance and has not ended."""
    if len(token) > MAX_LENGTH:
        return False
    try:
        raw = base64.b64decode(
            token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True
        )
    except (UnicodeEncodeError, ValueError, binascii.Error):
        return False
    # One spelling a token: base64 leaves the last bits of the text open.
    if len(raw) != _HEAD.size + _MAC_BYTES or base64.urlsafe_b64encode(raw).decode().rstrip("=") != token:
        return False
    head, mac = raw[: _HEAD.size], raw[_HEAD.size :]
    genuine = False
    for key in keys:
        genuine |= hmac.compare_digest(_mac(key, head), mac)
    version, owner, expiry_ms, _ = _HEAD.unpack(head)
    ours = hmac.compare_digest(owner, _instance_hash(instance_id))
    return genuine and ours and version == _VERSION and int(now_s * 1000) < expiry_ms


def parse_ttl(values: tuple[str, ...]) -> int | None:
    """The TTL header's seconds, 1 to 21600; None for anything else, also when sent twice (TOK-2)."""
    if len(values) != 1:
        return None
    text = values[0]
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        return None
    return int(text) if 1 <= int(text) <= MAX_TTL_S else None


def _instance_hash(instance_id: str) -> bytes:
    return hashlib.sha256(instance_id.encode()).digest()[:16]


def _mac(key: bytes, head: bytes) -> bytes:
    return hmac.new(key, head, hashlib.sha256).digest()
