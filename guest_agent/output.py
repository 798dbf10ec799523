"""What the agent shows people: stdout and stderr, and where the config's `output:` sends them.

The usual `| tee -a FILE` is done here, without a shell and a tee that would cost every boot two processes.
Source: guest-agent.md 5.8.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LOG_MODE = 0o640
LOG_GROUP = "adm"


class Output:
    """Standard output of a stage: written to fd 1, and to a file as well when the config says `tee`."""

    def __init__(self) -> None:
        self._copies: tuple[int, ...] = ()

    def write(self, data: bytes) -> None:
        """Show bytes to whoever listens; a closed stdout is not an error of the boot."""
        for descriptor in (1, *self._copies):
            _write_all(descriptor, data)

    def say(self, text: str) -> None:
        """Show one line."""
        self.write(text.encode("utf-8", "replace") + b"\n")

    def warn(self, text: str) -> None:
        """Show one line on stderr."""
        data = text.encode("utf-8", "replace") + b"\n"
        for descriptor in (2, *self._copies):
            _write_all(descriptor, data)

    def redirect(self, stdout: str, stderr: str, root: str) -> None:
        """Send both where the config says: `> F`, `>> F`, `| CMD`, `&1`, or "" for as it is.

        Raises OSError when a file cannot be opened or a command not started.
        """
        self._close()
        same = stderr in {"&1", "", stdout}
        copy = tee_file(stdout)
        if copy:
            self._copies = (_open_log(root, copy, truncate=False),)
            if same:
                return
        elif stdout:
            _replace(1, stdout, root)
        if same and stdout and not copy:
            os.dup2(1, 2)
        elif not same:
            _replace(2, stderr, root)

    def _close(self) -> None:
        for descriptor in self._copies:
            os.close(descriptor)
        self._copies = ()


def _write_all(descriptor: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        pass


def tee_file(way: str) -> str:
    """The file of `| tee -a FILE`, else ""."""
    words = way.split()
    if words[:3] == ["|", "tee", "-a"] and len(words) == 4 and words[3].startswith("/"):
        return words[3]
    return ""


def _open_log(root: str, path: str, *, truncate: bool) -> int:
    from boot_stages.paths import below

    place = below(root, path)
    os.makedirs(os.path.dirname(place), 0o755, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if truncate else os.O_APPEND)
    is_new = not os.path.exists(place)
    descriptor = os.open(place, flags, LOG_MODE)
    group = _group_id(below(root, "/etc/group"), LOG_GROUP)
    if is_new and group is not None and os.geteuid() == 0:
        os.fchown(descriptor, 0, group)
    return descriptor


def _group_id(path: str, name: str) -> int | None:
    """The number of a group; None where there is no such group."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.split(":") for line in file]
    except OSError:
        return None
    return next((int(fields[2]) for fields in lines if fields[0] == name and len(fields) > 2), None)


def _replace(target: int, way: str, root: str) -> None:
    """Make fd `target` the file or the command's stdin that `way` names."""
    word = way.strip()
    if word.startswith("|"):
        descriptor = _pipe_to(word[1:].strip())
    else:
        descriptor = _open_log(root, word.lstrip("> "), truncate=not word.startswith(">>"))
    os.dup2(descriptor, target)
    os.close(descriptor)


def _pipe_to(command: str) -> int:
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        os.dup2(read_end, 0)
        os.close(read_end)
        os.close(write_end)
        try:
            os.execv("/bin/sh", ["sh", "-c", command])  # the config's own words, as cloud-init runs them
        finally:
            os._exit(127)
    os.close(read_end)
    return write_end


def ways_of(config: Mapping[str, object], mode: str) -> tuple[str, str]:
    """stdout and stderr of one mode (`init`, `config`, `final`) from the `output:` key; "" means as it is.

    The key holds `mode` or `all`: a text, a list of two, or a map with `output` and `error`.
    """
    table = config.get("output")
    if not isinstance(table, dict):
        return "", ""
    wanted = table.get(mode, table.get("all"))
    stdout: object = wanted
    stderr: object = ""
    if isinstance(wanted, list) and wanted:
        stdout, stderr = wanted[0], wanted[1] if len(wanted) > 1 else ""
    elif isinstance(wanted, dict):
        stdout, stderr = wanted.get("output"), wanted.get("error")
    return _way(stdout), _way(stderr)


def _way(value: object) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not text or text == "&1" or text[0] in "|>":
        return text
    return f"> {text}"
