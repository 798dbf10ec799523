"""How long a command in a guest may take: what the client, the API and the guest's host each go by.

Apart from the commands themselves, whose module is too much to load for a command line.
"""

from __future__ import annotations

DEFAULT_TIMEOUT_S = 60
TIMEOUT_LIMIT_S = 600
"""The longest limit that a command may be given."""
ANSWER_GRACE_S = 15.0
"""How much later than a command's limit its answer may come: it is ended, its output packed and sent."""


def whole_s(timeout_s: float) -> int:
    """A limit as the guest counts it, in whole seconds: a fraction is one more."""
    return max(1, -int(-timeout_s // 1))


def answered_within_s(timeout_s: float) -> float:
    """How long the answer to a command that the guest was told may take."""
    return whole_s(timeout_s) + ANSWER_GRACE_S


def over_within_s(timeout_s: float) -> float:
    """How long it may take from the request to its end: a limit's time until its turn, then the command."""
    return timeout_s + answered_within_s(timeout_s)
