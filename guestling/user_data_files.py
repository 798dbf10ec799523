"""User data and vendor data read from files as a guest reads them: parts, merge, and what was wrong.

The agent's own code does the reading; nothing is fetched and no template is given instance data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from boot_stages.actions import Action, RunCommand, WriteFile
from guest_agent import parts as parts_module
from guest_agent import user_data, yaml_guard
from guest_agent.errors import AgentError
from guest_agent.merge import Merged
from guest_agent.parts import Part

CLOUD_CONFIG = "text/cloud-config"


@dataclass(frozen=True)
class Fault:
    """One thing wrong: `FILE:LINE: KEY: what. What to do.`"""

    file: str
    line: int
    key: str
    what: str
    is_error: bool = True

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        return f"{self.file}:{self.line}: {key}{self.what}"


@dataclass(frozen=True)
class Document:
    """One document: its parts, what they mean together, and what was wrong on the way."""

    file: str
    raw: bytes
    parts: tuple[Part, ...]
    meaning: user_data.Consumption
    faults: tuple[Fault, ...]


class UnreadableDocument(Exception):
    """A file that cannot be read, or user data on which a boot would stop."""


def read(path: Path, source: str) -> Document:
    """A document as `source` (`user-data` or `vendor-data`). Raises UnreadableDocument."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UnreadableDocument(f"{path}: cannot be read: {error.strerror}. Name a file.") from error
    return parse(raw, str(path), source)


def parse(raw: bytes, path: str, source: str) -> Document:
    """The same for bytes that stand for the file `path`. Raises UnreadableDocument."""
    try:
        expansion = parts_module.expand(raw, source)
        meaning = user_data.consume(expansion.parts, source)
    except AgentError as error:
        raise UnreadableDocument(f"{path}: {error.text}") from error
    said = (*expansion.warnings, *meaning.warnings)
    faults = [Fault(path, 1, "", text) for _level, text in said]
    faults += [Fault(path, 1, "", text) for text in (*expansion.errors, *meaning.errors)]
    return Document(path, raw, expansion.parts, meaning, tuple(faults))


def cloud_configs(
    document: Document,
) -> Iterator[tuple[Part, Mapping[object, object], Mapping[tuple[object, ...], int]]]:
    """Each cloud-config part that can be read: the part, its keys, and the lines of its keys."""
    for part in document.parts:
        if part.type != CLOUD_CONFIG:
            continue
        try:
            loaded = yaml_guard.load_with_lines(part.payload, part.filename)
        except AgentError:
            continue  # consume() has said so, with the line
        if isinstance(loaded.value, dict):
            yield part, loaded.value, loaded.lines


def stored(document: Document, instance_directory: str) -> tuple[Action, ...]:
    """What a boot does with the scripts of a document before any module runs."""
    actions: list[Action] = []
    for step in document.meaning.steps:
        if isinstance(step, user_data.Script):
            folder = step.folder if step.folder.startswith("per-") else ""
            place = f"/var/lib/cloud/scripts/{folder}" if folder else f"{instance_directory}/{step.folder}"
            actions.append(WriteFile(f"{place}/{step.filename}", step.content, 0o700))
        elif isinstance(step, user_data.Boothook):
            path = f"{instance_directory}/boothooks/{step.filename}"
            actions.append(WriteFile(path, step.content, 0o700))
            actions.append(RunCommand((path,), show=True, opaque=True))
    return tuple(actions)


def merged(document: Document) -> Merged:
    """The one cloud-config of a document."""
    return document.meaning.config
