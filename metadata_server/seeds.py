"""Fresh random seeds, ready as base64: the one part of `meta_data.json` that differs between two reads."""

from __future__ import annotations

import binascii
import os

SEED_BYTES = 512
_BATCH = 64


class Seeds:
    """512 random bytes each, as 684 characters of base64; the kernel is asked for many at once."""

    def __init__(self) -> None:
        self._ready: list[bytes] = []

    def take(self) -> bytes:
        if not self._ready:
            random = os.urandom(SEED_BYTES * _BATCH)
            self._ready = [
                binascii.b2a_base64(random[start : start + SEED_BYTES], newline=False)
                for start in range(0, len(random), SEED_BYTES)
            ]
        return self._ready.pop()
