"""What can be wrong with an instance document.

InstanceMetadataError
└── InvalidInstance      a document breaks rules; carries every fault, not only the first
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong: where (file, line, field path), what, and what to do. Never holds a secret's value."""

    source: str
    line: int | None
    path: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        return f"{place}: {self.path or 'document'}: {self.problem}. {self.remedy}."


class InstanceMetadataError(Exception):
    """Base of what this package raises."""


class InvalidInstance(InstanceMetadataError):
    """An instance document was refused. `faults` lists every reason, not only the first."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))
