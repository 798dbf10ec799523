"""The tree that is to become a drive: checked once, then directories and contents.

A tree that passes here is one that `reader` accepts: both sides share the same limits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from configdrive.errors import UnbuildableTree
from configdrive.source import LIMITS, MIB, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass
class Directory:
    """A directory: its entries by name, in order of name. A file is its content."""

    entries: dict[str, Directory | bytes] = field(default_factory=dict)

    def directories(self) -> Iterator[tuple[str, Directory]]:
        """The directories in it, with their names."""
        for name, entry in self.entries.items():
            if isinstance(entry, Directory):
                yield name, entry


def plant(tree: Mapping[str, bytes], limits: Limits = LIMITS) -> Directory:
    """The root directory of `{path: content}`. Raises UnbuildableTree for what no drive can hold."""
    _check_sizes(tree, limits)
    root = Directory()
    entries = 0
    for path in sorted(tree):
        names = path.split("/")
        _check_path(path, names, limits)
        directory = root
        for name in names[:-1]:
            entry = directory.entries.get(name)
            if entry is None:
                entry = directory.entries[name] = Directory()
                entries += 1
            if not isinstance(entry, Directory):
                raise UnbuildableTree(path, f"{name!r} is a file and a directory", "Rename one of the two")
            directory = entry
        if names[-1] in directory.entries:
            raise UnbuildableTree(path, "it is a file and a directory", "Rename one of the two")
        directory.entries[names[-1]] = tree[path]
        entries += 1
    if entries > limits.entries:
        raise UnbuildableTree(
            "/", f"{entries:,} entries, the limit is {limits.entries:,}", "Put fewer files on the drive"
        )
    return root


def _check_path(path: str, names: list[str], limits: Limits) -> None:
    for name in names:
        if name in {"", ".", ".."} or "\0" in name:
            problem = "a part of the path is empty, `.` or `..`, or holds a NUL"
            raise UnbuildableTree(
                path, problem, "Use relative paths such as 'openstack/latest/meta_data.json'"
            )
        try:
            length = len(name.encode())
        except UnicodeEncodeError as error:
            raise UnbuildableTree(path, "the path is not UTF-8", "Rename the file") from error
        if length > limits.name_bytes:
            problem = f"a name of {length} bytes, the limit is {limits.name_bytes}"
            raise UnbuildableTree(path, problem, "Shorten the name")
    if len(names) > limits.depth:
        raise UnbuildableTree(
            path, f"{len(names)} levels deep, the limit is {limits.depth}", "Use fewer directories"
        )


def _check_sizes(tree: Mapping[str, bytes], limits: Limits) -> None:
    """CD-6: too much for a drive is refused before anything is written, naming the largest file."""
    sizes = {path: len(content) for path, content in tree.items()}
    largest = max(sizes, key=sizes.__getitem__, default="")
    if largest and sizes[largest] > limits.file_bytes:
        problem = f"{sizes[largest]:,} bytes, a file on a drive may have {limits.file_bytes // MIB} MiB"
        raise UnbuildableTree(largest, problem, "Let the guest fetch it from somewhere else")
    total = sum(sizes.values())
    if total > limits.tree_bytes:
        most = f"a drive may hold {limits.tree_bytes // MIB} MiB"
        problem = f"{total:,} bytes in all, {most}; this is the largest file"
        raise UnbuildableTree(largest, problem, "Let the guest fetch large files from somewhere else")
