"""The one writer of files in a guest: whole or not at all, never wider than the final mode, durable.

Temporary file in the same directory with its final mode, written, owned, synced, renamed, directory synced.
Source: faults-and-threats G6, GA-W01..W06.
"""

from __future__ import annotations

import os
import stat

from boot_stages.errors import ActionFailed, UnsafePath
from boot_stages.paths import MAX_LINKS, open_parent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TEMPORARY = ".guestling-"
SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX


def write_whole(
    root: str,
    path: str,
    content: bytes,
    mode: int = 0o644,
    owner: tuple[int, int] | None = None,
    *,
    append: bool = False,
    durable: bool = True,
    made: list[str] | None = None,
    links: int = 0,
) -> None:
    """Make `path` a regular file of these bytes, its parents too where they are missing.

    `owner` is (uid, gid), or None to leave it to the system. With `append` the old content stays in front.
    `durable` False is for what the next boot removes unread: whole for every reader, lost in a power cut.
    Guest paths of new directories are added to `made`. Raises UnsafePath, ActionFailed, OSError.
    """
    made = [] if made is None else made
    parent, name = open_parent(root, path, make=True, made=made)
    try:
        target = _link_target(parent, name, path)
        if target is not None:
            if links >= MAX_LINKS:
                raise UnsafePath(f"write {path}", "too many levels of symbolic links")
            write_whole(
                root, target, content, mode, owner, append=append, durable=durable, made=made, links=links + 1
            )
            return
        old = _refuse_other_than_file(parent, name, path)
        if append and old is not None:
            content = _read_all(parent, name) + content
            mode = stat.S_IMODE(old.st_mode)
            owner = (old.st_uid, old.st_gid) if owner is not None else None
        # What is below /run does not outlive a power cut: there is nothing to make durable.
        _replace(parent, name, content, mode, owner, durable=durable and not path.startswith("/run/"))
    finally:
        os.close(parent)


def _link_target(parent: int, name: str, path: str) -> str | None:
    """Where a final link that root made leads; a link that somebody else made is refused."""
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISLNK(found.st_mode):
        return None
    if found.st_uid not in {0, os.geteuid()}:
        raise UnsafePath(f"write {path}", f"a link of user {found.st_uid} stands there")
    target = os.readlink(name, dir_fd=parent)
    return target if target.startswith("/") else os.path.normpath(f"{os.path.dirname(path)}/{target}")


def _refuse_other_than_file(parent: int, name: str, path: str) -> os.stat_result | None:
    """A directory, device, FIFO or socket is never replaced, and never opened (GA-W04)."""
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    kind = kinds.get(stat.S_IFMT(found.st_mode))
    if kind is not None:
        raise ActionFailed(f"write {path}", f"{kind} stands there; remove it or choose another path")
    return found if stat.S_ISREG(found.st_mode) else None


def _read_all(parent: int, name: str) -> bytes:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def give_to(descriptor: int, owner: tuple[int, int] | None, mode: int) -> None:
    """Set owner, where one is given, and mode; in this order, for a change of owner clears set-uid bits."""
    if owner is not None:
        os.fchown(descriptor, *owner)
    os.fchmod(descriptor, mode)


def _replace(
    parent: int, name: str, content: bytes, mode: int, owner: tuple[int, int] | None, *, durable: bool
) -> None:
    # Deterministic per process: a left-over of a killed agent is simply taken over.
    temporary = f"{TEMPORARY}{name[:200]}"
    _unlink_if_there(parent, temporary)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, mode & 0o600, dir_fd=parent)
    try:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            give_to(descriptor, owner, mode)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        _unlink_if_there(parent, temporary)
        raise
    if durable:
        os.fsync(parent)


def _unlink_if_there(parent: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass


def as_user(root: str, uid: int, gid: int, work: Callable[[str], None]) -> None:
    """Do `work(root)` in a child process with the rights of a user; raises ActionFailed with its words.

    Below another root the child makes that its own first: the user may not be able to walk down to it.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(read_end)
            if root != "/":
                os.chroot(root)
                os.chdir("/")
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            work("/")
            status = 0
        except (OSError, ActionFailed) as error:
            os.write(write_end, str(error).encode("utf-8", "replace")[:4096])
        finally:
            os._exit(status)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        words = pipe.read().decode("utf-8", "replace")
    _pid, status = os.waitpid(child, 0)
    if status:
        raise ActionFailed(f"as user {uid}", words or "the writing process ended early")
