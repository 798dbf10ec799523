"""What a boot tells while it goes on: one stream of happenings, for the screen, the report and the tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from image_harness.timeline.console import Word
from metadata_server.access import AccessRecord
from spawner.compute.agent_events import AgentEvent
from spawner.compute.driver import Ending


class Source(Enum):
    """How the instance's metadata reaches the guest, in the words of the command line."""

    METADATA = "metadata"
    CONFIG_DRIVE = "config-drive"
    NOCLOUD = "nocloud"


class Choice(Enum):
    """What was decided before the guest started."""

    IMAGE = "image"
    ACCELERATOR = "accelerator"
    NETWORK = "network"
    INSTANCE = "instance"
    SOURCE = "source"


@dataclass(frozen=True)
class Chosen:
    """A decision, and why it fell so."""

    choice: Choice
    value: str
    why: str = ""


@dataclass(frozen=True)
class Preparing:
    """Work that takes a while before the guest can start."""

    what: str


@dataclass(frozen=True)
class Starting:
    """The guest is being started; from here on time counts."""


@dataclass(frozen=True)
class Restored:
    """The guest goes on from a saved one, from here on."""


@dataclass(frozen=True)
class Printed:
    """The serial console showed a line that says something about time."""

    word: Word


@dataclass(frozen=True)
class Requested:
    """The guest asked the metadata service."""

    record: AccessRecord


@dataclass(frozen=True)
class Said:
    """The agent in the guest reported."""

    event: AgentEvent


@dataclass(frozen=True)
class Staying:
    """The agent is done and the guest stays up, as was asked for."""

    pid: int


@dataclass(frozen=True)
class Ended:
    """The guest is gone."""

    ending: Ending


Happening = Chosen | Preparing | Starting | Restored | Printed | Requested | Said | Staying | Ended

Tell = Callable[[Happening], None]


def nobody(_: Happening) -> None:
    """For who does not want to be told."""
