"""RSA keys made by OpenSSL, their line of authorized_keys, and what they decrypt."""

from __future__ import annotations

import base64
import subprocess
from dataclasses import dataclass
from pathlib import Path

EXPONENT = 65537


def blob(kind: bytes, exponent: int, modulus: int) -> bytes:
    """RFC 4253 6.6: each field with its length, numbers with room for a sign."""
    numbers = (number.to_bytes(number.bit_length() // 8 + 1, "big") for number in (exponent, modulus))
    return b"".join(len(field).to_bytes(4, "big") + field for field in (kind, *numbers))


def line_of(content: bytes) -> str:
    return f"ssh-rsa {base64.b64encode(content).decode()}"


@dataclass(frozen=True)
class RsaKey:
    """A key pair in a file."""

    path: Path
    line: str

    @classmethod
    def made(cls, path: Path, bits: int) -> RsaKey:
        make = ["openssl", "genrsa", "-out", str(path), str(bits)]
        subprocess.run(make, check=True, capture_output=True, timeout=60)
        show = ["openssl", "rsa", "-in", str(path), "-noout", "-modulus"]
        shown = subprocess.run(show, check=True, capture_output=True, text=True, timeout=60).stdout
        return cls(path, line_of(blob(b"ssh-rsa", EXPONENT, int(shown.partition("=")[2], 16))))

    def opened(self, content: bytes) -> bytes:
        """As `nova get-password` does it."""
        argv = ["openssl", "pkeyutl", "-decrypt", "-inkey", str(self.path)]
        found = subprocess.run(
            argv, input=base64.b64decode(content), check=True, capture_output=True, timeout=60
        )
        return found.stdout
