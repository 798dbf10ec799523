"""The private directory of one running guest: its sockets, console record and staged files.

Mode 0700 below $GUESTLING_RUN_DIR, $XDG_RUNTIME_DIR/guestling or /tmp/guestling-UID, with a short path,
because a unix socket's may have 107 bytes. (Root's own collection is 0711: QEMU's user must be able to
reach its directory.) A lock tells a live directory from one that a killed process left behind: its maker
holds it, and so does the keeper of a guest that may outlive its maker, to whom the descriptor is handed.
`sweep` removes directories that nobody holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from spawner.compute.qemu import cgroup
from spawner.compute.qemu.user import User
from spawner.errors import FileRefused, RunDirectoryUnusable

SOCKET_PATH_BYTES = 107
_LONGEST_NAME = "metadata.sock"
_LOCK = "lock"


class RunDirectory:
    """One guest's directory. Make it with `create`, end it with `remove`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, root: Path | None = None) -> RunDirectory:
        """A new, empty directory under `root` (default: `run_root()`). Raises RunDirectoryUnusable."""
        root = root or run_root(os.environ, os.geteuid())
        _own(root)
        try:
            # Whoever sweeps waits for us: no directory is seen between its making and its lock.
            with _held(root, fcntl.LOCK_SH):
                path = Path(tempfile.mkdtemp(prefix="g", dir=root))
                lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunDirectoryUnusable(root, error.strerror or "cannot be written") from error
        directory = cls(path, lock)
        if len(os.fsencode(path / _LONGEST_NAME)) > SOCKET_PATH_BYTES:
            directory.remove()
            raise RunDirectoryUnusable(root, f"a socket path in it would pass {SOCKET_PATH_BYTES} bytes")
        return directory

    @classmethod
    def reopen(cls, path: Path) -> RunDirectory:
        """One that an earlier process made, for the guest that lives in it; its keeper holds the lock."""
        return cls(path, -1)

    def take(self) -> bool:
        """Hold the lock of a directory whose holder ended; whether it was swept away, and is a new one.

        Raises OSError, also when somebody holds it.
        """
        with _held(self.path.parent, fcntl.LOCK_SH):
            is_new = not self.path.exists()
            self.path.mkdir(mode=0o700, exist_ok=True)
            lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                raise
        self._lock = lock
        return is_new

    @property
    def lock(self) -> int:
        """The descriptor that marks the directory as live, wherever it is open."""
        return self._lock

    @property
    def metadata_socket(self) -> Path:
        """Where the instance's metadata server listens."""
        return self.path / _LONGEST_NAME

    def listen(self, name: str) -> socket.socket:
        """A listening unix socket of mode 0600 in this directory, to be inherited by QEMU."""
        path = self.path / name
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(os.fspath(path))
        path.chmod(0o600)
        listener.listen(1)
        return listener

    def admit(self, user: User | None) -> None:
        """Let QEMU's user reach what lies in here by name, the metadata socket included.

        Nothing to do without a user.
        """
        if user is None:
            return
        os.chown(self.path, user.uid, user.gid)
        if self.metadata_socket.exists():
            os.chown(self.metadata_socket, user.uid, user.gid, follow_symlinks=False)

    def stage(self, source: Path, user: User | None) -> Path:
        """A path from which QEMU's user can read `source`.

        Itself where that works, else a link or copy in here.
        """
        if not source.is_file():
            raise FileRefused(source, "there is no such file", "Build the image again or correct the path")
        if user is None or user.may_read(source):
            return source
        target = self.path / f"staged-{source.name}"
        try:
            if source.stat().st_mode & 0o004:
                os.link(source, target)
                return target
        except OSError:
            pass  # another file system, or links are protected: copy
        shutil.copyfile(source, target)
        target.chmod(0o444)
        return target

    def remove(self) -> None:
        """Delete the directory and all in it; safe to repeat."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.release()

    def release(self) -> None:
        """Leave the directory to whoever else holds it; safe to repeat."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def run_root(environ: Mapping[str, str], uid: int) -> Path:
    """Where run directories lie: short, private, and gone after a reboot."""
    if chosen := environ.get("GUESTLING_RUN_DIR"):
        return Path(chosen)
    if (runtime := environ.get("XDG_RUNTIME_DIR")) and Path(runtime).is_dir():
        return Path(runtime) / "guestling"
    return Path(f"/tmp/guestling-{uid}")  # noqa: S108 - made 0700 and checked to be ours by _own


def sweep(root: Path | None = None) -> list[Path]:
    """Remove run directories that nobody holds, and the control groups of their guests. Returns them."""
    root = root or run_root(os.environ, os.geteuid())
    if not root.is_dir():
        return []
    _own(root)
    with _held(root, fcntl.LOCK_EX):
        abandoned = [path for path in sorted(root.iterdir()) if path.is_dir() and not is_held(path)]
        for path in abandoned:
            shutil.rmtree(path, ignore_errors=True)
            cgroup.here().forsake(path.name)
    return abandoned


def is_held(path: Path) -> bool:
    """Whether somebody lives in a run directory: its maker, or the keeper of its guest."""
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # not ours to judge
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


@contextlib.contextmanager
def _held(root: Path, how: int) -> Iterator[None]:
    """The collection itself, locked: shared while a directory is made, alone while they are swept."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _own(root: Path) -> None:
    """Make `root` with mode 0700, or see that it is a directory, ours, and closed to others (SP-13)."""
    try:
        root.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        status = root.lstat()
    except OSError as error:
        raise RunDirectoryUnusable(root, error.strerror or "cannot be made") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise RunDirectoryUnusable(root, "it is not a directory of ours")
    if status.st_mode & 0o022:
        raise RunDirectoryUnusable(root, f"others may write to it (mode {stat.S_IMODE(status.st_mode):04o})")
