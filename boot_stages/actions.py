"""The closed set of changes a module may plan; `apply.py` carries each of them out.

An action is a value: printing it is `guestling plan`, comparing it is a golden test, carrying it out is a
boot. `opaque` marks those whose effect cannot be known without doing them.
"""

from __future__ import annotations

from boot_stages.value import Default, Secret, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Union

    Content = Union[bytes, Secret]

# What happens to the rest of a module's plan when an action of it fails.
STOP = "stop"  # the module ends here, as failed
GO_ON = "go-on"  # the rest is still done, the module counts as failed
WARN = "warn"  # the rest is still done, a warning is recorded
IGNORE = "ignore"  # nothing is recorded but a debug line


class Action(Value):
    """One change. `summary()` is what logs, reports and `plan` say about it; it never holds a secret."""

    if TYPE_CHECKING:  # each action declares these two as its last fields

        @property
        def on_failure(self) -> str: ...

        @property
        def opaque(self) -> bool: ...

    def summary(self) -> str:
        """The action in a few words, in the infinitive: `write /etc/hostname`."""
        raise NotImplementedError


class WriteFile(Action):
    """Make a regular file with this content, whole or not at all.

    `owner` is `user:group`, resolved when the action is carried out. `as_user` writes below a user's home
    with that user's rights (GA-W05). Missing parents are made 0755, owned by root, or by the owner when
    `own_parents`.
    """

    path: str
    content: Content = b""
    mode: int = 0o644
    owner: str = "root:root"
    own_parents: bool = False
    as_user: str = ""
    on_failure: str = STOP
    opaque: bool = False

    def summary(self) -> str:
        return f"write {self.path} ({size_of(self.content)} bytes, {self.mode:04o})"


class AppendFile(Action):
    """Add bytes at the end of a file, making it when absent."""

    path: str
    content: Content
    mode: int = 0o644
    owner: str = "root:root"
    own_parents: bool = False
    on_failure: str = STOP
    opaque: bool = False

    def summary(self) -> str:
        return f"append {size_of(self.content)} bytes to {self.path}"


class FeedDevice(Action):
    """Write bytes into a character device, such as the kernel's pool of randomness."""

    path: str
    content: Content
    on_failure: str = STOP
    opaque: bool = False

    def summary(self) -> str:
        return f"feed {size_of(self.content)} bytes to {self.path}"


class MakeDirectory(Action):
    """Make a directory and its missing parents; the mode and owner are set on the last one."""

    path: str
    mode: int = 0o755
    owner: str = "root:root"
    as_user: str = ""
    on_failure: str = STOP
    opaque: bool = False

    def summary(self) -> str:
        return f"make the directory {self.path} ({self.mode:04o})"


class MakeLink(Action):
    """Make a symbolic link, in place of whatever file was there."""

    path: str
    target: str
    on_failure: str = STOP
    opaque: bool = False

    def summary(self) -> str:
        return f"link {self.path} to {self.target}"


class Remove(Action):
    """Remove a file, a link, or a directory with all below it; absent is fine."""

    path: str
    on_failure: str = STOP
    opaque: bool = False

    def summary(self) -> str:
        return f"remove {self.path}"


class Rename(Action):
    """Rename a file within its file system."""

    path: str
    to: str
    on_failure: str = STOP
    opaque: bool = False

    def summary(self) -> str:
        return f"rename {self.path} to {self.to}"


class SetMode(Action):
    """Set mode and owner of a path that is there."""

    path: str
    mode: int
    owner: str = "root:root"
    on_failure: str = STOP
    opaque: bool = False

    def summary(self) -> str:
        return f"set {self.path} to {self.mode:04o} {self.owner}"


class RunCommand(Action):
    """Run a program by its argument list, never through a shell.

    `stdin` goes to its standard input; `show` copies its output to the console as it comes; `good` are the
    exit statuses that count as success; `otherwise` is tried when it fails. `name` is what failures call it.
    `locks` are files whose lock must be free first (half a minute is waited for each); `output_to` is a file
    that gets what the program prints, mode 0644. With `when_exists` nothing is run unless one of these paths
    is there by then; an `optional` program that is not installed is only noted.
    """

    argv: tuple[str, ...]
    stdin: Content = b""
    environment: tuple[tuple[str, str], ...] = ()
    cwd: str = ""
    good: tuple[int, ...] = (0,)
    show: bool = False
    timeout_s: float = 0.0
    name: str = ""
    otherwise: RunCommand | RunParts | None = None
    locks: tuple[str, ...] = ()
    output_to: str = ""
    when_exists: tuple[str, ...] = ()
    optional: bool = False
    on_failure: str = STOP
    opaque: bool = False

    def summary(self) -> str:
        return "run " + " ".join(word if word and " " not in word else f"'{word}'" for word in self.argv)


class RunParts(Action):
    """Run scripts one after another, all of them, and fail at the end if any failed.

    The failure reads `Runparts: N failures (names) in M attempted commands`, or `failed_words: names`.
    Source: guest-agent.md 3.3, 6.
    """

    directory: str
    commands: tuple[RunCommand, ...]
    failed_words: str = ""
    on_failure: str = STOP
    opaque: bool = True

    def failure(self, names: list[str]) -> str:
        """What is said when the commands of these names failed."""
        if self.failed_words:
            return f"{self.failed_words}: {', '.join(names)}"
        return (
            f"Runparts: {len(names)} failures ({','.join(names)}) in {len(self.commands)} attempted commands"
        )

    def summary(self) -> str:
        names = ", ".join(command.name or command.argv[-1] for command in self.commands)
        return f"run the scripts of {self.directory}: {names}"


class Download(Action):
    """Fetch a URL into a file; `otherwise` is written when it cannot be had."""

    url: str
    path: str
    mode: int = 0o644
    owner: str = "root:root"
    headers: tuple[tuple[str, str], ...] = ()
    append: bool = False
    own_parents: bool = False
    otherwise: WriteFile | AppendFile | None = None
    tries: int = 3
    on_failure: str = WARN
    opaque: bool = True

    def summary(self) -> str:
        return f"download {self.url} to {self.path}"


class PostForm(Action):
    """POST form fields to a URL."""

    url: str
    fields: tuple[tuple[str, str], ...]
    tries: int = 10
    wait_s: float = 3.0
    on_failure: str = WARN
    opaque: bool = True

    def summary(self) -> str:
        return f"post {', '.join(name for name, _ in self.fields)} to {self.url}"


class PostOnce(Action):
    """POST bytes that the other side takes once; that it has them already, or takes none, is no failure."""

    url: str
    content: Content
    what: str
    tries: int = 3
    on_failure: str = IGNORE
    opaque: bool = True

    def summary(self) -> str:
        return f"post {self.what} to {self.url}"


class EditShadow(Action):
    """Change fields of one account in /etc/shadow, for systems without shadow's own tools (Alpine).

    `password` is a hash that replaces the old one; `lock` puts `!` before it, or takes it away; `last_change`
    0 makes the next login ask for a new password. None leaves a field as it is.
    """

    user: str
    password: Secret | None = None
    lock: bool | None = None
    last_change: int | None = None
    expire_day: int | None = None
    inactive_days: int | None = None
    on_failure: str = STOP
    opaque: bool = False

    def summary(self) -> str:
        changes = [
            word
            for word, given in (
                ("password", self.password is not None),
                ("lock" if self.lock else "unlock", self.lock is not None),
                ("force a new password", self.last_change is not None),
                ("expiry", self.expire_day is not None),
                ("inactive days", self.inactive_days is not None),
            )
            if given
        ]
        return f"set in /etc/shadow for {self.user}: {', '.join(changes)}"


class Console(Action):
    """Text for the people at the console only: never in a log or an output file."""

    text: str | Secret
    on_failure: str = IGNORE
    opaque: bool = False

    def summary(self) -> str:
        return "print to the console"


class Report(Action):
    """A log record; WARNING and above also reach `status` as recoverable errors (guest-agent.md 6)."""

    level: str
    text: str
    on_failure: str = IGNORE
    opaque: bool = False

    def summary(self) -> str:
        return f"{self.level.lower()}: {self.text}"


class Fail(Action):
    """The module ends as failed with this text: what could be planned stands before it."""

    text: str
    on_failure: str = STOP
    opaque: bool = False

    def summary(self) -> str:
        return f"fail: {self.text}"


class ChangePower(Action):
    """Power off, reboot or halt once the agent has ended; `condition` is a command that must exit 0 first."""

    argv: tuple[str, ...]
    timeout_s: int = 30
    condition: tuple[str, ...] = ()
    on_failure: str = WARN
    opaque: bool = True

    def summary(self) -> str:
        return f"after the agent has ended, run {' '.join(self.argv)}"


ACTIONS: tuple[type[Action], ...] = (
    WriteFile,
    AppendFile,
    FeedDevice,
    MakeDirectory,
    MakeLink,
    Remove,
    Rename,
    SetMode,
    RunCommand,
    RunParts,
    Download,
    PostForm,
    PostOnce,
    EditShadow,
    Console,
    Report,
    Fail,
    ChangePower,
)


def warn(text: str) -> Report:
    """A record at WARNING: the boot goes on, `status` is degraded."""
    return Report("WARNING", text)


def note(text: str) -> Report:
    """A record at INFO: why a module did nothing, or what it chose."""
    return Report("INFO", text)


def reveal(content: Content | str) -> bytes:
    """The bytes of a content, secret or not."""
    if isinstance(content, Secret):
        return content.reveal()
    return content.encode() if isinstance(content, str) else content


def size_of(content: Content) -> int:
    """Length in bytes."""
    return len(reveal(content))


def to_json(action: Action) -> dict[str, Any]:
    """The action as plain data, fields at their default left out: the form of golden cases and `plan`."""
    document: dict[str, Any] = {"do": type(action).__name__}
    for name in action.FIELDS:
        value = getattr(action, name)
        default = getattr(type(action), name, ...)
        if isinstance(default, Default) or value == default:
            continue
        document[name] = _plain(name, value)
    return document


def _plain(name: str, value: object) -> object:
    if isinstance(value, Secret):
        return "***"
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return "base64:" + __import__("base64").b64encode(value).decode()
    if name == "mode" and isinstance(value, int):
        return f"{value:04o}"
    if isinstance(value, Action):
        return to_json(value)
    if isinstance(value, tuple):
        return [_plain("", each) for each in value]
    return value
