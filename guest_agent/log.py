"""Where log records go: the log file, stderr from WARNING on, and the recoverable errors of the stage.

Source: guest-agent.md 5.8, 6; faults-and-threats G7, G11.
"""

from __future__ import annotations

import os
import time

from boot_stages.log import LEVELS, SINKS, Record
from boot_stages.paths import below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from guest_agent.machine import Machine

DEFAULT_LOG_FILE = "/var/log/cloud-init.log"
DEFAULT_OWNERS = ("syslog:adm", "root:adm", "root:wheel", "root:root")
LOG_MODE = 0o640
LINE_LIMIT = 4096
# Everything below a space but tab and newline: a log line must not move a terminal's cursor (G11).
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), 127)}


def line_of(record: Record, epoch_s: float) -> str:
    """`YYYY-MM-DD HH:MM:SS,mmm - FILE.py[LEVEL]: message`, in UTC, at most 4 KiB."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(epoch_s))
    text = record.text.translate(_CONTROL)
    if len(text) > LINE_LIMIT:
        text = f"{text[:LINE_LIMIT]}... ({len(text) - LINE_LIMIT} characters more)"
    return f"{stamp},{int(epoch_s * 1000) % 1000:03d} - {record.name}.py[{record.level}]: {text}\n"


class Log:
    """The sink of one agent process: keeps lines until the log file is known, then writes each at once."""

    def __init__(self, machine: Machine, *, is_verbose: bool = False) -> None:
        self._machine = machine
        self._waiting: list[str] = []
        self._descriptor = -1
        self._stderr_from = LEVELS["DEBUG"] if is_verbose else LEVELS["WARNING"]
        self._found: dict[str, list[str]] = {}

    def __call__(self, record: Record) -> None:
        level = LEVELS.get(record.level, LEVELS["ERROR"])
        line = line_of(record, self._machine.clock().epoch_s)
        if level >= LEVELS["WARNING"]:
            texts = self._found.setdefault(record.level, [])
            if record.text not in texts:
                texts.append(record.text)
        if level >= self._stderr_from:
            self._machine.output.warn(line.rstrip("\n"))
        if self._descriptor < 0:
            self._waiting.append(line)
        else:
            _write(self._descriptor, line)

    def recoverable_errors(self) -> dict[str, list[str]]:
        """What was said at WARNING and above since the last call, by level, in order, each text once."""
        found, self._found = self._found, {}
        return found

    def open(self, config: Mapping[str, object]) -> None:
        """Open the log file the config names and write what waited. Without one the lines are dropped."""
        if self._descriptor >= 0:
            return
        name = config.get("def_log_file", DEFAULT_LOG_FILE)
        if isinstance(name, str) and name.startswith("/"):
            self._descriptor = self._open_file(name, config)
        for line in self._waiting:
            _write(self._descriptor, line)
        self._waiting.clear()

    def _open_file(self, name: str, config: Mapping[str, object]) -> int:
        place = below(self._machine.root, name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            os.makedirs(os.path.dirname(place), 0o755, exist_ok=True)
            is_new = not os.path.exists(place)
            descriptor = os.open(place, flags, LOG_MODE)
        except OSError as error:
            self._machine.output.warn(f"cannot open the log {name}: {error.strerror}; it is not written")
            return -1
        if is_new:
            os.fchmod(descriptor, LOG_MODE)
            self._own(descriptor, name, config)
        return descriptor

    def _own(self, descriptor: int, name: str, config: Mapping[str, object]) -> None:
        """Give a new log to the first owner of `syslog_fix_perms` that exists."""
        from boot_stages.errors import ActionFailed

        wanted = config.get("syslog_fix_perms") or DEFAULT_OWNERS
        owners = (
            [wanted] if isinstance(wanted, str) else list(wanted) if isinstance(wanted, (list, tuple)) else []
        )
        effects = self._machine.effects()
        for owner in owners:
            try:
                ids = effects.owner_ids(str(owner))
            except ActionFailed:
                continue
            if ids is not None:
                os.fchown(descriptor, *ids)
            self._machine.owners[name] = (*_user_and_group(str(owner)), f"{LOG_MODE:04o}")
            return

    def start(self) -> Callable[[], None]:
        """Take records from now on; the function given back ends that."""
        SINKS.append(self)
        return lambda: SINKS.remove(self)


def _user_and_group(owner: str) -> tuple[str, str]:
    user, _, group = owner.partition(":")
    return user, group or user


def _write(descriptor: int, line: str) -> None:
    """A full disk must not stop a boot: the line is lost, the boot goes on."""
    if descriptor >= 0:
        try:
            os.write(descriptor, line.encode("utf-8", "replace"))
        except OSError:
            pass
