"""The tree taken from a drive so far, kept within the limits and free of names that lie."""

from __future__ import annotations

from configdrive.errors import AmbiguousName, DriveLimit, ForbiddenEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from configdrive.source import Limits


class Harvest:
    """Paths and contents of one drive. `under` names the entries of the root that are wanted; None: all."""

    def __init__(self, limits: Limits, under: tuple[str, ...] | None = None) -> None:
        self._limits = limits
        self._under = under
        self._seen: set[str] = set()
        self._bytes = 0
        self.tree: dict[str, bytes] = {}

    def is_wanted(self, path: str) -> bool:
        """Whether the caller asked for this entry of the root, or for what lies below it."""
        return self._under is None or path.split("/", 1)[0] in self._under

    def enter(self, path: str, offset: int | None) -> None:
        """Count one entry. Raises ForbiddenEntry, AmbiguousName, DriveLimit."""
        name = path.rsplit("/", 1)[-1]
        structure = f"entry {path!r}"
        if name in {"", ".", ".."} or "\0" in name:
            raise ForbiddenEntry(structure, offset, "its name is empty, `.` or `..`, or holds a NUL")
        if path in self._seen:
            raise AmbiguousName(path, offset)
        self._seen.add(path)
        if len(self._seen) > self._limits.entries:
            raise DriveLimit(structure, offset, "entries", self._limits.entries)
        if path.count("/") >= self._limits.depth:
            raise DriveLimit(structure, offset, "depth", self._limits.depth)
        if len(name.encode()) > self._limits.name_bytes:
            raise DriveLimit(structure, offset, "name_bytes", self._limits.name_bytes)

    def reserve(self, path: str, length: int, offset: int | None) -> None:
        """Refuse a file before its bytes are read. Raises DriveLimit."""
        structure = f"entry {path!r}"
        if length > self._limits.file_bytes:
            raise DriveLimit(structure, offset, "file_bytes", self._limits.file_bytes)
        self._bytes += length
        if self._bytes > self._limits.tree_bytes:
            raise DriveLimit(structure, offset, "tree_bytes", self._limits.tree_bytes)

    def put(self, path: str, content: bytes) -> None:
        """Keep a file that was entered and reserved."""
        self.tree[path] = content
