"""What differs between two roots of guests: by user, package, unit and file, each as one line of data."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# What is no part of an image, or changes with every look.
LEFT_OUT = ("dev", "proc", "sys", "run", "tmp", "lost+found")
_CHUNK = 1 << 20
_DPKG = re.compile(
    r"^Package: (?P<name>\S+)$.*?^Status: \S+ \S+ installed$.*?^Version: (?P<version>\S+)$",
    re.MULTILINE | re.DOTALL,
)
_APK = re.compile(r"^P:(?P<name>\S+)$.*?^V:(?P<version>\S+)$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Difference:
    """`aspect`: user, group, package, unit, file. `first`, `second`: how it is in each, or None."""

    aspect: str
    name: str
    first: str | None
    second: str | None

    @property
    def change(self) -> str:
        """added, removed or changed, seen from the first root."""
        if self.first is None:
            return "added"
        return "removed" if self.second is None else "changed"


def differences(
    first: Mapping[str, Mapping[str, str]], second: Mapping[str, Mapping[str, str]]
) -> Iterator[Difference]:
    """All that is not alike in two images that were described: aspect by aspect, by name within each."""
    for aspect, one in first.items():
        other = second[aspect]
        for name in sorted({*one, *other}):
            if one.get(name) != other.get(name):
                yield Difference(aspect, name, one.get(name), other.get(name))


def described(root: Path) -> dict[str, dict[str, str]]:
    """What is in a root, aspect by aspect. Raises OSError."""
    return {aspect: read(root) for aspect, read in ASPECTS.items()}


def users(root: Path) -> dict[str, str]:
    """Accounts, without what is secret of them: of a password only a digest's beginning, to see it change."""
    passwords = {row[0]: _password(row[1]) for row in _rows(root / "etc/shadow", 2)}
    return {
        row[0]: f"{':'.join(row[2:])} {passwords.get(row[0], 'no password')}"
        for row in _rows(root / "etc/passwd", 7)
    }


def groups(root: Path) -> dict[str, str]:
    """Groups, with number and members."""
    return {row[0]: f"{row[2]}:{row[3]}" for row in _rows(root / "etc/group", 4)}


def packages(root: Path) -> dict[str, str]:
    """Installed packages with versions, as dpkg and apk keep them; rpm's database is not read."""
    blocks = [(_DPKG, block) for block in _text(root / "var/lib/dpkg/status").split("\n\n")]
    blocks += [(_APK, block) for block in _text(root / "lib/apk/db/installed").split("\n\n")]
    found = (pattern.search(block) for pattern, block in blocks)
    return {match["name"]: match["version"] for match in found if match}


def units(root: Path) -> dict[str, str]:
    """Units of systemd that are enabled, masked or aliased, by the links below /etc/systemd/system."""
    system = root / "etc/systemd/system"
    states: dict[str, set[str]] = {}
    for path in sorted([*system.glob("*"), *system.glob("*.wants/*"), *system.glob("*.requires/*")]):
        if not path.is_symlink():
            continue
        by = path.parent.name
        target = str(path.readlink())
        state = f"{by.rpartition('.')[2]} of {by.rpartition('.')[0]}" if path.parent != system else ""
        states.setdefault(path.name, set()).add(
            "masked" if target == "/dev/null" else state or f"as {target}"
        )
    return {name: ", ".join(sorted(found)) for name, found in states.items()}


def files(root: Path) -> dict[str, str]:
    """Everything below the root: type, mode, owner, and what a file or link holds."""
    found = {}
    for where, directories, names in os.walk(root):
        if Path(where) == root:
            directories[:] = [name for name in directories if name not in LEFT_OUT]
        for name in [*directories, *names]:
            path = Path(where) / name
            found[f"/{path.relative_to(root).as_posix()}"] = _described(path)
    return found


ASPECTS: Mapping[str, Callable[[Path], dict[str, str]]] = {
    "user": users,
    "group": groups,
    "package": packages,
    "unit": units,
    "file": files,
}


def _described(path: Path) -> str:
    state = path.lstat()
    facts = f"{stat.filemode(state.st_mode)} {state.st_uid}:{state.st_gid}"
    if stat.S_ISLNK(state.st_mode):
        return f"{facts} -> {path.readlink()}"
    if not stat.S_ISREG(state.st_mode):
        return facts
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return f"{facts} {state.st_size} bytes sha256:{digest.hexdigest()[:16]}"


def _password(field: str) -> str:
    if field.strip("!*") == "":
        return "open without password" if field == "" else "locked"
    return f"password {hashlib.sha256(field.encode(errors='surrogateescape')).hexdigest()[:8]}"


def _rows(path: Path, at_least: int) -> list[list[str]]:
    rows = (line.split(":") for line in _text(path).splitlines())
    return [row for row in rows if len(row) >= at_least]


def _text(path: Path) -> str:
    """What a file of a root holds, nothing where there is none; links could lead out."""
    if path.is_symlink() or not path.is_file():
        return ""
    return path.read_text(errors="surrogateescape")
