"""Puts files into an ext4 file system without mounting it and without root, owned by the guest's root."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from image_harness import programs
from image_harness.errors import BadImage


def inject(
    disk: Path,
    files: Mapping[str, Path],
    links: Mapping[str, str],
    executable: frozenset[str],
    *,
    replace: bool = False,
    epoch_s: int | None = None,
) -> None:
    """Write `files` (path in the guest, absolute -> file here) and `links` (path -> target) into `disk`.

    `replace`: files that are there make room. `epoch_s`: the time that all that is written bears.

    Raises BadImage when the file system takes one of them not.
    """
    commands = [f"mkdir {directory}" for directory in _directories([*files, *links])]
    commands += [f"rm {path}" for path in files] if replace else []
    commands += [f'write "{source}" {path}' for path, source in files.items()]
    commands += [f"sif {path} mode 0100{0o755 if path in executable else 0o644:o}" for path in files]
    commands += [f"symlink {path} {target}" for path, target in links.items()]
    if bad := next(
        (command for command in commands if command.count('"') not in (0, 2) or "\n" in command), None
    ):
        raise BadImage(disk, f"a path cannot be written by debugfs: {bad}")
    # libext2fs takes this for the time of day.
    clock = {} if epoch_s is None else {"E2FSPROGS_FAKE_TIME": str(epoch_s)}
    programs.run(["debugfs", "-w", "-f", "-", str(disk)], stdin="\n".join([*commands, ""]), env=clock)
    _check(disk, [*files, *links])


def _directories(paths: Iterable[str]) -> list[str]:
    """Every directory above the paths, shortest first. One that is there already is only complained about."""
    found = {str(parent) for path in paths for parent in PurePosixPath(path).parents if str(parent) != "/"}
    # By name within one depth: the same files give the same file system.
    return sorted(found, key=lambda path: (path.count("/"), path))


def _check(disk: Path, paths: Iterable[str]) -> None:
    """debugfs goes on after an error, and says so in words alone: ask for everything again."""
    asked = "\n".join(f"testi {path}" for path in paths)
    answer = programs.run(["debugfs", "-f", "-", str(disk)], stdin=f"{asked}\n")
    marked = sum(line.endswith("marked in use") for line in answer.splitlines())
    if marked != len(list(paths)):
        raise BadImage(disk, "debugfs did not write all of the agent into it")
