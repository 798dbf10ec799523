"""Giving up root after the sockets are bound (MS-D14)."""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
import struct
from pathlib import Path

from metadata_server.errors import BadListener

_PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 4, 24, 38
_CAPABILITY_VERSION_3 = 0x20080522


def drop(user: str, states: tuple[Path | None, ...] = ()) -> None:
    """Become `user` for good: no groups, no capabilities, no way back. `states` become the user's.

    Raises BadListener.
    """
    try:
        entry = pwd.getpwnam(user)
    except KeyError as error:
        raise BadListener(f"--user {user}: there is no such user. Create it, or name another.") from error
    for state in states:
        for path in () if state is None else (state, *state.rglob("*")):
            os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
    os.setgroups([])
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)


def drop_capabilities() -> None:
    """Stay the same user without any of root's powers: what is left is what the user's files allow."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(64):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    if libc.capset(header, bytes(24)) != 0:
        raise BadListener("the capabilities of root cannot be given up. Name a --user to become.")


def owner_of(path: Path) -> str | None:
    """The name of the user who owns a path, None for root or a number without a name."""
    try:
        name = pwd.getpwuid(path.stat().st_uid).pw_name
    except (KeyError, OSError):
        return None
    return None if name == "root" else name


def harden() -> None:
    """No new privileges through programs, no core dump with secrets in it (G7)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def allow_many_files() -> None:
    """As many open sockets as the system lets us have: the usual 1,024 are too few for a server."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def is_root() -> bool:
    return os.geteuid() == 0
