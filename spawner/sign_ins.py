"""Signing in by trial and error is slowed down: so many failures in a minute, then none is tried any more.

Counted by address and name together, and by address alone with a wider limit for somebody who tries many
names. What succeeds is not counted. The counts are in memory: a restart forgives. Source: RFC 6585 (429).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from spawner.errors import SpawnerError
from spawner.identity import NotAuthenticated

WINDOW_S = 60.0
MOST_FOR_NAME, MOST_FOR_ADDRESS = 10, 100
KEYS_KEPT = 20_000
NAME_SHOWN = 255


class TooManyAttempts(SpawnerError):
    """Too many wrong passwords of late; whether this one was right is not looked at."""

    code = "too-many-attempts"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"Too many failed attempts to sign in. Try again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s


class SignIns:
    """The failures of the last minute, of at most so many names and addresses."""

    def __init__(self, keys_kept: int = KEYS_KEPT) -> None:
        self._keys_kept = keys_kept
        # Address and name (None: any) -> when the window began, failures in it; the oldest first.
        self._failures: OrderedDict[tuple[str, str | None], tuple[float, int]] = OrderedDict()

    @contextmanager
    def attempt(self, address: str, name: str, now: float) -> Iterator[None]:
        """Around the check of a secret. Raises TooManyAttempts before it is looked at.

        It counts as a failure from the beginning, so that many at once are no way round the limit.
        """
        limits = {(address, name[:NAME_SHOWN]): MOST_FOR_NAME, (address, None): MOST_FOR_ADDRESS}
        for key, most in limits.items():
            began, count = self._failures.get(key, (now, 0))
            if count >= most and now < began + WINDOW_S:
                raise TooManyAttempts(max(1, math.ceil(began + WINDOW_S - now)))
        for key in limits:
            self._count(key, now, 1)
        try:
            yield
        except NotAuthenticated:
            raise
        except BaseException:
            self._forgive(address, name, now)
            raise
        self._forgive(address, name, now)

    def _count(self, key: tuple[str, str | None], now: float, more: int) -> None:
        began, count = self._failures.pop(key, (now, 0))
        if now >= began + WINDOW_S:
            began, count = now, 0
        self._failures[key] = (began, max(0, count + more))
        while len(self._failures) > self._keys_kept:
            self._failures.popitem(last=False)

    def _forgive(self, address: str, name: str, now: float) -> None:
        self._failures.pop((address, name[:NAME_SHOWN]), None)
        self._count((address, None), now, -1)
