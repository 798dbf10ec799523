"""The one place that changes a guest: carries out one action.

`CARRY_OUT` has one entry for each class of action; a test holds the table complete. Changes are made below
`root`; owners are applied when we are root and only recorded otherwise (guest-agent.md section 8).
"""

from __future__ import annotations

import os
import stat
import time

from boot_stages import actions
from boot_stages.actions import reveal
from boot_stages.commands import NOT_FOUND, Command
from boot_stages.errors import ActionFailed, CommandFailed, LeftOut, ModuleFailed
from boot_stages.files import as_user, give_to, write_whole
from boot_stages.log import logger
from boot_stages.paths import below, open_parent
from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from boot_stages.commands import Answer, Commands

    class Web(Protocol):
        """HTTP as actions need it; the agent hands in its own."""

        def get(self, url: str, headers: dict[str, str], tries: int) -> bytes:
            """The body. Raises OSError with the reason."""

        def post_form(self, url: str, fields: dict[str, str], tries: int, wait_s: float) -> None:
            """POST. Raises OSError with the reason."""

        def post(self, url: str, content: bytes, tries: int) -> int:
            """POST of bytes; the status of the answer. Raises OSError with the reason when there is none."""

    class Appends(Protocol):
        """Where this instance's modules have appended what; the agent keeps it over a power cut."""

        def offset(self, key: str, path: str) -> int | None:
            """Where the append `key` of an earlier run began in this file; None when there was none."""

        def keep(self, key: str, path: str, offset: int) -> None:
            """Remember it, durably. Raises OSError."""


LOG = logger("apply")
LOCK_WAIT_S = 30.0
# Answers to PostOnce that are no failure of ours.
REFUSALS = {404: "the service takes none", 405: "the service takes none", 409: "it has one already"}


class CommandResult(Value):
    """What is told of a command that was run: argv, exit status, the tail of its output, seconds."""

    argv: tuple[str, ...]
    status: int
    tail: str
    took_s: float


class Effects:
    """Carries out actions below a root.

    `commands` runs or records; `web` fetches; `console` shows bytes to the people at the console; `later` is
    handed what must happen after the agent's end (power state). `apply_owners` false only records them.
    """

    def __init__(
        self,
        root: str,
        commands: Commands,
        *,
        web: Web,
        console: Callable[[bytes], None],
        later: Callable[[actions.ChangePower], None],
        apply_owners: bool,
    ) -> None:
        self.root = root
        self.commands = commands
        self.web = web
        self.console = console
        self.later = later
        self.apply_owners = apply_owners
        self.owners: dict[str, tuple[str, str, str]] = {}
        self.results: list[CommandResult] = []
        self.appends: Appends | None = None
        # How many appends the module has asked for so far.
        self.appended = 0
        self.stage = ""
        self.module = ""

    def apply(self, action: actions.Action) -> None:
        """Carry out one action; logs its start.

        Raises ActionFailed (ModuleFailed for `Fail`), and LeftOut for a command that is not needed, or that
        is optional and not installed.
        """
        LOG.debug("applying: %s", action.summary())
        try:
            CARRY_OUT[type(action)](action, self)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ActionFailed(action.summary(), reason) from error

    def run(self, action: actions.RunCommand) -> Answer:
        """Run a command and remember its result."""
        answer = self.commands.run(
            Command(
                action.argv,
                stdin=reveal(action.stdin),
                environment=action.environment,
                cwd=action.cwd,
                show=action.show,
                timeout_s=action.timeout_s,
                stage=self.stage,
                module=self.module,
            )
        )
        self.results.append(CommandResult(action.argv, answer.status, answer.tail(), round(answer.took_s, 3)))
        return answer

    def owner_ids(self, owner: str) -> tuple[int, int] | None:
        """uid and gid of `user:group`, from the guest's own files. None where owners are only recorded.

        Raises ActionFailed for a name that is not there.
        """
        user, _, group = owner.partition(":")
        if not self.apply_owners:
            return None
        uid, primary = self.user_ids(user or "root")
        return uid, self._group_id(group) if group else primary

    def user_ids(self, user: str) -> tuple[int, int]:
        """uid and primary gid of a user name or number. Raises ActionFailed."""
        if user == "root":
            return 0, 0
        for line in _lines(below(self.root, "/etc/passwd")):
            fields = line.split(":")
            if len(fields) > 3 and user in {fields[0], fields[2]}:
                return int(fields[2]), int(fields[3])
        if user.isdigit():
            return int(user), int(user)
        raise ActionFailed(f"owner {user}", "there is no such user")

    def _group_id(self, group: str) -> int:
        if group == "root":
            return 0
        for line in _lines(below(self.root, "/etc/group")):
            fields = line.split(":")
            if len(fields) > 2 and group in {fields[0], fields[2]}:
                return int(fields[2])
        if group.isdigit():
            return int(group)
        raise ActionFailed(f"group {group}", "there is no such group")

    def record_owner(self, path: str, owner: str, mode: int) -> None:
        """Note whose a written path is to be (DIR/run/cloud-init/owners.json)."""
        user, _, group = owner.partition(":")
        self.owners[path] = (user or "root", group or user or "root", f"{mode:04o}")


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _write_file(action: actions.WriteFile, effects: Effects) -> None:
    owner = effects.owner_ids(action.owner)
    content = reveal(action.content)
    made: list[str] = []

    def write(root: str) -> None:
        write_whole(root, action.path, content, action.mode, owner, made=made)

    _with_rights_of(action.as_user, effects, write)
    _own_new_parents(action, effects, made, owner)
    effects.record_owner(action.path, action.owner, action.mode)


def _append_file(action: actions.AppendFile, effects: Effects) -> None:
    owner = effects.owner_ids(action.owner)
    made: list[str] = []
    content = reveal(action.content)
    effects.record_owner(action.path, action.owner, action.mode)
    effects.appended += 1
    if effects.appends is not None:
        key, size = f"{effects.module}/{effects.appended}", _size(effects.root, action.path)
        begun = effects.appends.offset(key, action.path)
        if begun is not None and begun < size and _holds(effects.root, action.path, begun, content):
            LOG.info("%s holds what an earlier run of %s appended", action.path, effects.module)
            return
        effects.appends.keep(key, action.path, size)
    write_whole(effects.root, action.path, content, action.mode, owner, append=True, made=made)
    _own_new_parents(action, effects, made, owner)


def _size(root: str, path: str) -> int:
    """Bytes of a regular file; 0 for anything else, which is refused when it is written."""
    try:
        found = os.stat(below(root, path))
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _holds(root: str, path: str, offset: int, content: bytes) -> bool:
    with open(below(root, path), "rb") as file:
        file.seek(offset)
        return file.read(len(content)) == content


def _feed_device(action: actions.FeedDevice, effects: Effects) -> None:
    descriptor = os.open(below(effects.root, action.path), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISCHR(os.fstat(descriptor).st_mode):
            raise ActionFailed(action.summary(), "it is not a character device")
        os.write(descriptor, reveal(action.content))
    finally:
        os.close(descriptor)


def _with_rights_of(user: str, effects: Effects, work: Callable[[str], None]) -> None:
    if user and effects.apply_owners and user != "root":
        as_user(effects.root, *effects.user_ids(user), work)
    else:
        work(effects.root)


def _own_new_parents(
    action: actions.WriteFile | actions.AppendFile,
    effects: Effects,
    made: list[str],
    owner: tuple[int, int] | None,
) -> None:
    for directory in made:
        if action.own_parents:
            if owner is not None:
                os.chown(below(effects.root, directory), *owner)
            effects.record_owner(directory, action.owner, 0o755)


def _make_directory(action: actions.MakeDirectory, effects: Effects) -> None:
    owner = effects.owner_ids(action.owner)

    def make(root: str) -> None:
        made: list[str] = []
        parent, name = open_parent(root, action.path, make=True, made=made)
        try:
            try:
                os.mkdir(name, action.mode & 0o700, dir_fd=parent)
            except FileExistsError:
                pass
            found = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent)
            try:
                give_to(found, owner, action.mode)
            finally:
                os.close(found)
        finally:
            os.close(parent)

    _with_rights_of(action.as_user, effects, make)
    effects.record_owner(action.path, action.owner, action.mode)


def _make_link(action: actions.MakeLink, effects: Effects) -> None:
    parent, name = open_parent(effects.root, action.path, make=True, made=[])
    try:
        temporary = f".guestling-{name}"
        try:
            os.unlink(temporary, dir_fd=parent)
        except FileNotFoundError:
            pass
        os.symlink(action.target, temporary, dir_fd=parent)
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        os.fsync(parent)
    finally:
        os.close(parent)


def _remove(action: actions.Remove, effects: Effects) -> None:
    try:
        parent, name = open_parent(effects.root, action.path, make=False, made=[])
    except FileNotFoundError:
        return
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            import shutil

            shutil.rmtree(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    finally:
        os.close(parent)


def _rename(action: actions.Rename, effects: Effects) -> None:
    source, old = open_parent(effects.root, action.path, make=False, made=[])
    try:
        target, new = open_parent(effects.root, action.to, make=True, made=[])
        try:
            os.rename(old, new, src_dir_fd=source, dst_dir_fd=target)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _set_mode(action: actions.SetMode, effects: Effects) -> None:
    owner = effects.owner_ids(action.owner)
    parent, name = open_parent(effects.root, action.path, make=False, made=[])
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        found = os.open(name, flags, dir_fd=parent)
        try:
            give_to(found, owner, action.mode)
        finally:
            os.close(found)
    finally:
        os.close(parent)
    effects.record_owner(action.path, action.owner, action.mode)


def _run_command(action: actions.RunCommand, effects: Effects) -> None:
    if action.when_exists and not any(
        os.path.lexists(below(effects.root, each)) for each in action.when_exists
    ):
        raise LeftOut(f"{action.argv[0]} is not needed: none of {', '.join(action.when_exists)} is there")
    for path in action.locks:
        _wait_for_lock(below(effects.root, path))
    answer = effects.run(action)
    if answer.status in action.good:
        if action.output_to:
            _write_file(actions.WriteFile(action.output_to, answer.out), effects)
        return
    if action.optional and answer.status == NOT_FOUND:
        raise LeftOut(f"{action.argv[0]} is not installed: left out")
    if action.otherwise is not None:
        CARRY_OUT[type(action.otherwise)](action.otherwise, effects)
        return
    what = f"command {action.name or action.argv[0]}"
    if answer.status == NOT_FOUND:
        raise CommandFailed(what, NOT_FOUND, f"{action.argv[0]} is not installed")
    raise CommandFailed(what, answer.status, answer.tail())


def _wait_for_lock(path: str) -> None:
    """Wait until nobody holds a package manager's lock; after the limit the command itself will say so."""
    import fcntl

    deadline = time.monotonic() + LOCK_WAIT_S
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        while time.monotonic() < deadline:
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(0.5)
                continue
            return
    finally:
        os.close(descriptor)


def _run_parts(action: actions.RunParts, effects: Effects) -> None:
    failed = []
    for command in action.commands:
        try:
            _run_command(command, effects)
        except ActionFailed as failure:
            LOG.warning("%s", failure)
            failed.append(command.name)
    if failed:
        raise ModuleFailed(action.failure(failed))


def _download(action: actions.Download, effects: Effects) -> None:
    try:
        content = effects.web.get(action.url, dict(action.headers), action.tries)
    except OSError as error:
        if action.otherwise is None:
            raise ActionFailed(action.summary(), str(error)) from error
        LOG.warning("%s: %s; its own content is written instead", action.summary(), error)
        CARRY_OUT[type(action.otherwise)](action.otherwise, effects)
        return
    fields = {
        "mode": action.mode,
        "owner": action.owner,
        "own_parents": action.own_parents,
    }
    if action.append:
        _append_file(actions.AppendFile(action.path, content, **fields), effects)  # type: ignore[arg-type]  # a dict of fields
    else:
        _write_file(actions.WriteFile(action.path, content, **fields), effects)  # type: ignore[arg-type]  # a dict of fields


def _post_form(action: actions.PostForm, effects: Effects) -> None:
    effects.web.post_form(action.url, dict(action.fields), action.tries, action.wait_s)


def _post_once(action: actions.PostOnce, effects: Effects) -> None:
    status = effects.web.post(action.url, reveal(action.content), action.tries)
    if status in REFUSALS:
        LOG.info("%s: not taken: %s", action.summary(), REFUSALS[status])
    elif status // 100 != 2:
        raise ActionFailed(action.summary(), f"HTTP {status}")


def _edit_shadow(action: actions.EditShadow, effects: Effects) -> None:
    path = below(effects.root, "/etc/shadow")
    lines = _lines(path)
    for index, line in enumerate(lines):
        fields = line.split(":")
        if fields[0] == action.user and len(fields) == 9:
            lines[index] = ":".join(_edited(fields, action))
            content = "\n".join(lines).encode("utf-8", "surrogateescape") + b"\n"
            found = os.stat(path)
            owner = (found.st_uid, found.st_gid) if effects.apply_owners else None
            write_whole(effects.root, "/etc/shadow", content, stat.S_IMODE(found.st_mode), owner)
            return
    raise ActionFailed(action.summary(), "there is no such line in /etc/shadow")


def _edited(fields: list[str], action: actions.EditShadow) -> list[str]:
    edited = list(fields)
    if action.password is not None:
        edited[1] = action.password.reveal().decode()
    if action.lock is True and not edited[1].startswith("!"):
        edited[1] = "!" + edited[1]
    if action.lock is False:
        edited[1] = edited[1].lstrip("!")
    for index, number in ((2, action.last_change), (6, action.inactive_days), (7, action.expire_day)):
        if number is not None:
            edited[index] = str(number)
    return edited


def _console(action: actions.Console, effects: Effects) -> None:
    effects.console(reveal(action.text))


def _report(action: actions.Report, _effects: Effects) -> None:
    LOG.log(action.level, "%s", action.text)


def _fail(action: actions.Fail, _effects: Effects) -> None:
    raise ModuleFailed(action.text)


def _change_power(action: actions.ChangePower, effects: Effects) -> None:
    effects.later(action)


CARRY_OUT: dict[type[actions.Action], Callable[..., None]] = {
    actions.WriteFile: _write_file,
    actions.AppendFile: _append_file,
    actions.FeedDevice: _feed_device,
    actions.MakeDirectory: _make_directory,
    actions.MakeLink: _make_link,
    actions.Remove: _remove,
    actions.Rename: _rename,
    actions.SetMode: _set_mode,
    actions.RunCommand: _run_command,
    actions.RunParts: _run_parts,
    actions.Download: _download,
    actions.PostForm: _post_form,
    actions.PostOnce: _post_once,
    actions.EditShadow: _edit_shadow,
    actions.Console: _console,
    actions.Report: _report,
    actions.Fail: _fail,
    actions.ChangePower: _change_power,
}
