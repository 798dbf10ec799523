"""What can be wrong with a drive, as one tree of exceptions.

    DriveError
    ├── UnreadableDrive      the medium: missing, no permission, input/output error, not a file or disk
    ├── UnknownFormat        the bytes are no file system of ours
    ├── TruncatedDrive       a structure lies beyond the end of the image
    ├── DamagedDrive         a structure contradicts itself or another one
    ├── ForbiddenEntry       a link, a device node, a name such as `..`
    ├── AmbiguousName        one name twice in a directory
    ├── DriveLimit           a limit of `source.Limits` was crossed
    ├── DamagedEnvelope      the base64 or gzip text around an image
    ├── UnbuildableTree      what was to be put on a drive does not fit its format
    └── UnwritableOutput     the drive could not be written where it was wanted

Each message is `config drive: <structure> at offset <N>: what is wrong. What to do.`, and `code` is
a stable word for programs. Source: faults-and-threats CD-01 to CD-12, G1, G2, G4.
"""

from __future__ import annotations


class DriveError(Exception):
    """Anything wrong with a drive. `offset` counts bytes from the start of the image; None: no such place."""

    code = "drive-error"

    def __init__(self, structure: str, offset: int | None, problem: str, remedy: str) -> None:
        self.structure = structure
        self.offset = offset
        self.problem = problem
        self.remedy = remedy
        place = structure if offset is None else f"{structure} at offset {offset}"
        super().__init__(f"config drive: {place}: {problem}. {remedy}.")


class UnreadableDrive(DriveError):
    """The operating system does not hand out the bytes."""

    code = "drive-unreadable"

    def __init__(self, structure: str, offset: int | None, reason: str) -> None:
        super().__init__(structure, offset, reason, "Check the path, its permissions and the medium")


class UnknownFormat(DriveError):
    """Neither ISO 9660 nor FAT, and no base64 or gzip around one of them."""

    code = "drive-unknown-format"

    def __init__(self, size: int) -> None:
        super().__init__(
            "volume descriptor",
            16 * 2048,
            f"these {size} bytes are neither ISO 9660 nor FAT, nor gzip or base64 around one of them",
            "Name an image, a disk or a directory that holds a config drive",
        )


class TruncatedDrive(DriveError):
    """A structure ends after the image does."""

    code = "drive-truncated"

    def __init__(self, structure: str, offset: int, length: int, size: int) -> None:
        problem = f"it ends at byte {offset + length}, the image ends at byte {size}"
        super().__init__(
            structure,
            offset,
            problem,
            "The image was cut short or the entry is wrong: copy or build it again",
        )


class DamagedDrive(DriveError):
    """A structure that no writer makes."""

    code = "drive-damaged"

    def __init__(self, structure: str, offset: int, problem: str) -> None:
        super().__init__(structure, offset, problem, "Build the drive again")


class ForbiddenEntry(DriveError):
    """An entry that is never read: a drive holds directories and regular files only."""

    code = "drive-forbidden-entry"

    def __init__(self, structure: str, offset: int | None, problem: str) -> None:
        super().__init__(structure, offset, problem, "Put directories and regular files only on a drive")


class AmbiguousName(DriveError):
    """One path, two entries: whichever is taken may be the wrong one."""

    code = "drive-ambiguous-name"

    def __init__(self, path: str, offset: int | None) -> None:
        problem = "the directory holds this name twice"
        super().__init__(f"entry {path!r}", offset, problem, "Remove one of the two")


class DriveLimit(DriveError):
    """More than a config drive ever needs. The limits are fields of `source.Limits`."""

    code = "drive-limit"

    def __init__(self, structure: str, offset: int | None, limit: str, allowed: float) -> None:
        problem = f"the limit `{limit}` is {allowed:,}"
        super().__init__(structure, offset, problem, "Make the drive smaller, or read it with a higher limit")


class DamagedEnvelope(DriveError):
    """The text around an image is no base64, or the base64 holds no whole gzip stream."""

    code = "drive-envelope"

    def __init__(self, structure: str, offset: int, problem: str) -> None:
        super().__init__(
            structure, offset, problem, "Make the text again with `guestling drive build --gzip-base64`"
        )


class UnbuildableTree(DriveError):
    """What is to be written does not fit the format or the limits; nothing has been written."""

    code = "drive-unbuildable"

    def __init__(self, path: str, problem: str, remedy: str) -> None:
        super().__init__(repr(path), None, problem, remedy)


class UnwritableOutput(DriveError):
    """The drive is built but cannot be put where it was wanted; what was there before is unharmed."""

    code = "drive-unwritable"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(repr(path), None, reason, "Name another output, or make room for it")
