"""Scripted misbehaviour, for people who test agents: slow, missing, failing, cut and reset answers.

    seed: 7
    rules:
    - {path: /openstack/latest/meta_data.json, first: 3, status: 404}
    - {path: "/latest/*", probability: 0.2, delay_s: 1.5}
    - {instance: 8f0a3c1e-5d27-4b43-9c55-2f6f2f5d9b10, flap: {good: 4, bad: 2}, reset: true}

The first rule that matches and strikes decides. Each rule counts the matching requests of each instance and
path by itself; chance comes from the seed and that count, so the same requests meet the same faults.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase

from instance_metadata.errors import InvalidInstance
from instance_metadata.fields import Fields, Notes
from instance_metadata.reading import load


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """What happens instead of, or before, the right answer. `truncate` keeps that many bytes of the body."""

    delay_s: float = 0.0
    status: int | None = None
    retry_after_s: int | None = None
    reset: bool = False
    truncate: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """When it strikes: the n-th matching requests that all given conditions name."""

    does: Misbehaviour
    instance: str | None = None
    path: str = "*"
    after: int = 0
    first: int | None = None
    every: int = 1
    probability: float = 1.0
    good: int = 0
    bad: int = 0

    def matches(self, instance_id: str | None, path: str) -> bool:
        return self.instance in (None, instance_id) and fnmatchcase(path, self.path)

    def strikes(self, number: int, chance: float) -> bool:
        """Whether it does so for the matching request of this number, counted from 0."""
        number -= self.after
        if number < 0 or number % self.every or chance >= self.probability:
            return False
        if self.good + self.bad and number % (self.good + self.bad) < self.good:
            return False
        return self.first is None or number < self.first


class Script:
    """Rules with their counters."""

    def __init__(self, rules: tuple[Rule, ...], seed: int = 0) -> None:
        self._rules = rules
        self._seed = seed
        self._seen: Counter[tuple[int, str | None, str]] = Counter()

    def next(self, instance_id: str | None, path: str) -> Misbehaviour | None:
        """What the next answer for this path meets, None for the right answer. Counts the request."""
        struck: Misbehaviour | None = None
        for index, rule in enumerate(self._rules):
            if rule.matches(instance_id, path):
                key = (index, instance_id, path)
                number = self._seen[key]
                self._seen[key] += 1
                if struck is None and rule.strikes(number, self._chance(key, number)):
                    struck = rule.does
        return struck

    def _chance(self, key: tuple[int, str | None, str], number: int) -> float:
        digest = hashlib.sha256(repr((self._seed, key, number)).encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64


def parse(text: bytes, source: str) -> Script:
    """A script from YAML or JSON. Raises InvalidInstance with every fault and its line."""
    loaded = load(text, source)
    notes = Notes(source, loaded.lines)
    fields = Fields(loaded.value, "", notes)
    seed = fields.integer("seed", 0, 1 << 32, 0)
    fields.required("rules")
    rules = tuple(_rule(entry) for entry in fields.entries("rules"))
    fields.finish(("seed", "rules"))
    if notes.faults:
        raise InvalidInstance(notes.faults)
    return Script(rules, seed)


def _rule(entry: Fields) -> Rule:
    flap = entry.fields("flap")
    good, bad = (
        (0, 0) if flap is None else (flap.integer("good", 1, 10_000, 1), flap.integer("bad", 1, 10_000, 1))
    )
    if flap is not None:
        flap.finish(("good", "bad"))
    rule = Rule(
        _misbehaviour(entry),
        instance=entry.optional_text("instance"),
        path=entry.text("path", "*"),
        after=entry.integer("after", 0, 1 << 31, 0),
        first=entry.optional_integer("first", 1, 1 << 31),
        every=entry.integer("every", 1, 1 << 31, 1),
        probability=entry.number("probability", 0.0, 1.0, 1.0),
        good=good,
        bad=bad,
    )
    entry.finish(("instance", "path", "after", "first", "every", "probability", "flap", *_DOES))
    return rule


_DOES = ("delay_s", "status", "retry_after_s", "reset", "truncate")


def _misbehaviour(entry: Fields) -> Misbehaviour:
    if not any(entry.has(name) for name in _DOES):
        entry.fault("", "a rule that does nothing", f"Give one of {', '.join(_DOES)}")
    return Misbehaviour(
        delay_s=entry.number("delay_s", 0.0, 600.0, 0.0),
        status=entry.optional_integer("status", 400, 599),
        retry_after_s=entry.optional_integer("retry_after_s", 0, 3600),
        reset=entry.flag("reset", default=False),
        truncate=entry.optional_integer("truncate", 0, 1 << 31),
    )
