"""The machine the agent works on: a root directory, a way to run commands, a clock, randomness, the network.

In a guest all of them are the real ones. The test interface (guest-agent.md section 8) replaces each by
something that answers the same every time; nothing else in the agent knows the difference.
"""

from __future__ import annotations

import os
import time

from boot_stages.commands import RecordedCommands, Reply, SystemCommands
from boot_stages.facts import Clock
from boot_stages.files import write_whole
from boot_stages.paths import below
from boot_stages.plain_json import read_json, write_indented
from boot_stages.value import Value
from guest_agent.output import Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from boot_stages.apply import Effects, Web
    from boot_stages.commands import Commands

COMMANDS_FILE = "/run/cloud-init/commands.jsonl"
OWNERS_FILE = "/run/cloud-init/owners.json"


class Settings(Value):
    """What the test interface was given; the defaults are a real guest. Source: guest-agent.md section 8."""

    root: str = "/"
    commands: str = ""
    replies: str = ""
    have: tuple[str, ...] = ()
    http: str = ""
    epoch_s: float | None = None
    uptime_s: float | None = None
    random_seed: int | None = None


class Machine:
    """One guest, or a directory that stands for one."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.root = os.path.realpath(settings.root or "/")
        self.is_live = self.root == "/"
        self.output = Output()
        self.owners: dict[str, tuple[str, str, str]] = {}
        self.is_recorded = settings.commands == "record" or (not settings.commands and not self.is_live)
        self.commands: Commands = self._recorder() if self.is_recorded else self._runner()
        self.power_changes: list[object] = []
        self._random: object = None

    def _runner(self) -> SystemCommands:
        return SystemCommands(self.root, show=self.output.write)

    def _recorder(self) -> RecordedCommands:
        replies = load_replies(self.settings.replies) if self.settings.replies else ()
        return RecordedCommands(self.root, self._record_line, replies, self.settings.have)

    def _record_line(self, line: str) -> None:
        self.make_directory("/run/cloud-init")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(below(self.root, COMMANDS_FILE), flags, 0o600)
        try:
            os.write(descriptor, line.encode("utf-8", "surrogateescape") + b"\n")
        finally:
            os.close(descriptor)

    def clock(self) -> Clock:
        """Seconds since 1970 and since boot; those of the machine below where /proc does not tell."""
        fixed = self.settings
        epoch_s = time.time() if fixed.epoch_s is None else fixed.epoch_s
        uptime_s = self._uptime_s() if fixed.uptime_s is None else fixed.uptime_s
        return Clock(epoch_s, uptime_s)

    def _uptime_s(self) -> float:
        words = (self.read_text("/proc/uptime") or "").split()
        try:
            return float(words[0])
        except (IndexError, ValueError):
            return time.monotonic()

    def random_bytes(self, count: int) -> bytes:
        """Bytes nobody can guess; with --seed-random the same ones every time."""
        if self.settings.random_seed is None:
            return os.urandom(count)
        import random

        if not isinstance(self._random, random.Random):
            self._random = random.Random(self.settings.random_seed)  # noqa: S311 - asked for by the tester
        return self._random.randbytes(count)

    def web(self) -> Web:
        """HTTP for actions; with --http only what its map names answers."""
        from guest_agent.fetch import web_for

        return web_for(self)

    def effects(self) -> Effects:
        """The one way to change this machine by actions; what must wait for our end goes to power_changes."""
        from boot_stages.apply import Effects

        effects = Effects(
            self.root,
            self.commands,
            web=_LazyWeb(self),
            console=self.console,
            later=self.power_changes.append,
            apply_owners=os.geteuid() == 0 and not self.is_recorded,
        )
        effects.owners = self.owners
        return effects

    def console(self, text: bytes) -> None:
        """Text for the people at the console alone: /dev/console, else a terminal at stdout, else nobody."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(below(self.root, "/dev/console"), flags)
        except OSError:
            if os.isatty(1):
                os.write(1, text)
            return
        try:
            os.write(descriptor, text)
        except OSError:
            pass  # a console that nobody reads is no reason to stop
        finally:
            os.close(descriptor)

    # Files of the agent itself. What modules change goes through effects().

    def path(self, path: str) -> str:
        """Where a guest path is on the machine that runs us."""
        return below(self.root, path)

    def read_bytes(self, path: str) -> bytes | None:
        """A file's content, or None when there is none or it cannot be read."""
        try:
            with open(below(self.root, path), "rb") as file:
                return file.read()
        except OSError:
            return None

    def read_text(self, path: str) -> str | None:
        """`read_bytes` as UTF-8, other bytes kept as surrogates."""
        content = self.read_bytes(path)
        return None if content is None else content.decode("utf-8", "surrogateescape")

    def exists(self, path: str) -> bool:
        """Whether a path leads to something."""
        return os.path.exists(below(self.root, path))

    def write(self, path: str, content: bytes | str, mode: int = 0o644, *, durable: bool = True) -> None:
        """Write a file whole, with its final mode from the first byte; `durable` is `write_whole`'s.

        Raises OSError, StageError.
        """
        data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        try:
            write_whole(self.root, path, data, mode, durable=durable)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from error  # a full disk says no name
        self.owners[path] = ("root", "root", f"{mode:04o}")

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        """Make a directory of the agent's own with its parents; its mode is set when it is new."""
        place = below(self.root, path)
        if os.path.isdir(place):
            return
        os.makedirs(os.path.dirname(place), 0o755, exist_ok=True)
        os.mkdir(place, mode)
        os.chmod(place, mode)

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link, in one step, in place of an old one."""
        directory, _, name = path.rpartition("/")
        self.make_directory(directory)
        place = f"{below(self.root, directory)}/{name}"
        if os.path.islink(place) and os.readlink(place) == target:
            return
        temporary = f"{below(self.root, directory)}/.guestling-{name}"
        _unlink(temporary)
        os.symlink(target, temporary)
        os.rename(temporary, place)

    def remove(self, path: str) -> None:
        """Remove a file or a link (not what it leads to); absent is fine."""
        directory, _, name = path.rpartition("/")
        _unlink(f"{below(self.root, directory)}/{name}")

    def close(self) -> None:
        """Leave what testers read: whose each written path is to be (owners.json)."""
        if self.is_live or not self.owners:
            return
        old = read_json(self.read_text(OWNERS_FILE) or "{}")
        whole = {**old, **{path: list(owner) for path, owner in self.owners.items()}}
        write_whole(self.root, OWNERS_FILE, (write_indented(whole) + "\n").encode())


class _LazyWeb:
    """HTTP is imported by the first action that needs it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def get(self, url: str, headers: dict[str, str], tries: int) -> bytes:
        """The body. Raises OSError with the reason."""
        return self._machine.web().get(url, headers, tries)

    def post_form(self, url: str, fields: dict[str, str], tries: int, wait_s: float) -> None:
        """POST form fields. Raises OSError with the reason."""
        self._machine.web().post_form(url, fields, tries, wait_s)

    def post(self, url: str, content: bytes, tries: int) -> int:
        """POST of bytes; the status of the answer. Raises OSError with the reason."""
        return self._machine.web().post(url, content, tries)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def load_replies(path: str) -> tuple[Reply, ...]:
    """The prepared answers of a --replies file. Raises ValueError naming the item that is wrong."""
    import yaml

    with open(path, encoding="utf-8") as file:
        items = yaml.safe_load(file)
    if not isinstance(items, list):
        raise ValueError(f"{path}: a list of replies is expected")  # noqa: TRY004 - an input error
    return tuple(_reply(item, f"{path}: item {number}") for number, item in enumerate(items, 1))


def _reply(item: object, place: str) -> Reply:
    if not isinstance(item, dict) or not isinstance(item.get("match"), (list, str)):
        raise ValueError(f"{place}: a map with 'match' (a list of words) is expected")  # noqa: TRY004 - as above
    match = item["match"].split() if isinstance(item["match"], str) else item["match"]
    return Reply(
        tuple(str(word) for word in match),
        int(item.get("rc") or 0),
        str(item.get("stdout") or "").encode(),
        str(item.get("stderr") or "").encode(),
        int(item.get("times") or 0),
    )
