"""A token bucket for each instance: how many requests at once, and how many a second after that."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_s` requests a second, `burst` at once; a whole cloud-init boot makes 20 to 60 in a second."""

    per_s: float
    burst: int


class Limiter:
    """Off without a rate, which is the default (HTTP-11)."""

    def __init__(self, rate: Rate | None = None) -> None:
        self._rate = rate
        self._buckets: dict[Hashable, tuple[float, float]] = {}

    def allows(self, who: Hashable, now_s: float) -> bool:
        """Take one token from the caller's bucket; False when it is empty. `now_s` is monotonic."""
        rate = self._rate
        if rate is None:
            return True
        left, since_s = self._buckets.get(who, (float(rate.burst), now_s))
        left = min(float(rate.burst), left + (now_s - since_s) * rate.per_s)
        allowed = left >= 1.0
        self._buckets[who] = (left - 1.0 if allowed else left, now_s)
        return allowed

    def forget_idle(self, now_s: float) -> None:
        """Drop the buckets that are full again."""
        rate = self._rate
        if rate is not None:
            full_after_s = rate.burst / rate.per_s
            self._buckets = {
                who: (left, since)
                for who, (left, since) in self._buckets.items()
                if now_s - since < full_after_s
            }
