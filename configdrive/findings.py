"""One thing that a guest would trip over on a drive, in plain words."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Severity(enum.Enum):
    """ERROR: a guest is not configured as meant; WARNING: some guests are not; NOTE: harmless."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """`path` is a document on the drive, "" for the drive itself; `key` a key path in it, or ""."""

    severity: Severity
    code: str
    path: str
    key: str
    problem: str
    remedy: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        places = [str(place) for place in (self.path, self.line, self.column) if place]
        place = ":".join(places) + ": " if places else ""
        key = f"{self.key}: " if self.key else ""
        return f"{self.severity.value}: {place}{key}{self.problem}. {self.remedy}. error={self.code}"


def error(
    code: str,
    path: str,
    problem: str,
    remedy: str,
    *,
    key: str = "",
    line: int | None = None,
    column: int | None = None,
) -> Finding:
    """A finding that keeps a guest from being configured as meant."""
    return Finding(Severity.ERROR, code, path, key, problem, remedy, line, column)


def warning(code: str, path: str, problem: str, remedy: str, *, key: str = "") -> Finding:
    """A finding that harms some guests, or later."""
    return Finding(Severity.WARNING, code, path, key, problem, remedy)


def note(code: str, path: str, problem: str, remedy: str, *, key: str = "") -> Finding:
    """A peculiarity that harms nobody."""
    return Finding(Severity.NOTE, code, path, key, problem, remedy)
