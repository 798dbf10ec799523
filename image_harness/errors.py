"""What can go wrong with images and boots.

HarnessError
├── UnsupportedHost     this machine cannot build that image
├── ProgramFailed       a program we called ended badly
├── PackageMissing      the archive has no such package
├── PinsNotMet          the archive gave other versions than were asked for
├── BadImage            an image in the store is incomplete or not ours
├── InvalidImage        what shall become an image of the store cannot be one
├── UnknownImage        no image of that name
├── BootFailed          the guest never said how it went
│   └── HostStoodStill  because the host lost the time for it
├── GuestBroken         a guest under test does not answer, or not as agreed
├── InvalidMark         a test asks for its guest in words that are none
├── NoOrigins           a report does not say where anything came from
├── InvalidExpectations a file of expectations has faults
├── NotARoot            what shall be sealed or compared is no root of a guest
├── NotAnImage          a file is no image that can be worked on
├── CannotBake          the agent does not fit into an image
└── HelperFailed        the guest that works on images did not do its work
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class HarnessError(Exception):
    """Anything this package raises on purpose; its text says what to do."""


class UnsupportedHost(HarnessError):
    """This machine cannot build that image."""

    def __init__(self, image: str, why: str, remedy: str) -> None:
        super().__init__(f"{image}: cannot be built here: {why}. {remedy}.")


class ProgramFailed(HarnessError):
    """A program we called ended badly: its name, status and last words."""

    def __init__(self, argv: Sequence[str], status: int, stderr: str) -> None:
        last = stderr.strip().splitlines()[-3:]
        super().__init__(
            f"{argv[0]}: exit status {status} of `{' '.join(argv)}`. It said: {' / '.join(last)}"
        )


class PackageMissing(HarnessError):
    """The Debian archive holds no such package."""

    def __init__(self, name: str, mirror: str) -> None:
        super().__init__(
            f"{name}: {mirror} has no such package. Choose another mirror with GUESTLING_DEBIAN_MIRROR."
        )


class PinsNotMet(HarnessError):
    """The archive gave other versions than were asked for."""

    def __init__(self, wrong: Sequence[str], mirror: str) -> None:
        shown = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        super().__init__(
            f"{mirror} does not have what the manifest lists: {shown}. "
            "Give --snapshot-date with the day on which the manifest was made."
        )


class BadImage(HarnessError):
    """An image in the store is incomplete or not ours."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}. Remove the directory and build the image again.")


class InvalidImage(HarnessError):
    """What shall become an image of the store cannot be one."""

    def __init__(self, place: str, why: str, remedy: str) -> None:
        super().__init__(f"{place}: {why}. {remedy}.")


class UnknownImage(HarnessError):
    """No image of that name is in the store, and none can be built under it."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"{name}: no such image. Known here: {', '.join(known)}.")


class BootFailed(HarnessError):
    """The guest never said how it went; `report` is the directory with what it did say."""

    def __init__(self, why: str, report: Path | None = None) -> None:
        super().__init__(f"{why}. The console is in {report / 'console.log'}." if report else f"{why}.")


class HostStoodStill(BootFailed):
    """The guest was not up in time, on a host that stood still meanwhile: no word about the image (SP-25)."""

    def __init__(self, name: str, why: str, lost_s: float) -> None:
        super().__init__(
            f"{name}: {why}, but this host stood still for {lost_s:.0f} s meanwhile"
            " (verdict: infrastructure): try again"
        )


class GuestBroken(HarnessError):
    """A guest under test does not answer, or not as agreed; `report` is where its console will be."""

    def __init__(self, why: str, report: Path | None = None) -> None:
        super().__init__(f"guest: {why}." + (f" Its report: {report}." if report else ""))


class InvalidMark(HarnessError):
    """A test asks for its guest in words that are none."""

    def __init__(self, argument: str, why: str, remedy: str) -> None:
        super().__init__(f"guest({argument}): {why}. {remedy}.")


class NoOrigins(HarnessError):
    """A report does not say where anything came from."""

    def __init__(self, report: Path, why: str) -> None:
        super().__init__(f"{report}: {why}. Name the directory that `guestling boot` called its report.")


class NotARoot(HarnessError):
    """What shall be sealed or compared is no root of a guest."""

    def __init__(self, path: Path, why: str, remedy: str) -> None:
        super().__init__(f"{path}: {why}. {remedy}.")


class NotAnImage(HarnessError):
    """A file is no image that can be worked on, or holds no Linux."""

    def __init__(self, path: Path, why: str, remedy: str) -> None:
        super().__init__(f"{path}: {why.rstrip('.')}. {remedy}.")


class CannotBake(HarnessError):
    """The agent does not fit into an image, or what is asked for cannot be put there."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(f"{why}. {remedy}.")


class HelperFailed(HarnessError):
    """The guest that works on images did not do its work."""

    def __init__(self, image: Path, why: str) -> None:
        super().__init__(f"{image}: {why}. The image was not changed.")


class InvalidExpectations(HarnessError):
    """A file that says what a guest shall be like has faults: all of them, a line each."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(faults))
