"""The user that QEMU runs as: never root (SP-20)."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

NAMES = ("guestling", "nobody")
"""When we are root, QEMU runs as the first of these that exists."""

KVM_DEVICE = Path("/dev/kvm")


@dataclass(frozen=True)
class User:
    """An unprivileged user, with the group of /dev/kvm where that group may use it."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def may_read(self, path: Path) -> bool:
        """Whether the mode bits let this user reach and read `path`.

        Access lists are not looked at, so "no" may be wrong.
        """
        return self._allowed(path, 0o4) and self.obstacle(path) is None

    def obstacle(self, path: Path) -> Path | None:
        """The topmost directory on the way to `path` that the mode bits let this user not pass, if any."""
        return next((each for each in reversed(path.parents) if not self._allowed(each, 0o1)), None)

    def may_run(self, path: Path) -> bool:
        """Whether this user may execute the program `path`."""
        return self.may_read(path) and self._allowed(path, 0o1)

    def _allowed(self, path: Path, bit: int) -> bool:
        try:
            status = path.stat()
        except OSError:
            return False
        if status.st_uid == self.uid:
            return bool(status.st_mode & bit << 6)
        if status.st_gid in (self.gid, *self.groups):
            return bool(status.st_mode & bit << 3)
        return bool(status.st_mode & bit)


def unprivileged() -> User | None:
    """The user to change to, or None when we are not root and so have nothing to give up."""
    if os.geteuid() != 0:
        return None
    for name in NAMES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return User(entry.pw_uid, entry.pw_gid, _kvm_groups())
    return User(65534, 65534, _kvm_groups())


def _kvm_groups() -> tuple[int, ...]:
    """The group that may use KVM; none where the device belongs to root alone."""
    try:
        status = KVM_DEVICE.stat()
    except OSError:
        return ()
    return (status.st_gid,) if status.st_mode & 0o060 == 0o060 and status.st_gid != 0 else ()
