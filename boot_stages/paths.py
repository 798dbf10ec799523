"""Paths of the guest below a root directory, walked as a chroot would see them.

Reading follows links, absolute ones from the root again. Writing (`open_parent`) goes from directory to
directory by file descriptor and follows only links that root (or the agent's own user) made: a link that an
ordinary user could have planted is refused (GA-W02, GA-W03).
"""

from __future__ import annotations

import errno
import os
import stat

from boot_stages.errors import UnsafePath

MAX_LINKS = 40


def below(root: str, path: str) -> str:
    """The host's path for a guest's absolute `path`, all links in it resolved within `root`.

    The last step may be missing. Raises OSError (ELOOP) where links go round in circles.
    """
    if "\0" in path:
        raise OSError(errno.EINVAL, "a path holds no NUL byte", path)
    if root == "/":
        return path
    resolved = ""
    steps = [step for step in path.split("/") if step not in {"", "."}]
    links = 0
    while steps:
        step = steps.pop(0)
        if step == "..":
            resolved = resolved.rpartition("/")[0]
            continue
        candidate = f"{root}{resolved}/{step}"
        try:
            target = os.readlink(candidate)
        except OSError:
            resolved = f"{resolved}/{step}"
            continue
        links += 1
        if links > MAX_LINKS:
            raise OSError(40, "too many levels of symbolic links", path)
        if target.startswith("/"):
            resolved = ""
        steps[:0] = [each for each in target.split("/") if each not in {"", "."}]
    return root + resolved


def open_parent(root: str, path: str, *, make: bool, made: list[str]) -> tuple[int, str]:
    """A descriptor of the directory that holds `path`, and the last name of the path.

    Missing directories are made 0755 when `make`, and their guest paths added to `made`. The caller closes
    the descriptor. Raises UnsafePath, FileNotFoundError, NotADirectoryError.
    """
    steps = [step for step in path.split("/") if step not in {"", "."}]
    if not path.startswith("/") or not steps or "\0" in path or ".." in steps:
        raise UnsafePath(f"path {path!r}", "an absolute path without '..' is needed")
    directories = [os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
    walked: list[str] = []
    links = 0
    try:
        pending, last = steps[:-1], steps[-1]
        while pending:
            step = pending.pop(0)
            if step == "..":
                if len(directories) > 1:
                    os.close(directories.pop())
                    walked.pop()
                continue
            if make:
                _make_if_missing(directories[-1], step, walked, made)
            found = os.stat(step, dir_fd=directories[-1], follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                links += 1
                _refuse_planted(found, directories[-1], "/" + "/".join([*walked, step]), links)
                target = os.readlink(step, dir_fd=directories[-1])
                if target.startswith("/"):
                    while len(directories) > 1:
                        os.close(directories.pop())
                    walked.clear()
                pending[:0] = [each for each in target.split("/") if each not in {"", "."}]
                continue
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            directories.append(os.open(step, flags, dir_fd=directories[-1]))
            walked.append(step)
        return os.dup(directories[-1]), last
    finally:
        for descriptor in directories:
            os.close(descriptor)


def _make_if_missing(parent: int, name: str, walked: list[str], made: list[str]) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        return
    os.chmod(name, 0o755, dir_fd=parent)
    made.append("/" + "/".join([*walked, name]))


def _refuse_planted(link: os.stat_result, parent: int, path: str, links: int) -> None:
    """Follow a link only if nobody but root or ourselves could have made it."""
    if links > MAX_LINKS:
        raise UnsafePath(f"path {path}", "too many levels of symbolic links")
    if link.st_uid not in {0, os.geteuid()}:
        raise UnsafePath(f"path {path}", f"the link belongs to user {link.st_uid}, not to root")
    directory = os.fstat(parent)
    writable_by_others = directory.st_mode & 0o002 and not directory.st_mode & stat.S_ISVTX
    if writable_by_others:
        raise UnsafePath(f"path {path}", "its directory can be written by everyone")
