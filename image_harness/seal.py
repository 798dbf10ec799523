"""Prove that a root is clean for a first boot, or make it so. The rules are in `seal_rules`.

`inspect` finds, `clean` mends what was found; nothing outside the root is ever touched, whatever links say.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from image_harness.errors import NotARoot
from image_harness.seal_rules import RULES, Kind, Remedy, Rule

# What systemd accepts for "none yet": an empty file, or this word (machine-id(5)).
_UNINITIALIZED = b"uninitialized\n"
# Second field, by file: what holds no password, and what is put there instead of one. In shadow an empty
# field lets all in, and `!` before a hash locks the account but keeps the hash, for who can crack it.
_PASSWORDS = {
    "shadow": (re.compile(r"[!*]+|\*(LK|NP)\*"), "!"),
    "gshadow": (re.compile(r"[!*]*"), "!"),
    "passwd": (re.compile(r"[x!*]+"), "x"),
}
# Links that only point to what another rule holds.
_HARMLESS_LINKS = {"var/lib/dbus/machine-id": "/etc/machine-id"}


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that must not be in an image. `path` is the guest's; `detail` names a part of the file."""

    path: str
    rule: str
    kind: Kind
    what: str
    remedy: Remedy
    detail: str = ""

    def __str__(self) -> str:
        detail = f"{self.detail}: " if self.detail else ""
        return f"{self.path}: {detail}{self.what}. Remedy: {self.remedy.value}."


def to_json(finding: Finding) -> dict[str, str]:
    """A finding as plain data."""
    return {**asdict(finding), "kind": finding.kind.value, "remedy": finding.remedy.value}


def from_json(document: Mapping[str, str]) -> Finding:
    """The finding that `to_json` wrote. Raises ValueError, TypeError, KeyError for what is none."""
    fields = {**document, "kind": Kind(document["kind"]), "remedy": Remedy(document["remedy"])}
    return Finding(**fields)  # type: ignore[arg-type]


def inspect(root: Path) -> tuple[Finding, ...]:
    """All that is not clean below `root`, sorted by path. Raises NotARoot."""
    _require_root(root)
    found = {finding.path + finding.detail: finding for rule in RULES for finding in _of(rule, root)}
    return tuple(found[key] for key in sorted(found))


def clean(root: Path, findings: tuple[Finding, ...]) -> None:
    """Mend what `inspect` found. Raises OSError where that is not allowed."""
    for finding in findings:
        path = root / finding.path.lstrip("/")
        if finding.kind is Kind.SECRET:
            _wipe(path)
        _MEND[finding.remedy](path, finding)


def _require_root(root: Path) -> None:
    if not root.is_dir():
        raise NotARoot(root, "no such directory", "Give the directory of a root file system")
    if root.resolve() == Path("/"):
        raise NotARoot(root, "this is the running system", "Give the root of an image")
    if not (root / "etc").is_dir() or (root / "etc").is_symlink():
        raise NotARoot(root, "there is no directory etc in it", "Give the root, not its parent")


def _of(rule: Rule, root: Path) -> Iterator[Finding]:
    for pattern in rule.patterns:
        for path in sorted(root.glob(pattern)):
            if path.name in rule.spared or not _is_inside(path, root):
                continue
            for detail in _CONTENT.get(rule.remedy, _there)(path, root):
                guest_path = f"/{path.relative_to(root).as_posix()}"
                yield Finding(guest_path, rule.name, rule.kind, rule.what, rule.remedy, detail)


def _is_inside(path: Path, root: Path) -> bool:
    """Whether no directory on the way to `path` is a link: the image could lead out of itself."""
    return not any(
        parent.is_symlink() for parent in path.parents if parent != root and parent.is_relative_to(root)
    )


def _there(path: Path, root: Path) -> tuple[str, ...]:
    target = _HARMLESS_LINKS.get(path.relative_to(root).as_posix())
    if not _holds_anything(path):
        return ()
    return () if target and path.is_symlink() and str(path.readlink()).endswith(target) else ("",)


def _holds_anything(path: Path) -> bool:
    """Empty files, and directories without a file below them, tell nothing: packages bring such along."""
    if path.is_symlink() or not path.is_dir():
        return path.is_symlink() or bool(path.lstat().st_size)
    return any(names or _links(Path(where), below) for where, below, names in os.walk(path))


def _links(where: Path, names: list[str]) -> bool:
    return any((where / name).is_symlink() for name in names)


def _has_content(path: Path, _: Path) -> tuple[str, ...]:
    return ("",) if _holds_anything(path) else ()


def _has_machine_id(path: Path, _: Path) -> tuple[str, ...]:
    if path.is_symlink():
        return ("it is a link",)
    return () if path.read_bytes() in (b"", _UNINITIALIZED) else ("",)


def _has_passwords(path: Path, _: Path) -> tuple[str, ...]:
    """The accounts with a password, or open without any."""
    if path.is_symlink():
        return ("it is a link",)
    none = _PASSWORDS[path.name.rstrip("-")][0]
    rows = [line.split(":") for line in path.read_text(errors="surrogateescape").splitlines()]
    return tuple(row[0] for row in rows if len(row) > 2 and not none.fullmatch(row[1]))


# What is wrong with a file that is there, one detail each; for the other remedies, that it is there at all.
_CONTENT: Mapping[Remedy, Callable[[Path, Path], tuple[str, ...]]] = {
    Remedy.EMPTY: _has_content,
    Remedy.RESET_MACHINE_ID: _has_machine_id,
    Remedy.UNSET_PASSWORD: _has_passwords,
}


def _wipe(path: Path) -> None:
    """Zeros over what a removed secret would leave in the free blocks of the image.

    File systems that copy on write (btrfs, xfs with shared blocks) may still keep the old blocks.
    """
    if path.is_symlink() or (path.is_dir() and not path.is_symlink()):
        for each in path.iterdir() if path.is_dir() and not path.is_symlink() else ():
            _wipe(each)
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "wb") as file:
        state = os.fstat(descriptor)
        if stat.S_ISREG(state.st_mode) and state.st_nlink == 1:
            file.write(bytes(state.st_size))
            file.flush()
            os.fsync(descriptor)


def _remove(path: Path, _: Finding) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _empty(path: Path, _: Finding) -> None:
    """As an empty file of the same owner and mode; a link becomes a file."""
    if path.is_symlink():
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    os.close(descriptor)


def _unset_password(path: Path, finding: Finding) -> None:
    """Lock the account: no hash where one was. Written anew beside the old one and renamed over it."""
    if path.is_symlink():
        raise NotARoot(path, "it is a link", "Have the accounts in the file itself")
    unset = _PASSWORDS[path.name.rstrip("-")][1]
    lines = path.read_text(errors="surrogateescape").splitlines(keepends=True)
    changed = "".join(
        _with(unset, line) if line.split(":", 1)[0] == finding.detail else line for line in lines
    )
    before = path.stat()
    new = path.with_name(f".{path.name}.seal")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", errors="surrogateescape") as file:
        file.write(changed)
        if os.geteuid() == 0:
            os.fchown(file.fileno(), before.st_uid, before.st_gid)
        os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
    new.rename(path)


def _with(password: str, line: str) -> str:
    name, _, rest = line.split(":", 2)
    return f"{name}:{password}:{rest}"


_MEND: Mapping[Remedy, Callable[[Path, Finding], None]] = {
    Remedy.REMOVE: _remove,
    Remedy.EMPTY: _empty,
    Remedy.RESET_MACHINE_ID: _empty,
    Remedy.UNSET_PASSWORD: _unset_password,
}
