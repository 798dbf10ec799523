"""The guest as it will be once a plan has been carried out: what the plans of later modules are made from.

`guestling plan` has nothing to look at but the image. A module that reads what an earlier one wrote (a user's
home, a script, a host name) sees here what that one planned. What only a program knows (a key that ssh-keygen
will make) is there by name. Nothing is written anywhere.
"""

from __future__ import annotations

from boot_stages import actions
from boot_stages.actions import reveal
from boot_stages.facts import Facts
from boot_stages.module import ALWAYS
from boot_stages.runner import due_modules, plan_module
from boot_stages.stages import DEFAULT_MODULES
from boot_stages.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from boot_stages.actions import Action
    from boot_stages.runner import Due
    from boot_stages.schema import Fault

FIRST_UID = 1000


class Node(Value):
    """A path as it will be: `file`, `directory`, `link` (content is its target) or `gone`."""

    kind: str
    content: bytes = b""
    mode: int = 0o644
    owner: str = "root"


class Foresight(Facts):
    """Facts with the effects of plans laid over them."""

    @classmethod
    def over(cls, facts: Facts) -> Foresight:
        """Foresight that starts from a guest as it is."""
        found = cls.__new__(cls)
        found.__dict__.update(facts.__dict__)
        found.nodes = {}
        return found

    nodes: dict[str, Node]

    def for_module(self, stage: str, module: str, *, was_cut: bool = False) -> Foresight:
        """The same foresight; questions are recorded under this stage and module."""
        found = Foresight.over(super().for_module(stage, module, was_cut=was_cut))
        found.nodes = self.nodes
        return found

    def _node(self, path: str) -> Node | None:
        """What plans say of a path; a planned link is followed, below a removed directory all is gone."""
        node = self.nodes.get(path)
        if node is not None:
            return node
        parent = path
        while parent not in {"", "/"}:
            parent = parent.rpartition("/")[0]
            above = self.nodes.get(parent)
            if above is not None and above.kind == "gone":
                return above
        return None

    def read_bytes(self, path: str) -> bytes | None:
        node = self._node(path)
        if node is None:
            return super().read_bytes(path)
        if node.kind == "link":
            return self.read_bytes(node.content.decode())
        return node.content if node.kind == "file" else None

    def exists(self, path: str) -> bool:
        node = self._node(path)
        return super().exists(path) if node is None else node.kind != "gone"

    def is_file(self, path: str) -> bool:
        node = self._node(path)
        return super().is_file(path) if node is None else node.kind == "file"

    def is_directory(self, path: str) -> bool:
        node = self._node(path)
        return super().is_directory(path) if node is None else node.kind == "directory"

    def is_executable(self, path: str) -> bool:
        node = self._node(path)
        if node is None:
            return super().is_executable(path)
        return node.kind == "file" and bool(node.mode & 0o100)

    def link_target(self, path: str) -> str | None:
        node = self._node(path)
        if node is None:
            return super().link_target(path)
        return node.content.decode() if node.kind == "link" else None

    def mode(self, path: str) -> int | None:
        node = self._node(path)
        if node is None:
            return super().mode(path)
        return None if node.kind == "gone" else node.mode

    def owner(self, path: str) -> tuple[int, int] | None:
        node = self._node(path)
        if node is None:
            return super().owner(path)
        account = self.account(node.owner.partition(":")[0])
        return (account.uid, account.gid) if account is not None else (0, 0)

    def names_in(self, path: str) -> tuple[str, ...]:
        prefix = f"{path.rstrip('/')}/"
        names = {name for name in super().names_in(path) if self.exists(f"{prefix}{name}")}
        for known, node in self.nodes.items():
            if known.startswith(prefix) and node.kind != "gone":
                names.add(known[len(prefix) :].partition("/")[0])
        return tuple(sorted(names))

    def foresee(self, action: Action) -> None:
        """Lay the effect of one action over the guest, as far as it can be known."""
        effect = _EFFECTS.get(type(action))
        if effect is not None:
            effect(self, action)

    def put(self, path: str, content: bytes, mode: int = 0o644, owner: str = "root") -> None:
        """A regular file will be there, and the directories above it."""
        self._make_parents(path)
        self.nodes[path] = Node("file", content, mode, owner)

    def make_directory(self, path: str, mode: int = 0o755, owner: str = "root") -> None:
        """A directory will be there."""
        self._make_parents(path)
        self.nodes[path] = Node("directory", b"", mode, owner)

    def _make_parents(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if parent and not self.is_directory(parent):
            self.make_directory(parent)

    def add_line(self, path: str, line: str) -> None:
        """A line will be at the end of a file."""
        old = self.read_bytes(path) or b""
        self.put(path, old + line.encode() + b"\n", self.mode(path) or 0o644)


def _write(guest: Foresight, action: actions.WriteFile) -> None:
    guest.put(action.path, reveal(action.content), action.mode, action.owner)


def _append(guest: Foresight, action: actions.AppendFile) -> None:
    old = guest.read_bytes(action.path)
    mode = action.mode if old is None else guest.mode(action.path) or action.mode
    guest.put(action.path, (old or b"") + reveal(action.content), mode, action.owner)


def _remove(guest: Foresight, action: actions.Remove) -> None:
    for path in [each for each in guest.nodes if each.startswith(f"{action.path}/")]:
        del guest.nodes[path]
    # Each by name, too: a directory that is made again later must not bring them back.
    for name in guest.names_in(action.path):
        guest.nodes[f"{action.path}/{name}"] = Node("gone")
    guest.nodes[action.path] = Node("gone")


def _rename(guest: Foresight, action: actions.Rename) -> None:
    guest.put(action.to, guest.read_bytes(action.path) or b"", guest.mode(action.path) or 0o644)
    guest.nodes[action.path] = Node("gone")


def _set_mode(guest: Foresight, action: actions.SetMode) -> None:
    content = guest.read_bytes(action.path)
    if content is not None:
        guest.put(action.path, content, action.mode, action.owner)


def _run(guest: Foresight, action: actions.RunCommand) -> None:
    command = _COMMANDS.get(action.argv[0].rpartition("/")[2])
    if command is not None:
        command(guest, action.argv)
    if action.output_to:
        guest.put(action.output_to, b"")


def _option(argv: Sequence[str], name: str) -> str:
    return argv[argv.index(name) + 1] if name in argv[:-1] else ""


def _useradd(guest: Foresight, argv: tuple[str, ...]) -> None:
    _add_account(guest, argv[1], _option(argv, "--uid"), _option(argv, "--home"), makes_home="-m" in argv)
    for group in filter(None, _option(argv, "--groups").split(",")):
        _add_member(guest, group, argv[1])


def _adduser(guest: Foresight, argv: tuple[str, ...]) -> None:
    _add_account(guest, argv[-1], _option(argv, "-u"), _option(argv, "-h"), makes_home="-H" not in argv)


def _add_account(guest: Foresight, name: str, uid: str, home: str, *, makes_home: bool) -> None:
    taken = {account.uid for account in guest.accounts()}
    number = (
        int(uid) if uid.isdigit() else next(each for each in range(FIRST_UID, 65536) if each not in taken)
    )
    home = home or f"/home/{name}"
    guest.add_line("/etc/passwd", f"{name}:x:{number}:{number}::{home}:/bin/sh")
    guest.add_line("/etc/shadow", f"{name}:!:20000:0:99999:7:::")
    if name not in guest.group_members():
        guest.add_line("/etc/group", f"{name}:x:{number}:")
    if makes_home:
        guest.make_directory(home, owner=name)


def _groupadd(guest: Foresight, argv: tuple[str, ...]) -> None:
    if len(argv) == 2:
        guest.add_line("/etc/group", f"{argv[1]}:x:{FIRST_UID}:")
    else:  # busybox: addgroup USER GROUP
        _add_member(guest, argv[2], argv[1])


def _usermod(guest: Foresight, argv: tuple[str, ...]) -> None:
    if argv[1:3] == ("-a", "-G"):
        _add_member(guest, argv[3], argv[4])


def _add_member(guest: Foresight, group: str, user: str) -> None:
    lines = (guest.read_text("/etc/group") or "").splitlines()
    for index, line in enumerate(lines):
        if line.partition(":")[0] == group:
            lines[index] = f"{line},{user}" if not line.endswith(":") else f"{line}{user}"
    guest.put("/etc/group", "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))


def _ssh_keygen(guest: Foresight, argv: tuple[str, ...]) -> None:
    kind, path = _option(argv, "-t"), _option(argv, "-f")
    if kind and path:
        guest.put(path, b"", 0o600)
        guest.put(f"{path}.pub", f"ssh-{kind} AAAA not-made-yet\n".encode())


_COMMANDS: dict[str, Callable[[Foresight, tuple[str, ...]], None]] = {
    "useradd": _useradd,
    "adduser": _adduser,
    "groupadd": _groupadd,
    "addgroup": _groupadd,
    "usermod": _usermod,
    "ssh-keygen": _ssh_keygen,
}
_EFFECTS: dict[type[Action], Callable[..., None]] = {
    actions.WriteFile: _write,
    actions.AppendFile: _append,
    actions.MakeDirectory: lambda guest, action: guest.make_directory(action.path, action.mode, action.owner),
    actions.MakeLink: lambda guest, action: guest.nodes.update(
        {action.path: Node("link", action.target.encode())}
    ),
    actions.Remove: _remove,
    actions.Rename: _rename,
    actions.SetMode: _set_mode,
    actions.RunCommand: _run,
    actions.Download: lambda guest, action: guest.put(action.path, b"", action.mode, action.owner),
}


class Planned(Value):
    """What one module of a stage will do: actions, what had to be left out, why it is skipped or fails."""

    stage: str
    module: str
    actions: tuple[Action, ...] = ()
    faults: tuple[Fault, ...] = ()
    skipped: str = ""
    error: str = ""


def plan_boot(
    config: Mapping[str, object],
    facts: Facts,
    has_run: Callable[[str, str], bool] = lambda _name, _frequency: False,
    before: Sequence[Action] = (),
) -> list[Planned]:
    """What a boot with this config would do, module by module, in the order of the stages.

    The lists are the config's own, else the built-in ones. `before` is done ahead of all (the scripts of the
    user data are stored). Nothing is changed; the only programs that are run
    are the questions of modules, through `facts`.
    """
    guest = Foresight.over(facts)
    for action in before:
        guest.foresee(action)
    planned = []
    for key, built_in in DEFAULT_MODULES.items():
        listed = config.get(key)
        for due in due_modules(listed if isinstance(listed, list) else built_in)[0]:
            skipped = _why_skipped(due, config, guest, has_run)
            if skipped:
                planned.append(Planned(key, due.entry.name, skipped=skipped))
            else:
                planned.append(_plan(key, due, config, guest))
    return planned


def _why_skipped(
    due: Due, config: Mapping[str, object], facts: Facts, has_run: Callable[[str, str], bool]
) -> str:
    entry = due.entry
    if entry.activated_by and not any(key in config for key in entry.activated_by):
        return "no key of it is set"
    if not entry.is_for(facts.distro, config.get("unverified_modules", ())):
        return f"it is for {', '.join(entry.families)}"
    if due.frequency != ALWAYS and has_run(entry.name, due.frequency):
        return f"previously ran ({due.frequency})"
    return ""


def _plan(stage: str, due: Due, config: Mapping[str, object], guest: Foresight) -> Planned:
    from boot_stages.errors import StageError
    from boot_stages.schema import Undecodable

    name = due.entry.name
    try:
        plan, faults = plan_module(due.entry, config, guest.for_module(stage, name))
    except Undecodable as error:
        return Planned(stage, name, faults=error.faults, error="its keys cannot be read")
    except StageError as error:
        return Planned(stage, name, error=str(error))
    done = tuple(action for action in plan if not _is_left_out(action, guest))
    for action in done:
        guest.foresee(action)
    return Planned(stage, name, done, tuple(faults))


def _is_left_out(action: Action, guest: Foresight) -> bool:
    """Whether an action is a program that serves a default nobody set, and is not installed."""
    return isinstance(action, actions.RunCommand) and action.optional and guest.which(action.argv[0]) is None
