"""A password that only the holder of an SSH key's private half can read: what `nova get-password` decrypts.

RSA as in RFC 8017 7.2 (EME-PKCS1-v1_5), base64; the key is one of authorized_keys. A small power of a public
number needs no library, and no secret of the guest's own takes part. Source: metadata-service.md OS-14.
"""

from __future__ import annotations

import binascii

from boot_stages.ssh_keys import parse_line
from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

RSA = "ssh-rsa"
# Below that the key protects nothing; 16,384 bits is the largest that OpenSSH makes.
LEAST_BITS, MOST_BITS = 1024, 16384
PADDING_LEAST = 8


class PublicKey(Value):
    """An RSA key: what it is raised to, and modulo what."""

    exponent: int
    modulus: int

    @property
    def size(self) -> int:
        """Bytes of the modulus, and of everything that is encrypted with it."""
        return (self.modulus.bit_length() + 7) // 8


def usable_key(lines: Iterable[str]) -> PublicKey | None:
    """The first RSA key among lines of authorized_keys; None when there is none."""
    for line in lines:
        key = parse_line(line)
        if key.kind == RSA:
            found = _public_key(key.blob)
            if found is not None:
                return found
    return None


def _public_key(blob: str) -> PublicKey | None:
    """RFC 4253 6.6: three strings with their lengths in front: type, exponent, modulus."""
    try:
        rest = binascii.a2b_base64(blob)
    except (binascii.Error, ValueError):
        return None
    fields: list[bytes] = []
    while len(rest) >= 4 and len(fields) < 3:
        size = int.from_bytes(rest[:4], "big")
        fields.append(rest[4 : 4 + size])
        if len(fields[-1]) < size:
            return None
        rest = rest[4 + size :]
    if len(fields) < 3 or rest or fields[0] != RSA.encode():
        return None
    key = PublicKey(int.from_bytes(fields[1], "big"), int.from_bytes(fields[2], "big"))
    is_sound = LEAST_BITS <= key.modulus.bit_length() <= MOST_BITS and key.modulus % 2 and key.exponent % 2
    return key if is_sound and 3 <= key.exponent < key.modulus else None


def sealed(secret: bytes, key: PublicKey, random_bytes: Callable[[int], bytes]) -> bytes:
    """The secret, encrypted for the key's owner, as base64. Raises ValueError when it is too long."""
    room = key.size - 3 - len(secret)
    if room < PADDING_LEAST:
        raise ValueError(f"{len(secret)} bytes do not fit into a key of {key.size}")
    padding = b""
    while len(padding) < room:
        padding += random_bytes(room).replace(b"\0", b"")
    block = b"\0\2" + padding[:room] + b"\0" + secret
    number = pow(int.from_bytes(block, "big"), key.exponent, key.modulus)
    return binascii.b2a_base64(number.to_bytes(key.size, "big"), newline=False)
